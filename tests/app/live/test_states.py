"""Every state of a listener, on a clock that the test turns."""

from dataclasses import replace

import numpy as np
import pytest

from app.live.chunks import from_waveform
from app.live.listening import Listening
from app.live.settings import LiveSettings
from app.live.states import State, Transport
from tests.app.live.doubles import RATE, Bench, noise

BROWSER = Transport(kind="webrtc", permission="asking", secure=True, ice="new")


def state(listening: Listening) -> State:
    return listening.snapshot().status.state


def test_from_permission_to_listening_to_the_end() -> None:
    bench = Bench()
    listening = bench.hub.open(transport=BROWSER)
    bench.clock.now += 30  # people take their time
    assert state(listening) is State.PERMISSION
    listening.transport = replace(BROWSER, permission="granted", ice="checking")
    assert state(listening) is State.CONNECTING
    listening.transport = replace(BROWSER, permission="granted", ice="connected")
    bench.clock.now += 0.5
    assert state(listening) is State.CONNECTING
    bench.play(listening, noise(4.2))
    status = listening.snapshot().status
    assert status.state is State.FILLING
    assert status.message == "Filling the first window: 4.2 of 10 s."
    bench.play(listening, noise(6, seed=1))
    assert state(listening) is State.LISTENING
    listening.close()
    assert state(listening) is State.ENDED


def test_muted_is_digital_silence_and_not_a_quiet_room() -> None:
    bench = Bench()
    listening = bench.hub.open()
    bench.play(listening, noise(11, gain=0.0005))
    assert state(listening) is State.LISTENING
    bench.play(listening, np.zeros(3 * RATE, np.float32))
    snapshot = listening.snapshot()
    assert snapshot.status.state is State.MUTED
    assert "3 s" in snapshot.status.message
    assert "Unmute" in snapshot.status.remedy
    assert (snapshot.level_dbfs, snapshot.peak_dbfs) == (-120, -120)
    bench.play(listening, noise(0.2))
    assert state(listening) is State.LISTENING


def test_a_dead_stream_is_noticed_within_three_seconds_and_a_reconnect_starts_afresh() -> None:
    bench = Bench()
    listening = bench.hub.open()
    bench.play(listening, noise(12))
    bench.clock.now += 2.4
    assert state(listening) is State.LISTENING
    bench.clock.now += 0.6
    snapshot = listening.snapshot()
    assert snapshot.status.state is State.NO_AUDIO
    assert snapshot.status.message.startswith("No audio for 3 s")
    before = snapshot.counters.windows
    assert bench.hub.open(listening.id) is listening
    assert state(listening) is State.CONNECTING
    bench.clock.now += 5
    bench.play(listening, noise(5, seed=2))
    assert state(listening) is State.FILLING
    assert listening.snapshot().filled_s == pytest.approx(5, abs=0.05)
    assert listening.snapshot().counters.windows == before
    bench.play(listening, noise(6, seed=3))
    after = listening.snapshot()
    assert (after.status.state, after.counters.runs) == (State.LISTENING, 2)
    assert after.prediction is not None
    assert after.prediction.start_s == pytest.approx(12 + 3 + 5, abs=1.0)  # the session's clock went on


def test_audio_that_comes_back_by_itself_starts_afresh_too() -> None:
    bench = Bench()
    listening = bench.hub.open()
    bench.play(listening, noise(12))
    bench.clock.now += 4
    bench.play(listening, noise(1))
    snapshot = listening.snapshot()
    assert (snapshot.status.state, snapshot.counters.runs) == (State.FILLING, 2)
    assert snapshot.filled_s == pytest.approx(1, abs=0.05)


def test_a_prediction_from_before_a_gap_is_not_told_as_of_now() -> None:
    bench = Bench()
    listening = bench.hub.open()
    assert not listening.snapshot().stale
    bench.play(listening, noise(10))
    said = listening.snapshot().to_json()
    assert (said["prediction"]["start_s"], said["stale"]) == (0, False)
    assert said["age_s"] == pytest.approx(10 - 9.615, abs=0.1)
    bench.clock.now += 3  # longer than a stream may stall, less than a prediction is of now
    bench.play(listening, noise(1, seed=1))
    said = listening.snapshot().to_json(history=True)
    assert (said["prediction"], said["stale"]) == (None, True)
    assert said["age_s"] == pytest.approx(10 - 9.615 + 4, abs=0.1)
    assert len(said["history"]) == 1
    bench.play(listening, noise(9, seed=2))
    assert listening.snapshot().to_json()["prediction"]["start_s"] == pytest.approx(13, abs=0.1)


