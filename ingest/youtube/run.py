"""Touches clock and threads: one run over a ledger. Workers fetch, here or on a cluster; one thread claims, records
and sets the pace of every address."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from random import Random

from ingest.errors import EarshotError
from ingest.ledger.ledger import Ledger, Row, State
from ingest.ledger.outcomes import BY_NAME, NOT_IN_MIRROR, Failure, Kind, Outcome
from ingest.youtube.address import Address
from ingest.youtube.fetch import FetchResult
from ingest.youtube.fetcher import Fetcher
from ingest.youtube.governor import Governor, Standing
from ingest.youtube.pace import Pace, PaceSettings, Phase
from ingest.youtube.sources import YOUTUBE

MAX_SUSPICIONS = 3
"""An environment failure that met nobody else, so often: it is the segment's own after all."""
_RECENT = 100
_MOST_THREADS = 1 << 16
"""No limit: the governor is the one, and a pool starts no thread while one is idle."""
_LONGEST_BACKOFF_S = 24 * 3600.0


class Clock:
    """The time, and waiting; tests bring a faster one."""

    _zero = time.time() - time.monotonic()

    def now(self) -> float:
        """Seconds since 1970: due times in the ledger outlive the process. It goes on evenly when somebody sets the
        system's clock: set back by an hour, that would make every pause an hour longer."""
        return self._zero + time.monotonic()

    def wait(self, futures: Iterable["Future[FetchResult]"], seconds: float) -> set["Future[FetchResult]"]:
        """Those that are done, as soon as there is one; none after `seconds`."""
        pending = list(futures)
        if not pending:
            time.sleep(seconds)
            return set()
        return wait(pending, timeout=seconds, return_when=FIRST_COMPLETED).done


