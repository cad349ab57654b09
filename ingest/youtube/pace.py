"""How fast to ask, and when not at all. Pure: the caller brings the time.

    running ──objection──> paused ──wait is over──> probing ──any answer──> running
                              ^                        │
                              └───────objection────────┘        too many in a row ──> stopped

An objection is an environment failure: the server (or the disk, or the network) refuses us, not a segment. Everybody
then waits as long as it says, one request goes ahead, and only its answer lets the others go on, at half the speed;
the speed comes back slowly.
"""

import math
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from ingest.counted import counted
from ingest.errors import UsageError
from ingest.ledger.outcomes import HOUR, Outcome

_SLOWEST = 1 / 16
_RECOVER_EVERY, _RECOVER_BY = 20, 1.25
_LONGEST_PAUSE_S = 6 * HOUR


class Phase(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    PROBING = "probing"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True)
class PaceSettings:
    """The polite default is what YouTube lets a guest have.

    rate_per_hour: requests started; infinite for as fast as the workers can.
    stop_after: so many fresh segments failing in a row without one answer end the run.
    probes: so many probes refused in a row end it too.
    """

    workers: int = 2
    rate_per_hour: float = 300.0
    stop_after: int = 25
    probes: int = 6

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise UsageError(f"--workers must be at least 1, got {self.workers}; try 2")
        if not self.rate_per_hour > 0:
            raise UsageError(f"--rate must be more than 0 an hour, got {self.rate_per_hour:g}; try 300")


class Pace:
    """Not for more than one thread."""

    def __init__(self, settings: PaceSettings, random: Random) -> None:
        self.settings = settings
        self.phase = Phase.RUNNING
        self.reason = ""  # why it is paused, being probed, or stopped
        self.paused_until = 0.0
        self._random = random
        self._speed = 1.0
        self._answers = 0
        self._next_start = -math.inf
        self._objections_in_a_row = 0
        self._failures_in_a_row: list[str] = []
        self._suspects: set[tuple[str, str]] = set()

    @property
    def rate_per_hour(self) -> float:
        """The rate allowed now."""
        return self.settings.rate_per_hour * self._speed

    @property
    def workers(self) -> int:
        """The workers allowed now."""
        return max(1, math.ceil(self.settings.workers * self._speed))

    def delay_s(self, now: float, in_flight: int) -> float:
        """Until the next request may start: 0 now, infinite not before one in flight has ended (or never)."""
        if self.phase is Phase.PAUSED:
            return max(0.0, self.paused_until - now)
        if self.phase in (Phase.PROBING, Phase.STOPPED) or in_flight >= self.workers:
            return math.inf
        return max(0.0, self._next_start - now)

    def started(self, now: float) -> bool:
        """A request starts, which `delay_s` allowed. Whether it is the probe that the others wait for."""
        self._next_start = now + 3600 / self.rate_per_hour
        if self.phase is not Phase.PAUSED:
            return False
        self.phase = Phase.PROBING
        return True

    def refund(self) -> None:
        """A request that was started needed nobody whose patience is limited: the next may go earlier for it."""
        self._next_start -= 3600 / self.rate_per_hour

    def answered(self, *, probe: bool) -> None:
        """A segment was had, or its video is surely gone: either way the server talks to us."""
        self._failures_in_a_row.clear()
        self._suspects.clear()
        self._answers += 1
        if self._answers % _RECOVER_EVERY == 0:
            self._speed = min(1.0, self._speed * _RECOVER_BY)
        self._resume(probe)

    def failed(self, name: str, *, fresh: bool, probe: bool) -> None:
        """A recoverable failure. `fresh`: of a segment that had not failed before; only those tell about the server."""
        self._resume(probe)
        if not fresh or self.phase is Phase.STOPPED:
            return
        self._failures_in_a_row.append(name)
        if len(self._failures_in_a_row) >= self.settings.stop_after:
            each = ", ".join(f"{name} {count}" for name, count in Counter(self._failures_in_a_row).most_common())
            self._stop(f"{counted(len(self._failures_in_a_row), 'segment')} in a row failed: {each}")

    def is_proven(self, outcome: Outcome, key: str) -> bool:
        """Whether this failure of `key` is the environment's, after what other segments met just before; notes it."""
        name = outcome.failure.name
        self._suspects = {pair for pair in self._suspects if pair[0] == name} | {(name, key)}
        return len(self._suspects) >= outcome.failure.in_a_row

    def objected(self, outcome: Outcome, now: float, *, probe: bool) -> None:
        """The environment refuses. A request that was under way when the pause began may lengthen it, no more."""
        if self.phase is Phase.STOPPED:
            return
        begins = self.phase is Phase.RUNNING or probe
        if begins:
            self._objections_in_a_row += 1
            self._speed = max(_SLOWEST, self._speed / 2)
        wait_s = outcome.wait_s
        if wait_s is None:
            wait_s = min(outcome.failure.wait_s * 2 ** (self._objections_in_a_row - 1), _LONGEST_PAUSE_S)
        until = now + max(1.0, wait_s) * (1 + self._random.random() / 10)
        if begins or self.phase is Phase.PAUSED:
            self.paused_until = until if begins else max(self.paused_until, until)
            self.phase, self.reason = Phase.PAUSED, f"{outcome.failure.name}: {outcome.text}"
        if self._objections_in_a_row > self.settings.probes:
            self._stop(f"{self.settings.probes} probes in a row met {self.reason} ({outcome.failure.remedy})")

    def _resume(self, probe: bool) -> None:
        if probe and self.phase is Phase.PROBING:
            self.phase, self.reason = Phase.RUNNING, ""
            self._objections_in_a_row = 0

    def _stop(self, reason: str) -> None:
        self.phase, self.reason = Phase.STOPPED, reason