def test_a_prediction_grows_old_a_reconnect_makes_it_stale_and_so_does_the_end() -> None:
    bench = Bench()
    listening = bench.hub.open()
    for then in (listening.reconnect, listening.close):
        bench.play(listening, noise(11))
        assert not listening.snapshot().stale
        bench.clock.now += 4
        assert not listening.snapshot().stale
        bench.clock.now += 1
        assert listening.snapshot().stale
        bench.play(listening, noise(11))
        assert not listening.snapshot().stale
        then()
        assert listening.snapshot().stale


def test_overloaded_tells_how_much_was_lost_and_forgets_it() -> None:
    bench = Bench(at_once=False)
    listening = bench.hub.open()
    bench.play(listening, noise(14))
    bench.work()
    snapshot = listening.snapshot()
    assert snapshot.status.state is State.OVERLOADED
    assert "4.0 s of audio dropped" in snapshot.status.message
    bench.at_once = True
    for second in range(6):
        bench.play(listening, noise(1, seed=second))
    assert state(listening) is State.LISTENING


def test_skipped_windows_are_overload() -> None:
    bench = Bench()
    listening = bench.hub.open()
    bench.play(listening, noise(10))
    bench.at_once = False
    bench.play(listening, noise(5))
    bench.work()
    snapshot = listening.snapshot()
    assert snapshot.status.message.startswith("This machine cannot keep up: 4 windows skipped in")
    assert snapshot.counters.dropped_s == 0


@pytest.mark.parametrize(
    ("transport", "waited_s", "cause", "remedy"),
    [
        (Transport("webrtc", permission="denied", secure=True), 0.1, "not allowed", "settings for this site"),
        (Transport("webrtc", secure=False), 0.1, "HTTPS", "https://"),
        (Transport("webrtc", "granted", True, "failed"), 0.1, "no TURN server is set up", "TURN server"),
        (Transport("webrtc", "granted", True, "checking"), 4.0, "(ICE)", "UDP"),
        (Transport("webrtc", "granted", True, "failed", turn=True), 0.1, "not even over TURN", "password"),
        (Transport("webrtc", "granted", True, "closed"), 0.1, "closed at the other end", "Start again"),
        (Transport("webrtc", "granted", True, "connected"), 4.0, "microphone gives nothing", "plugged in"),
        (Transport("stream"), 4.0, "sends nothing", "chunks"),
    ],
)
def test_no_audio_comes_with_a_diagnosis(transport: Transport, waited_s: float, cause: str, remedy: str) -> None:
    bench = Bench()
    listening = bench.hub.open(transport=transport)
    bench.clock.now += waited_s
    status = listening.snapshot().status
    assert status.state is State.NO_AUDIO
    assert cause in status.message
    assert remedy in status.remedy


def test_ended_says_why() -> None:
    bench = Bench(LiveSettings(idle_s=60))
    listening = bench.hub.open("a")
    bench.play(listening, noise(1))
    bench.clock.now += 61
    assert bench.hub.get("a") is None
    assert listening.snapshot().status.message == "No audio for 60 s."


def test_what_breaks_says_so() -> None:
    bench = Bench()
    listening = bench.hub.open()

    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("no memory")

    bench.hub.engine.predict = broken  # type: ignore[assignment,method-assign]
    bench.play(listening, noise(10))
    status = listening.snapshot().status
    assert status.state is State.ENDED
    assert "RuntimeError: no memory" in status.message


def test_state_and_message_go_into_json() -> None:
    bench = Bench()
    listening = bench.hub.open("me")
    listening.push(from_waveform(noise(1), RATE))
    said = listening.snapshot(pictures=True, activity=True).to_json(history=True)
    assert (said["id"], said["state"], said["filled_s"]) == ("me", "filling", 1.0)
    assert len(said["pictures"]["waveform"]) == 500
    assert len(said["pictures"]["log_mel"]) == 98
