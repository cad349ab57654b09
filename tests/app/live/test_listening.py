"""One hub, many listeners: nothing blocks, nothing is lost unsaid, nothing stays behind."""

import asyncio
import gc
import threading
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.live.chunks import Chunk, from_waveform
from app.live.hub import BusyError, ListenerHub
from app.live.inbox import JOIN_S, Arrival, join
from app.live.listening import Listening
from app.live.settings import LiveSettings
from app.live.states import State
from classifiers.prediction import Prediction
from embeddings.embedding import Vectors
from embeddings.logmel import Patches
from ingest.errors import UsageError
from tests.app.live.doubles import CLASSES, RATE, BandEncoder, Bench, make_engine, noise, tone

PATIENT = LiveSettings(skip_after=1_000)


def feed(listening: Listening, samples: np.ndarray, size: int = 1_600) -> None:
    """As fast as the queue takes it."""
    for at in range(0, len(samples), size):
        while listening.room_s < 1:
            time.sleep(0.001)
        listening.push(from_waveform(samples[at : at + size], RATE))


def test_scores_are_those_of_each_window_alone() -> None:
    bench, signal = Bench(), noise(20)
    listening = bench.hub.open("a")
    bench.play(listening, signal)
    history = listening.snapshot().history
    assert len(history) == bench.hub.engine.grid.windows_due(len(signal)) == 11
    for index, prediction in enumerate(history):
        begin = index * 15_360
        alone = bench.hub.engine.predict_waveform(signal[begin : begin + 160_000], key="a", start_s=begin / RATE)
        assert np.array_equal(prediction.scores, alone.scores)
        assert prediction.start_s == pytest.approx(alone.start_s)
        assert prediction.end_s == pytest.approx(prediction.start_s + 10)
        assert (prediction.answer, prediction.known) == (alone.answer, alone.known)


def test_a_tone_becomes_an_event_with_its_time() -> None:
    bench = Bench()
    listening = bench.hub.open()
    signal = noise(40, gain=0.0001)
    signal[15 * RATE : 18 * RATE] += tone(200, 3)
    bench.play(listening, signal)
    (event,) = [event for event in listening.snapshot().events if event.class_name == "low"]
    assert event.start_s <= 15
    assert event.end_s >= 18
    assert event.end_s - event.start_s <= 10
    grid = listening.activity()
    assert grid.class_names == CLASSES
    assert grid.windows.sum() == listening.snapshot().counters.windows
    assert grid.present[:, 0].sum() == event.windows - 1  # told with its second window


