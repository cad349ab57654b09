"""A measured figure and the table that shows it."""

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass


class LeftOutError(Exception):
    """A benchmark cannot run here, for want of data, weights or a package. What else it raises is a failure."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the table.

    value, floor: in `unit`; the floor is what nothing could go below, measured in the same run.
    goal: in words; met: whether the value reaches it.
    note: how it came about, e.g. how much audio.
    """

    name: str
    value: float
    floor: float
    unit: str
    goal: str
    met: bool
    note: str = ""

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def best_in_turn(timed: Sequence[Callable[[], float]], rounds: int) -> list[float]:
    """The best of `rounds` of each, taken in turn, so that a busy moment of the machine hits all of them."""
    return [min(times) for times in zip(*([run() for run in timed] for _ in range(rounds)), strict=True)]


def table(results: list[Result]) -> str:
    """The results in columns; 'floor / value' is the share of the time (or memory) that cannot be saved."""
    lines = [f"{'':<34} {'value':>10} {'floor':>10} {'':<5} {'floor/value':>11}  goal"]
    for result in results:
        share = result.floor / result.value
        verdict = "met" if result.met else "MISSED"
        lines.append(
            f"{result.name:<34} {result.value:>10.2f} {result.floor:>10.2f} {result.unit:<5} {share:>10.0%}   "
            f"{result.goal}: {verdict}" + (f"  ({result.note})" if result.note else "")
        )
    return "\n".join(lines)
