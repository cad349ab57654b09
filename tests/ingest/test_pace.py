"""The pace: what must hold whatever the server does, and the few numbers that are promised."""

import math
from random import Random

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.errors import UsageError
from ingest.ledger.outcomes import classify
from ingest.youtube.pace import Pace, PaceSettings, Phase

BOT = classify("Sign in to confirm you're not a bot")
HOUR = classify("The current session has been rate-limited by YouTube for up to an hour")
FORMAT = classify("Requested format is not available")


def pace(**options: float) -> Pace:
    return Pace(PaceSettings(**{"rate_per_hour": math.inf, **options}), Random(1))  # type: ignore[arg-type]


class PaceMachine(RuleBasedStateMachine):
    """Workers, a server and a clock do whatever they like within what `delay_s` allows."""

    def __init__(self) -> None:
        super().__init__()
        self.pace = Pace(PaceSettings(workers=3, rate_per_hour=360, stop_after=6, probes=3), Random(0))
        self.now = 1000.0
        self.in_flight: list[bool] = []  # whether it is the probe
        self.starts: list[float] = []
        self.not_before = 0.0

    @rule(seconds=st.sampled_from([0.5, 5.0, 10.0, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.pace.delay_s(self.now, len(self.in_flight)) <= 0)
    @rule()
    def start(self) -> None:
        assert self.now >= self.not_before, "nobody starts before the wait is over"
        assert not any(self.in_flight), "nobody starts while the probe is out"
        probe = self.pace.started(self.now)
        self.in_flight.append(probe)
        self.starts.append(self.now)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), kind=st.sampled_from(["answer", "fail", "retry fails", "object", "object for an hour"]))
    def finish(self, data: st.DataObject, kind: str) -> None:
        probe = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        if kind == "answer":
            self.pace.answered(probe=probe)
        elif "fail" in kind:
            self.pace.failed("forbidden", fresh=kind == "fail", probe=probe)
        else:
            outcome = HOUR if "hour" in kind else BOT
            probing = self.pace.phase is Phase.PROBING and not probe
            self.pace.objected(outcome, self.now, probe=probe)
            if not probing:
                self.not_before = max(self.not_before, self.now + (outcome.wait_s or 0.0))

    @invariant()
    def stays_within_its_limits(self) -> None:
        assert len(self.in_flight) <= 3
        assert 1 <= self.pace.workers <= 3
        assert 0 < self.pace.rate_per_hour <= 360
        recent = [start for start in self.starts if start > self.now - 3600]
        assert len(recent) <= 361
        assert sum(self.in_flight) <= 1

    @invariant()
    def says_why_when_it_stands_still(self) -> None:
        delay_s = self.pace.delay_s(self.now, 0)
        if self.pace.phase is Phase.STOPPED:
            assert delay_s == math.inf
        if self.pace.phase is not Phase.RUNNING:
            assert self.pace.reason
        elif not self.in_flight:
            assert delay_s <= 3600 / self.pace.rate_per_hour


TestPace = PaceMachine.TestCase
TestPace.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


def test_everybody_waits_as_long_as_the_message_says_then_one_goes_ahead() -> None:
    it = pace(workers=4)
    it.started(0)
    it.objected(HOUR, 10.0, probe=False)
    assert 3600 <= it.delay_s(10.0, 0) <= 3960
    later = 10.0 + it.delay_s(10.0, 0)
    assert it.delay_s(later, 3) == 0, "those still under way do not hold the probe back"
    assert it.started(later) is True
    assert it.delay_s(later, 1) == math.inf
    it.answered(probe=True)
    assert it.delay_s(later, 1) == 0
    assert it.phase is Phase.RUNNING


def test_what_was_under_way_when_the_pause_began_does_not_end_it() -> None:
    it = pace()
    it.started(0), it.started(0)
    it.objected(BOT, 1.0, probe=False)
    it.answered(probe=False)
    assert it.phase is Phase.PAUSED


def test_refused_probes_wait_longer_each_time_and_end_the_run_with_the_reason() -> None:
    it, now, waits = pace(probes=3), 0.0, []
    it.started(now)
    probe = False
    while it.phase is not Phase.STOPPED:
        it.objected(classify("HTTP Error 429: Too Many Requests"), now, probe=probe)
        if it.phase is Phase.PAUSED:
            waits.append(it.delay_s(now, 0))
            now += waits[-1]
            probe = it.started(now)
            assert probe
    assert len(waits) == 3
    assert waits[0] < waits[1] < waits[2]
    assert "429" in it.reason
    assert "--rate" in it.reason


def test_slows_at_once_and_recovers_slowly() -> None:
    it = pace(workers=4, rate_per_hour=1000)
    it.objected(BOT, 0.0, probe=False)
    it.started(it.paused_until)
    it.answered(probe=True)
    assert (it.rate_per_hour, it.workers) == (500, 2)
    answers = 0
    while it.rate_per_hour < 1000:
        it.answered(probe=False)
        answers += 1
    assert 50 < answers < 200
    assert it.workers == 4


def test_everything_failing_in_a_row_stops_and_says_what() -> None:
    it = pace(stop_after=4)
    for name in ("forbidden", "forbidden", "stalled"):
        it.failed(name, fresh=True, probe=False)
    it.failed("forbidden", fresh=False, probe=False)
    assert it.phase is Phase.RUNNING, "old failures that fail again prove nothing"
    it.failed("forbidden", fresh=True, probe=False)
    assert it.phase is Phase.STOPPED
    assert "4 segments in a row" in it.reason
    assert "forbidden 3" in it.reason


def test_one_answer_in_between_is_enough_to_go_on() -> None:
    it = pace(stop_after=4)
    for _ in range(5):
        for _ in range(3):
            it.failed("forbidden", fresh=True, probe=False)
        it.answered(probe=False)
    assert it.phase is Phase.RUNNING


def test_what_may_be_one_video_is_the_environment_when_different_segments_meet_it() -> None:
    it = pace()
    assert it.is_proven(BOT, "a")
    it.answered(probe=False)
    assert [it.is_proven(FORMAT, key) for key in ("a", "a", "b", "a", "c")] == [False, False, False, False, True]
    it.answered(probe=False)
    assert not it.is_proven(FORMAT, "d")


def test_requests_are_spread_over_the_hour() -> None:
    it = pace(rate_per_hour=300)
    it.started(0.0)
    assert it.delay_s(0.0, 0) == pytest.approx(12.0)


@pytest.mark.parametrize(("options", "says"), [({"workers": 0}, "--workers"), ({"rate_per_hour": 0.0}, "--rate")])
def test_settings_that_make_no_sense_are_refused(options: dict[str, float], says: str) -> None:
    with pytest.raises(UsageError, match=says):
        PaceSettings(**options)  # type: ignore[arg-type]
