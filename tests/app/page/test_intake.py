"""Frames of one browser reach its listener and its recording, and nobody else's."""

from dataclasses import replace
from fractions import Fraction

import av
import numpy as np
import pytest

from app.live.settings import LiveSettings
from app.live.states import State
from app.page.intake import Intake
from app.page.microphone import Microphone
from app.page.session import Session, recent_cards
from app.page.settings import IceServers, PageSettings
from app.page.standing import stand
from tests.app.live.doubles import Bench, make_engine, noise, tone

RATE = 48_000
ON, OFF = Microphone(on=True, permission="granted", secure=True), Microphone(permission="granted", secure=True)


def frames(samples: np.ndarray) -> list[av.AudioFrame]:
    """As aiortc hands them out: 20 ms, 48 kHz, stereo, s16, packed."""
    pcm = np.repeat((samples * 32_767).astype(np.int16), 2)
    made = []
    for at in range(0, len(pcm), 1_920):
        frame = av.AudioFrame.from_ndarray(pcm[at : at + 1_920][None], format="s16", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = RATE, at // 2, Fraction(1, RATE)
        made.append(frame)
    return made


def play(bench: Bench, intake: Intake, samples: np.ndarray) -> None:
    for frame in frames(samples):
        bench.clock.now += 0.02
        intake.take(frame)


def make(bench: Bench, name: str = "a") -> Intake:
    return Intake(bench.hub, name, clock=bench.clock)


def test_sound_is_heard_from_listen_to_stop() -> None:
    bench = Bench()
    intake = make(bench)
    play(bench, intake, tone(300, 0.2, RATE))
    assert intake.listening is None, "nobody pressed Listen"
    assert stand(intake, turn=False, window_s=10).status.state is State.ENDED
    intake.set_microphone(ON, turn=False)
    assert stand(intake, turn=False, window_s=10).status.state is State.CONNECTING
    play(bench, intake, tone(300, 4, RATE))
    filling = stand(intake, turn=False, window_s=10)
    assert (filling.status.state, filling.prediction) == (State.FILLING, None)
    assert filling.filled == pytest.approx(0.4, abs=0.02)
    play(bench, intake, tone(300, 10, RATE))
    heard = stand(intake, turn=False, window_s=10)
    assert heard.status.state is State.LISTENING
    assert heard.prediction is not None
    assert heard.prediction.answer == "low"
    assert heard.snapshot is not None
    assert heard.snapshot.pictures is not None
    assert replace(heard, snapshot=replace(heard.snapshot, stale=True)).prediction is None, "of before a gap"
    intake.set_microphone(OFF, turn=False)
    stopped = stand(intake, turn=False, window_s=10)
    assert (stopped.status.state, stopped.prediction) == (State.ENDED, None)
    assert stopped.snapshot is not None
    assert stopped.snapshot.events, "what was heard stays"


def test_digital_silence_is_muted_and_no_answer() -> None:
    bench = Bench()
    intake = make(bench)
    intake.set_microphone(ON, turn=False)
    play(bench, intake, np.concatenate([tone(300, 12, RATE), np.zeros(3 * RATE, np.float32)]))
    muted = stand(intake, turn=False, window_s=10)
    assert (muted.status.state, muted.prediction) == (State.MUTED, None)


def test_two_browsers_are_kept_apart() -> None:
    bench = Bench()
    one, two = make(bench, "a"), make(bench, "b")
    for intake, hz in ((one, 200), (two, 6_000)):
        intake.set_microphone(ON, turn=False)
        play(bench, intake, tone(hz, 11, RATE))
    for intake, heard in ((one, "low"), (two, "high")):
        snapshot = stand(intake, turn=False, window_s=10).snapshot
        assert snapshot is not None
        assert [prediction.top(1)[0][0] for prediction in snapshot.history] == [heard] * 2


def test_a_recording_is_what_came_and_is_taken_once() -> None:
    bench = Bench()
    intake = make(bench)
    intake.set_microphone(ON, turn=False)
    play(bench, intake, noise(0.5, rate=RATE))
    sound = noise(1.0, seed=3, rate=RATE)
    intake.record(1.0)
    assert intake.take_recording() is None
    play(bench, intake, sound)
    play(bench, intake, noise(0.3, seed=4, rate=RATE))
    segment = intake.take_recording()
    assert segment is not None
    assert (segment.frame_rate, segment.channels, len(segment)) == (RATE, 2, 1000)
    assert np.array_equal(np.frombuffer(segment.raw_data, np.int16)[::2], (sound * 32_767).astype(np.int16))
    assert intake.take_recording() is None


def test_another_model_takes_over_with_the_next_frame() -> None:
    bench = Bench()
    intake = make(bench)
    intake.set_microphone(ON, turn=False)
    play(bench, intake, noise(11, rate=RATE))
    first, other = intake.listening, make_engine()
    intake.set_engine(other)
    play(bench, intake, noise(0.1, rate=RATE))
    assert intake.listening is not first
    assert intake.listening is not None
    assert intake.listening.engine is other
    assert first is not None
    assert first.ended


def test_a_full_house_says_so_and_lets_in_later() -> None:
    bench = Bench(LiveSettings(max_listeners=1))
    one, two = make(bench, "a"), make(bench, "b")
    for intake in (one, two):
        intake.set_microphone(ON, turn=False)
        play(bench, intake, noise(0.1, rate=RATE))
    full = stand(two, turn=False, window_s=10)
    assert (full.status.state, full.hearing) == (State.NO_AUDIO, False)
    assert "As many people" in full.status.message
    one.close()
    play(bench, two, noise(0.1, rate=RATE))
    assert stand(two, turn=False, window_s=10).status.state is State.FILLING


def test_cards_show_the_newest_events_with_their_sound() -> None:
    bench = Bench()
    intake = make(bench)
    session = Session(PageSettings(), bench.hub.engine, intake, IceServers())
    assert recent_cards(session, None, None) == []
    intake.set_microphone(ON, turn=False)
    play(bench, intake, np.concatenate([tone(200, 14, RATE), noise(14, gain=1e-4, rate=RATE), tone(300, 14, RATE)]))
    snapshot = stand(intake, turn=False, window_s=10).snapshot
    cards = recent_cards(session, intake.listening, snapshot)
    assert [card.class_name for card in cards] == ["low", "low"]
    assert [card.open for card in cards] == [True, False]
    assert all(card.sound.startswith("data:audio/mpeg") and card.image.startswith("data:image/png") for card in cards)
    assert recent_cards(session, intake.listening, snapshot)[0] is cards[0], "drawn once"