def test_all_listeners_are_served_at_once_and_apart() -> None:
    signals = [noise(14, seed=i, gain=0.02 * (i + 1)) for i in range(8)]
    engine = make_engine()
    with ListenerHub(engine, PATIENT) as hub:
        listeners = [hub.open(str(i)) for i in range(8)]
        threads = [threading.Thread(target=feed, args=pair) for pair in zip(listeners, signals, strict=True)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for listening in listeners:
            listening.finish()
            assert listening.wait_ended(30)
    for listening, signal in zip(listeners, signals, strict=True):
        history = listening.snapshot().history
        assert len(history) == 5
        for index, prediction in enumerate(history):
            begin = index * 15_360
            assert np.array_equal(prediction.scores, engine.predict_waveform(signal[begin : begin + 160_000]).scores)


def test_a_full_queue_drops_the_oldest_and_counts_it() -> None:
    bench, signal = Bench(LiveSettings(queue_s=4), at_once=False), noise(30)
    listening = bench.hub.open()
    bench.play(listening, signal)
    bench.work()
    snapshot = listening.snapshot()
    assert snapshot.counters.dropped_s == pytest.approx(26, abs=0.03)
    assert snapshot.counters.audio_s == pytest.approx(30)
    assert snapshot.filled_s == pytest.approx(4, abs=0.03)
    bench.at_once = True
    bench.play(listening, noise(6, seed=1))
    (prediction,) = listening.snapshot().history
    assert prediction.start_s == pytest.approx(26, abs=0.05)
    joined = np.concatenate([signal, noise(6, seed=1)])
    begin = round(prediction.start_s * RATE)
    alone = bench.hub.engine.predict_waveform(joined[begin : begin + 160_000])
    assert np.array_equal(prediction.scores, alone.scores)  # no window has a splice in it


def test_audio_in_no_window_is_counted_as_dropped() -> None:
    bench = Bench(LiveSettings(queue_s=30), at_once=True)
    listening = bench.hub.open()
    bench.play(listening, noise(10))
    bench.at_once = False
    bench.play(listening, noise(25, seed=1))
    bench.work()
    first, second = listening.snapshot().history
    counters = listening.snapshot().counters
    assert second.start_s - first.end_s == pytest.approx(counters.dropped_s)
    assert counters.dropped_s > 10
    assert counters.windows + counters.skipped == bench.hub.engine.grid.windows_due(35 * RATE)


@given(st.lists(st.tuples(st.integers(1, 9_000), st.booleans(), st.sampled_from([16_000, 48_000])), max_size=20))
def test_joined_chunks_are_the_same_audio(parts: list[tuple[int, bool, int]]) -> None:
    ends = np.cumsum([0] + [length for length, _, _ in parts])
    arrivals = [
        Arrival(float(i), Chunk(np.arange(ends[i], ends[i + 1], dtype=np.int32)[:, None], rate), afresh)
        for i, (_, afresh, rate) in enumerate(parts)
    ]
    joined = list(join(arrivals))
    runs: list[list[int]] = []
    for arrival in joined:
        assert arrival.at in {each.at for each in arrivals}
        runs.append([arrival.chunk.sample_rate, int(arrival.chunk.samples[0, 0]), int(arrival.chunk.samples[-1, 0])])
    assert [value for _, first, last in runs for value in range(first, last + 1)] == list(range(ends[-1]))
    breaks = {int(ends[i]) for i, (_, afresh, _) in enumerate(parts) if afresh}
    assert breaks <= {first for _, first, _ in runs}
    assert sum(arrival.afresh for arrival in joined) == len(breaks)
    assert all(arrival.chunk.duration_s < JOIN_S + 0.6 for arrival in joined)


def test_pushing_never_waits_for_work() -> None:
    go = threading.Event()

    class Stuck(BandEncoder):
        def encode_patches(self, patches: Patches) -> Vectors:
            go.wait(30)
            return super().encode_patches(patches)

    with ListenerHub(make_engine(Stuck()), LiveSettings(workers=1)) as hub:
        listening = hub.open()
        feed(listening, noise(9))
        begun = time.monotonic()
        for _ in range(500):
            listening.push(from_waveform(noise(0.02), RATE))
            listening.snapshot()
        took_s = time.monotonic() - begun
        assert listening.snapshot().prediction is None
        go.set()
        listening.finish()
        assert listening.wait_ended(30)
    assert took_s < 5  # the encoder would have held it for 30
    assert listening.snapshot().prediction is not None


def test_a_chunk_longer_than_the_queue_keeps_its_end() -> None:
    bench = Bench(LiveSettings(queue_s=12), at_once=False)
    listening = bench.hub.open()
    listening.push(Chunk(np.arange(40 * RATE, dtype=np.int32)[:, None].astype(np.int16), RATE))
    assert listening.snapshot().counters.queue_s == pytest.approx(12)
    assert listening.snapshot().counters.dropped_s == pytest.approx(28)


def test_another_sample_rate_starts_afresh() -> None:
    bench = Bench()
    listening = bench.hub.open()
    bench.play(listening, noise(11))
    bench.play(listening, noise(2, rate=48_000), rate=48_000)
    snapshot = listening.snapshot()
    assert snapshot.counters.runs == 2
    assert snapshot.filled_s == pytest.approx(2, abs=0.05)


def test_what_is_too_short_is_scored_at_the_end() -> None:
    bench, signal = Bench(), noise(5)
    listening = bench.hub.open()
    bench.play(listening, signal)
    assert listening.snapshot().prediction is None
    listening.finish()
    (prediction,) = listening.snapshot().history
    assert (prediction.start_s, prediction.end_s) == (0, 5)
    assert np.array_equal(prediction.scores, bench.hub.engine.predict_waveform(signal).scores)
    assert listening.snapshot().status.state is State.ENDED


def test_after_the_end_nothing_is_taken() -> None:
    bench = Bench()
    listening = bench.hub.open("a")
    listening.close("Enough.")
    listening.push(from_waveform(noise(20), RATE))
    listening.finish()
    listening.close("Too late.")
    assert listening.snapshot().counters.audio_s == 0
    assert listening.snapshot().status.message == "Enough."
    assert bench.hub.get("a") is None


def test_smoothing_is_a_setting() -> None:
    plain, smooth = (Bench(settings).hub.open() for settings in (LiveSettings(), LiveSettings(smoothing=0.5)))
    signal = (noise(15) * np.linspace(0, 1, 15 * RATE) ** 4).astype(np.float32)
    for listening in (plain, smooth):
        for at in range(0, len(signal), 1_600):
            listening.push(from_waveform(signal[at : at + 1_600], RATE))
    raw = [p.scores for p in plain.snapshot().history]
    assert np.array_equal(smooth.snapshot().history[0].scores, raw[0])
    np.testing.assert_allclose(smooth.snapshot().history[1].scores, (raw[0] + raw[1]) / 2, rtol=1e-6)


def test_history_lets_go_of_the_patches_but_for_the_latest() -> None:
    bench = Bench(LiveSettings(history=3))
    listening = bench.hub.open()
    bench.play(listening, noise(20))
    snapshot = listening.snapshot()
    assert len(snapshot.history) == 3
    assert snapshot.counters.windows == 11
    assert snapshot.history[-1].start_s == snapshot.prediction.start_s  # type: ignore[union-attr]


class TestHandingOut:
    def test_an_iterator_gives_what_is_made_from_now_on(self) -> None:
        with ListenerHub(make_engine(), PATIENT) as hub:
            listening = hub.open()
            before = listening.predictions()
            feed(listening, noise(10))
            first = next(before)
            coming = listening.predictions()
            feed(listening, noise(5, seed=1))
            listening.finish()
            rest = list(coming)
        made = listening.snapshot().history
        assert len(made) == 6
        assert [first.start_s, *(p.start_s for p in rest)] == [p.start_s for p in made]

    def test_an_iterator_gives_up_after_its_time(self) -> None:
        assert list(Bench().hub.open().predictions(timeout_s=0.01)) == []

    def test_in_an_event_loop(self) -> None:
        async def listen(hub: ListenerHub) -> tuple[list[Prediction], list[State]]:
            listening = hub.open()

            async def follow() -> list[Prediction]:
                return [prediction async for prediction in listening.follow()]

            async def states() -> list[State]:
                return [snapshot.status.state async for snapshot in listening.snapshots(0.01)]

            following, showing = asyncio.create_task(follow()), asyncio.create_task(states())
            await asyncio.sleep(0)
            await asyncio.to_thread(feed, listening, noise(14))
            listening.finish()
            return await following, await showing

        with ListenerHub(make_engine(), PATIENT) as hub:
            predictions, states = asyncio.run(listen(hub))
        assert [round(p.start_s, 2) for p in predictions] == [0, 0.96, 1.92, 2.88, 3.84]
        assert states[0] is State.CONNECTING
        assert states[-1] is State.ENDED

    def test_a_watcher_that_leaves_is_forgotten(self) -> None:
        async def leave_early(listening: Listening) -> None:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(anext(listening.follow()), 0.01)

        listening = Bench().hub.open()
        asyncio.run(leave_early(listening))
        assert not listening._watchers.all


class TestHub:
    def test_there_are_only_so_many(self) -> None:
        bench = Bench(LiveSettings(max_listeners=2))
        first, _ = bench.hub.open(), bench.hub.open()
        with pytest.raises(BusyError, match="max_listeners is 2"):
            bench.hub.open()
        first.close()
        bench.hub.open()
        assert len(bench.hub.listeners) == 2

    def test_a_closed_hub_takes_nobody(self) -> None:
        hub = ListenerHub(make_engine())
        listening = hub.open()
        hub.close()
        assert listening.ended
        with pytest.raises(BusyError, match="shutting down"):
            hub.open()

    def test_another_model_is_another_session(self) -> None:
        bench = Bench()
        first = bench.hub.open("a")
        second = bench.hub.open("a", engine=make_engine())
        assert first.ended
        assert bench.hub.get("a") is second

    def test_ten_connects_and_disconnects_leave_nothing_behind(self) -> None:
        """Every other one in the middle of its work."""
        signal = noise(12)
        before = set(threading.enumerate())
        with ListenerHub(make_engine(), LiveSettings(skip_after=1_000, workers=2)) as hub:

            def once(number: int) -> None:
                listening = hub.open()
                feed(listening, signal)
                if number % 2:
                    listening.finish()
                    assert listening.wait_ended(10)
                else:
                    listening.close()
                assert listening.id not in {each.id for each in hub.listeners}

            once(0), once(1)
            gc.collect()
            tracemalloc.start()
            try:
                for number in range(10):
                    once(number)
                gc.collect()
                grown = tracemalloc.get_traced_memory()[0]
            finally:
                tracemalloc.stop()
            assert len(set(threading.enumerate()) - before) <= 2
            assert grown < 500_000  # one listener holds 2 MB
            assert not hub.listeners
        assert set(threading.enumerate()) == before


@pytest.mark.parametrize(
    ("changes", "message"),
    [({"queue_s": 0}, "queue_s"), ({"smoothing": 1.0}, "smoothing"), ({"max_listeners": 0}, "leave it out for 64")],
)
def test_settings_outside_their_range(changes: dict[str, float], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        LiveSettings(**changes)  # type: ignore[arg-type]


def test_a_step_outside_the_window_is_refused() -> None:
    with pytest.raises(UsageError, match="step_s"):
        make_engine(step_s=11)
