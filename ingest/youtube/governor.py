"""Whose turn it is: one pace for each address, as YouTube limits and blocks addresses one by one. Pure.

An objection pauses the address by which it came, and the others go on. An address that is refused again and again is
given up; a run stops when none is left.
"""

import math
from dataclasses import dataclass
from random import Random

from ingest.youtube.address import Address
from ingest.youtube.pace import Pace, PaceSettings, Phase

_BEST_FIRST = (Phase.RUNNING, Phase.PROBING, Phase.PAUSED)


@dataclass(frozen=True, slots=True)
class Standing:
    """How an address stands. reason: why it does not run, "" while it does. in_flight: requests under way.

    rate_per_hour: that it is allowed now. paused_for_s: from now on. started: requests so far.
    """

    name: str
    phase: Phase
    reason: str
    paused_for_s: float
    rate_per_hour: float
    in_flight: int
    started: int


@dataclass(slots=True)
class _Asker:
    """An address with what is kept of it."""

    pace: Pace
    in_flight: int = 0
    started: int = 0
    last_start: float = -math.inf


class Governor:
    """Not for more than one thread; the caller brings the time.

    Args:
        settings: of each address: rate and workers hold for every one of them.
        random: of the jitter.
    """

    def __init__(self, settings: PaceSettings, random: Random) -> None:
        self._settings, self._random = settings, random
        self._askers: dict[Address, _Asker] = {}
        self._admitted: tuple[Address, ...] = ()
        self._present: list[tuple[Address, _Asker]] = []

    def admit(self, addresses: tuple[Address, ...]) -> None:
        """These may ask from now on, and no others. One that comes back finds its pace, pauses and all, as it was."""
        if addresses == self._admitted:
            return
        for address in addresses:
            if address not in self._askers:
                self._askers[address] = _Asker(Pace(self._settings, self._random))
        self._admitted = addresses
        self._present = [(address, self._askers[address]) for address in addresses]

    def turn(self, now: float) -> tuple[Address | None, float]:
        """Who may start a request, and in how many seconds: the one that may soonest, and of those the one that has
        waited longest. Infinite (and nobody) when only the end of a request can change that."""
        delays = [(asker.pace.delay_s(now, asker.in_flight), asker.last_start, a) for a, asker in self._present]
        delay_s, _, address = min(delays, key=lambda entry: entry[:2], default=(math.inf, 0.0, None))
        return (address, delay_s) if delay_s < math.inf else (None, math.inf)

    def started(self, address: Address, now: float) -> bool:
        """A request starts, as `turn` allowed. Whether it is the probe that the address's others wait for."""
        asker = self._askers[address]
        asker.in_flight += 1
        asker.started += 1
        asker.last_start = now
        return asker.pace.started(now)

    def ended(self, address: Address) -> Pace:
        """A request is over. The pace that is to hear how it went."""
        asker = self._askers[address]
        asker.in_flight -= 1
        return asker.pace

    @property
    def phase(self) -> Phase:
        """Of all together: that of the one that stands best."""
        phases = {asker.pace.phase for _, asker in self._present}
        return next((phase for phase in _BEST_FIRST if phase in phases), Phase.STOPPED)

    @property
    def reason(self) -> str:
        """Why nothing moves; "" while something does."""
        if self.phase is Phase.RUNNING:
            return ""
        if not self._present:
            return "no node is left to ask from"
        present = [(address, asker.pace) for address, asker in self._present]
        if self.phase is not Phase.STOPPED:
            present = [min(present, key=lambda entry: _order(entry[1]))]
        if len(self._askers) == 1:
            return present[0][1].reason
        return "; ".join(f"{address.name}: {pace.reason}" for address, pace in present)

    def paused_for_s(self, now: float) -> float:
        """Until the first address wakes, when all that are left sleep; else 0."""
        if self.phase is not Phase.PAUSED:
            return 0.0
        return max(0.0, min(a.pace.paused_until for _, a in self._present if a.pace.phase is Phase.PAUSED) - now)

    def standings(self, now: float) -> tuple[Standing, ...]:
        """Of every address that may ask, in the order in which they came."""
        return tuple(
            Standing(
                name=address.name,
                phase=asker.pace.phase,
                reason=asker.pace.reason,
                paused_for_s=max(0.0, asker.pace.paused_until - now) if asker.pace.phase is Phase.PAUSED else 0.0,
                rate_per_hour=asker.pace.rate_per_hour,
                in_flight=asker.in_flight,
                started=asker.started,
            )
            for address, asker in self._present
        )


def _order(pace: Pace) -> tuple[bool, bool, float]:
    """Of those that do not run: who is asked about first."""
    return pace.phase is Phase.STOPPED, pace.phase is Phase.PAUSED, pace.paused_until
