"""Many addresses: each keeps its own pace, and what befalls one is not felt by the others."""

import itertools
import math
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, wait
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.audioset.segments import Segment
from ingest.errors import FetchError, UsageError
from ingest.ledger.ledger import AudioFile, Ledger, State
from ingest.ledger.outcomes import NODE_LOST, Outcome, classify
from ingest.youtube.address import HERE, Address, choose_addresses
from ingest.youtube.fetch import FetchResult
from ingest.youtube.governor import Governor
from ingest.youtube.pace import PaceSettings, Phase
from ingest.youtube.run import Clock, Progress, Run, RunSettings
from ingest.youtube.sources import YOUTUBE

A, B, C = (Address(name) for name in "abc")
BOT = classify("Sign in to confirm you're not a bot")
HOUR = classify("The current session has been rate-limited by YouTube for up to an hour")
FIVE_MINUTES = classify("HTTP Error 429: Too Many Requests")
LOST = classify(FetchError(NODE_LOST, "NodeDiedError: gone"))
SPACING_S = 10.0  # 360 an hour


class GovernorMachine(RuleBasedStateMachine):
    """Three addresses that come and go, a server and a clock that do whatever they like within what `turn` allows."""

    def __init__(self) -> None:
        super().__init__()
        self.governor = Governor(PaceSettings(workers=2, rate_per_hour=360, stop_after=6, probes=3), Random(0))
        self.now = 1000.0
        self.admitted: tuple[Address, ...] = (A, B, C)
        self.governor.admit(self.admitted)
        self.in_flight: list[tuple[Address, bool]] = []
        self.starts: dict[Address, list[float]] = defaultdict(list)
        self.not_before: dict[Address, float] = defaultdict(float)

    @rule(seconds=st.sampled_from([0.5, 5.0, 10.0, 60.0, 3600.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(addresses=st.sets(st.sampled_from([A, B, C])))
    def machines_come_and_go(self, addresses: set[Address]) -> None:
        self.admitted = tuple(sorted(addresses, key=lambda address: address.name))
        self.governor.admit(self.admitted)

    @precondition(lambda self: self.governor.turn(self.now)[1] <= 0)
    @rule()
    def start(self) -> None:
        address, _ = self.governor.turn(self.now)
        assert address in self.admitted
        assert self.now >= self.not_before[address], "its pause is over"
        assert (address, True) not in self.in_flight, "its probe is not out"
        assert not self.starts[address] or self.now - self.starts[address][-1] >= SPACING_S - 1e-6
        probe = self.governor.started(address, self.now)
        self.in_flight.append((address, probe))
        self.starts[address].append(self.now)

    @precondition(lambda self: self.in_flight)
    @rule(data=st.data(), kind=st.sampled_from(["answer", "fail", "object", "object for an hour"]))
    def finish(self, data: st.DataObject, kind: str) -> None:
        address, probe = self.in_flight.pop(data.draw(st.integers(0, len(self.in_flight) - 1)))
        pace = self.governor.ended(address)
        if kind == "answer":
            pace.answered(probe=probe)
        elif kind == "fail":
            pace.failed("forbidden", fresh=True, probe=probe)
        else:
            outcome = HOUR if "hour" in kind else BOT
            probing = pace.phase is Phase.PROBING and not probe
            pace.objected(outcome, self.now, probe=probe)
            if not probing:
                self.not_before[address] = max(self.not_before[address], self.now + (outcome.wait_s or 0.0))

    @invariant()
    def each_keeps_its_limits(self) -> None:
        for address, starts in self.starts.items():
            assert len([start for start in starts if start > self.now - 3600]) <= 361
            assert sum(flying is address for flying, _ in self.in_flight) <= 2

    @invariant()
    def whoever_stands_well_gets_a_turn(self) -> None:
        """Whatever has become of the others."""
        standings = self.governor.standings(self.now)
        assert [standing.name for standing in standings] == [a.name for a in (A, B, C) if a in self.admitted]
        idle = [s for s in standings if s.phase is Phase.RUNNING and not s.in_flight]
        _, delay_s = self.governor.turn(self.now)
        if idle:
            assert delay_s <= min(3600 / standing.rate_per_hour for standing in idle)
            assert self.governor.phase is Phase.RUNNING
        if self.governor.phase is not Phase.RUNNING:
            assert self.governor.reason
        if self.governor.phase is Phase.STOPPED:
            assert delay_s == math.inf


TestGovernor = GovernorMachine.TestCase
TestGovernor.settings = settings(max_examples=30, stateful_step_count=40, deadline=None)


class FakeClock(Clock):
    """The time passes when nobody is at work, and then only as much as is waited."""

    def __init__(self) -> None:
        self.at = 1_000_000.0

    def now(self) -> float:
        return self.at

    def wait(self, futures: Iterable["Future[FetchResult]"], seconds: float) -> set["Future[FetchResult]"]:
        if pending := list(futures):
            return wait(pending).done
        self.at += seconds
        return set()


class FakeSite:
    """Answers at once, as `says` decides: (address, its how manieth request) -> None for a file.

    deadly: the id that always loses its machine.
    """

    def __init__(
        self,
        clock: FakeClock,
        addresses: tuple[Address, ...],
        says: Callable[[Address, int], Outcome | None],
        deadly: str = "",
    ) -> None:
        self._clock, self._addresses, self._says, self._deadly = clock, addresses, says, deadly
        self._lock = threading.Lock()
        self.starts: dict[Address, list[float]] = defaultdict(list)

    def addresses(self) -> tuple[Address, ...]:
        return self._addresses

    def __call__(self, segment: Segment, address: Address) -> FetchResult:
        with self._lock:
            self.starts[address].append(self._clock.at)
            outcome = self._says(address, len(self.starts[address]))
        if segment.youtube_id == self._deadly:
            outcome = LOST
        file = None if outcome else AudioFile(f"audio/{segment.key}.flac", 1, "0" * 64, 10.0, 16_000)
        return FetchResult(segment, file, outcome, (YOUTUBE,), 1, 0.0)


def run(
    out: Path, addresses: tuple[Address, ...], count: int, says: Callable[[Address, int], Outcome | None]
) -> tuple[Progress, FakeSite, float, dict[State, int]]:
    """The end of a run of `count` segments at 360 an hour from each address, and the hours it took."""
    clock = FakeClock()
    began, site = clock.at, FakeSite(clock, addresses, says)
    settings = RunSettings(PaceSettings(workers=1, rate_per_hour=360, probes=3), linger_s=1e9, tick_s=1e9, seed=1)
    with Ledger.open(out) as ledger:
        ledger.request([Segment(f"id{n}", 0.0, 10.0) for n in range(count)], split="test", now=began)
        end = Run(ledger, site, settings, clock=clock).go()
        return end, site, (clock.at - began) / 3600, ledger.counts()


@pytest.mark.parametrize("addresses", [(A,), (A, B), (A, B, C)])
def test_as_many_times_as_fast_as_there_are_addresses(tmp_path: Path, addresses: tuple[Address, ...]) -> None:
    _, site, hours, counts = run(tmp_path, addresses, 60, lambda *_: None)
    assert counts[State.DONE] == 60
    assert hours * 3600 == pytest.approx((60 / len(addresses) - 1) * SPACING_S)
    assert {address: len(starts) for address, starts in site.starts.items()} == dict.fromkeys(
        addresses, 60 // len(addresses)
    )


def test_one_that_is_blocked_waits_alone(tmp_path: Path) -> None:
    end, site, hours, counts = run(tmp_path, (A, B, C), 150, lambda *asked: FIVE_MINUTES if asked == (B, 5) else None)
    assert counts[State.DONE] == 150
    for free in (A, C):
        assert max(later - before for before, later in pairs(site.starts[free])) == pytest.approx(SPACING_S)
    assert max(later - before for before, later in pairs(site.starts[B])) >= 300
    assert hours < 150 / 360 / 2, "two are faster than one, even while the third is out"
    assert {standing.phase for standing in end.addresses} == {Phase.RUNNING}


def test_one_that_is_refused_for_good_is_given_up_and_the_others_finish(tmp_path: Path) -> None:
    end, site, _, counts = run(tmp_path, (A, B), 260, lambda address, _: FIVE_MINUTES if address is B else None)
    assert counts[State.DONE] == 260
    assert len(site.starts[B]) == 4, "the first request and three probes"
    a, b = end.addresses
    assert (a.phase, b.phase) == (Phase.RUNNING, Phase.STOPPED)
    assert "too-many-requests" in b.reason
    assert (end.phase, end.pause) == (Phase.RUNNING, "")


def test_it_stops_when_all_are_given_up_and_says_why_of_each(tmp_path: Path) -> None:
    end, _, _, counts = run(tmp_path, (A, B), 50, lambda *_: BOT)
    assert counts[State.PENDING] == 50, "no segment is blamed"
    assert end.phase is Phase.STOPPED
    assert "a: 3 probes in a row met bot-check" in end.pause and "b: 3 probes in a row" in end.pause


def test_a_cluster_that_loses_every_request_pauses_and_then_stops(tmp_path: Path) -> None:
    end, _, hours, counts = run(tmp_path, (A,), 50, lambda *_: LOST)
    assert end.phase is Phase.STOPPED
    assert "node-lost" in end.pause and ("ray status" in end.pause or "in a row failed" in end.pause)
    assert counts[State.PENDING] == 50, "no segment is blamed"
    assert hours < 1


def test_one_request_that_is_lost_now_and_then_slows_nobody_and_blames_no_segment(tmp_path: Path) -> None:
    end, site, _, counts = run(tmp_path, (A,), 200, lambda _, n: LOST if n % 20 == 0 else None)
    assert counts[State.DONE] == 200 and end.phase is Phase.RUNNING
    assert max(later - before for before, later in pairs(site.starts[A])) == pytest.approx(SPACING_S)
    with Ledger.read(tmp_path) as ledger:
        assert {row.attempts for row in ledger.rows()} == {1}


def test_a_segment_that_loses_its_machine_again_and_again_is_taken_for_the_reason(tmp_path: Path) -> None:
    clock = FakeClock()
    site = FakeSite(clock, (A,), lambda *_: None, deadly="id7")
    settings = RunSettings(PaceSettings(workers=1, rate_per_hour=360), linger_s=1e9, tick_s=1e9, seed=1)
    with Ledger.open(tmp_path) as ledger:
        ledger.request([Segment(f"id{n}", 0.0, 10.0) for n in range(20)], split="test", now=clock.at)
        Run(ledger, site, settings, clock=clock).go()
        assert ledger.counts()[State.DONE] == 19
        row = ledger.row("id7_0")
    assert (row.state, row.failure, row.attempts) == (State.FAILED, "node-lost", 1)


def test_without_any_address_left_it_waits_for_five_minutes_and_says_so(tmp_path: Path) -> None:
    end, _, hours, counts = run(tmp_path, (), 5, lambda *_: None)
    assert (end.phase, end.pause) == (Phase.STOPPED, "no node is left to ask from")
    assert hours * 60 == pytest.approx(5)
    assert counts[State.PENDING] == 5


@settings(max_examples=12)
@given(blocked=st.dictionaries(st.tuples(st.sampled_from([A, B, C]), st.integers(1, 20)), st.sampled_from([BOT, HOUR])))
def test_whoever_is_blocked_when_no_address_is_asked_too_often_and_nothing_is_lost(
    tmp_path_factory: pytest.TempPathFactory, blocked: dict[tuple[Address, int], Outcome]
) -> None:
    end, site, _, counts = run(
        tmp_path_factory.mktemp("run"), (A, B, C), 60, lambda address, n: blocked.get((address, n))
    )
    for address, starts in site.starts.items():
        assert all(later - before >= SPACING_S - 1e-6 for before, later in pairs(starts))
        for n, (before, later) in enumerate(pairs(starts), 1):
            assert (address, n) not in blocked or later - before >= 3600, "who is blocked waits"
    assert sum(counts.values()) == 60 and counts[State.RUNNING] == 0
    assert counts[State.DONE] == 60 or end.phase is Phase.STOPPED


def pairs(starts: Sequence[float]) -> list[tuple[float, float]]:
    return list(itertools.pairwise(starts))


def test_addresses_are_proxies_or_this_machines_own() -> None:
    assert choose_addresses() == (HERE,)
    assert [a.source_address for a in choose_addresses((), ("10.0.0.1", "10.0.0.2"))] == ["10.0.0.1", "10.0.0.2"]
    proxied = choose_addresses(("http://one:8080", "http://two:8080"), ("10.0.0.1",))
    assert [(a.proxy, a.source_address) for a in proxied] == [
        ("http://one:8080", "10.0.0.1"),
        ("http://two:8080", "10.0.0.1"),
    ]
    assert [(a.name, a.proxy) for a in choose_addresses(("",))] == [("no proxy", "")]


def test_no_password_is_in_a_name_and_no_two_names_are_the_same() -> None:
    urls = ("http://me-1:secret@gate:1", "http://me-2:se@cret@gate:1", "socks5://other:2", "me:secret@plain:3")
    assert [a.name for a in choose_addresses(urls)] == [
        "http://gate:1 #1", "http://gate:1 #2", "socks5://other:2", "plain:3"
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("proxies", "own", "says"),
    [
        (("http://u:pw@a:1", "http://u:pw@a:1"), (), "--proxy must name each address once, got http://a:1 again"),
        ((), ("eth0",), "--source-address must be an IP address of this machine, got 'eth0'"),
        ((), ("10.0.0.1", "10.0.0.1"), "--source-address must name each address once"),
        (
            ("http://a:1",),
            ("10.0.0.1", "10.0.0.2"),
            "--source-address must be given once at most beside --proxy, got 2",
        ),
    ],
)
def test_addresses_that_are_none_or_would_be_asked_from_too_fast_are_refused(
    proxies: tuple[str, ...], own: tuple[str, ...], says: str
) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        choose_addresses(proxies, own)
    assert "pw" not in str(caught.value)


NO_PROXIES = {
    "junk": "got 'junk', which has no port",
    "http://gate": "got 'http://gate', which has no port",
    "http://gate:0": "got 'http://gate:0', which has no port",
    "http://gate:99999": "got 'http://gate:99999', whose port is no number",
    "http://:80": "got 'http://:80', which has no host",
    "ftp://gate:1": "got 'ftp://gate:1', whose scheme is none of http,",
    "http://[::1:80": "got 'http://[::1:80', whose host is in odd brackets",
    "http://a b:80": "got 'http://a b:80', which holds a space",
    "http://gate:80\n": "which holds a space or a letter that cannot be seen",
    "http://gate:80/path": "got 'http://gate:80…', which goes on after the port",
    "http://me:secret": "got 'http://me…', whose port is no number",
    "http://me:se/cret@gate:80": "got 'http://…@gate:80', whose port",
    "http://me:1/secret@gate:80": "got 'http://…@gate:80', which goes on",
    "http://me:secret@": "got 'http://…@', which has no host",
    "me:secret@gate": "got '…@gate', which has no port",
    "me:secret@gate://other:1": "got '…://other:1', whose scheme",
}


@pytest.mark.parametrize("proxy", NO_PROXIES)
def test_what_is_no_proxy_is_refused_without_a_word_of_its_password(proxy: str) -> None:
    with pytest.raises(UsageError, match=r"--proxy must be \[scheme://\]\[user:password@\]host:port") as caught:
        choose_addresses(("http://fine:1", proxy))
    assert NO_PROXIES[proxy] in str(caught.value)
    assert "cret" not in str(caught.value)


@given(st.text(max_size=30))
def test_any_text_is_a_proxy_or_refused_in_one_line(text: str) -> None:
    for proxy in (text, f"http://{text}", f"http://me:{text}@gate:1"):
        try:
            (address,) = choose_addresses((proxy,))
        except UsageError as error:
            assert "\n" not in str(error)
        else:
            assert address.proxy == proxy


@pytest.mark.parametrize("proxy", ["", "gate:80", "HTTP://gate:80/", "socks5h://[::1]:1080", "https://me:%40%2F@a.b:1"])
def test_what_is_a_proxy_is_taken_as_it_is(proxy: str) -> None:
    assert choose_addresses((proxy,))[0].proxy == proxy