@dataclass(frozen=True, slots=True)
class RunSettings:
    """linger_s: at the end, wait for segments that are due again within this; later ones are left to the next run.

    pace: of each address. tick_s: how often progress is told while nothing happens. seed: of the jitter.
    deserted_s: how long to wait for a machine when a cluster has none left.
    """

    pace: PaceSettings = field(default_factory=PaceSettings)
    linger_s: float = 900.0
    deserted_s: float = 300.0
    tick_s: float = 1.0
    seed: int | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How a run stands.

    counts: of this run's segments. rate_per_hour: of late, answers of any kind; None before there are two.
    remaining_s: for what is pending at that rate. phase: of the address that stands best. pause: why nothing moves,
    "" while something does. addresses: each of those that are asked from.
    """

    counts: dict[State, int]
    rate_per_hour: float | None
    remaining_s: float | None
    phase: Phase
    pause: str
    paused_for_s: float
    bytes_read: int
    addresses: tuple[Standing, ...] = ()

    @property
    def requested(self) -> int:
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class _Flight:
    """A segment on its way. row: as it was when it was claimed. probe: the others of its address wait for it."""

    row: Row
    address: Address
    probe: bool


class Run:
    """Call `go` once. `stop` may be set from elsewhere: the run ends soon and loses nothing.

    Args:
        fetch: called in a thread for each request under way.
        progress: called in this thread after every result and tick.
    """

    def __init__(
        self,
        ledger: Ledger,
        fetch: Fetcher,
        settings: RunSettings,
        *,
        versions: str = "",
        progress: Callable[[Progress], None] = lambda _: None,
        clock: Clock | None = None,
        stop: threading.Event | None = None,
    ) -> None:
        self._ledger, self._fetch, self._settings, self._versions = ledger, fetch, settings, versions
        self._tell, self._clock, self._stop = progress, clock or Clock(), stop or threading.Event()
        self._random = Random(settings.seed)
        self._governor = Governor(settings.pace, self._random)
        self._governor.admit(fetch.addresses())
        self._in_flight: dict[Future[FetchResult], _Flight] = {}
        self._counts = ledger.counts(this_run=True)
        self._answered_at: deque[float] = deque(maxlen=_RECENT)
        self._bytes_read = 0
        self._deserted_at: float | None = None

    def go(self) -> Progress:
        """Fetch until nothing is left to be fetched soon, or the pace stops it, or `stop` is set."""
        with ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="fetch") as pool:
            try:
                while not self._stop.is_set():
                    until_s = self._start_all(pool)
                    if not self._in_flight and until_s is None:
                        break
                    self._wait(self._settings.tick_s if until_s is None else min(until_s, self._settings.tick_s))
            finally:
                self._stop.set()
                self._drain()
        return self.progress()

    def progress(self) -> Progress:
        now, rate = self._clock.now(), self._rate_per_hour()
        pending = self._counts[State.PENDING] + self._counts[State.RUNNING]
        return Progress(
            counts=dict(self._counts),
            rate_per_hour=rate,
            remaining_s=3600 * pending / rate if rate else None,
            phase=self._governor.phase,
            pause=self._governor.reason,
            paused_for_s=self._governor.paused_for_s(now),
            bytes_read=self._bytes_read,
            addresses=self._governor.standings(now),
        )

    def _start_all(self, pool: ThreadPoolExecutor) -> float | None:
        """Start what may start now. Seconds until something else may; None when only a result (or nothing) can."""
        addresses = self._fetch.addresses()
        self._governor.admit(addresses)
        if not addresses:
            return self._until_deserted()
        self._deserted_at = None
        while not self._stop.is_set() and self._counts[State.PENDING] + self._counts[State.WAITING]:
            now = self._clock.now()
            address, delay_s = self._governor.turn(now)
            if address is None or delay_s > 0:
                return delay_s if address else None
            row = self._ledger.claim(now)
            if row is None:
                return self._until_due(now)
            self._move(row.state, State.RUNNING)
            flight = _Flight(row, address, probe=self._governor.started(address, now))
            self._in_flight[pool.submit(self._fetch, row.segment, address)] = flight
        return None

    def _until_deserted(self) -> float | None:
        """The machines of a cluster come and go: how long to wait for one; None when it has been long enough."""
        now = self._clock.now()
        self._deserted_at = now if self._deserted_at is None else self._deserted_at
        left_s = self._deserted_at + self._settings.deserted_s - now
        return left_s if left_s > 0 else None

    def _until_due(self, now: float) -> float | None:
        due = self._ledger.next_attempt()
        if due is None or due - now > self._settings.linger_s:
            return None
        return max(0.0, due - now)

    def _wait(self, seconds: float) -> None:
        for future in self._clock.wait(self._in_flight, seconds):
            self._land(future)
        self._tell(self.progress())

    def _drain(self) -> None:
        """Workers end soon once `stop` is set; what they finished counts, the rest goes back."""
        errors = []
        for future in list(self._in_flight):
            try:
                self._land(future)
            except EarshotError as error:
                errors.append(error)
        if errors:
            raise errors[0]

    def _land(self, future: "Future[FetchResult]") -> None:
        flight = self._in_flight.pop(future)
        pace = self._governor.ended(flight.address)
        try:
            result = future.result()
        except BaseException:
            self._ledger.put_back(flight.row.segment.key)
            self._move(State.RUNNING, State.PENDING)
            raise
        self._record(flight.row, result, pace, flight.probe)

    def _record(self, row: Row, result: FetchResult, pace: Pace, probe: bool) -> None:
        now = self._clock.now()
        self._bytes_read += result.bytes_read
        if YOUTUBE not in result.asked:
            pace.refund()
        if result.file:
            self._ledger.done(
                row.segment.key,
                result.file,
                origin=result.asked[-1],
                bytes_read=result.bytes_read,
                versions=self._versions,
                now=now,
            )
            self._answered(now, pace, probe)
            self._move(State.RUNNING, State.DONE)
        elif result.outcome:
            self._record_failure(row, result, result.outcome, pace, probe)
        else:
            self._put_back(row, result)

    def _record_failure(self, row: Row, result: FetchResult, outcome: Outcome, pace: Pace, probe: bool) -> None:
        now, failure = self._clock.now(), outcome.failure
        if failure.kind is Kind.ENVIRONMENT:
            if pace.is_proven(outcome, row.segment.key):
                pace.objected(outcome, now, probe=probe)
                self._put_back(row, result, objection=True)
                return
            pace.failed(failure.name, fresh=not row.suspicions, probe=probe)
            if row.suspicions + 1 < MAX_SUSPICIONS:
                self._put_back(row, result, objection=True, suspicion=True)
                return
        elif failure.kind is Kind.RECOVERABLE:
            pace.failed(failure.name, fresh=not row.attempts, probe=probe)
        else:
            self._answered(now, pace, probe)
        state = verdict(failure, row.attempts + 1)
        name, text = _reason(row, outcome)
        self._ledger.failed(
            row.segment.key,
            state,
            failure=name,
            text=text,
            now=now,
            next_attempt=now + self._backoff_s(outcome, row.attempts) if state is State.WAITING else None,
            bytes_read=result.bytes_read,
            versions=self._versions,
        )
        self._move(State.RUNNING, state)

    def _put_back(self, row: Row, result: FetchResult, *, objection: bool = False, suspicion: bool = False) -> None:
        self._ledger.put_back(row.segment.key, objection=objection, suspicion=suspicion, bytes_read=result.bytes_read)
        self._move(State.RUNNING, State.PENDING)

    def _answered(self, now: float, pace: Pace, probe: bool) -> None:
        pace.answered(probe=probe)
        self._answered_at.append(now)

    def _backoff_s(self, outcome: Outcome, attempts: int) -> float:
        """Doubled with every attempt, half to one and a half of it by chance, and never less than the server asks."""
        wait_s = min(outcome.failure.wait_s * 2**attempts, _LONGEST_BACKOFF_S) * self._random.uniform(0.5, 1.5)
        return max(wait_s, outcome.wait_s or 0.0)

    def _rate_per_hour(self) -> float | None:
        if len(self._answered_at) < 2:
            return None
        seconds = self._clock.now() - self._answered_at[0]
        return 3600 * (len(self._answered_at) - 1) / seconds if seconds > 0 else None

    def _move(self, before: State, after: State) -> None:
        self._counts[before] -= 1
        self._counts[after] += 1


def _reason(row: Row, outcome: Outcome) -> tuple[str, str]:
    """The failure's name and its text, for the ledger. That a mirror has no copy says less than why the video is gone,
    where an earlier run found that out."""
    reopened = BY_NAME.get(row.failure or "") if not row.attempts else None
    if outcome.failure.name == NOT_IN_MIRROR and reopened and verdict(reopened, reopened.attempts) is State.GONE:
        return reopened.name, row.text or ""
    return outcome.failure.name, outcome.text


def verdict(failure: Failure, attempts: int) -> State:
    """The state that a counted failure leads to, after so many attempts, this one included."""
    if failure.kind in (Kind.PERMANENT, Kind.NEEDS_COOKIES):
        return State.GONE
    if failure.kind is Kind.RECOVERABLE and attempts < failure.attempts:
        return State.WAITING
    return State.GONE if failure.gone_when_spent else State.FAILED
