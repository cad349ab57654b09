"""The same measures for parts of the rows: by gender, age, language, or whatever else is told of them. Pure."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from classifiers.measures.intervals import Interval, measure_intervals
from classifiers.measures.metrics import Flags, Metrics, Scores, measure

MAX_SLICES = 30
MAX_NUMBERS, BANDS = 12, 8
"""More different numbers than this become bands, of which there are about so many."""
NOT_STATED = "(not stated)"
OTHERS = "(all others)"


@dataclass(frozen=True, slots=True)
class Slice:
    """The rows with one value of a column.

    interval: of `headline`, over sources; None with one source.
    """

    value: str
    sources: int
    metrics: Metrics
    interval: Interval | None

    @property
    def headline(self) -> str:
        return headline_measure(self.metrics.mode)

    def to_json(self) -> dict[str, Any]:
        m = self.metrics
        return {
            "n": m.n,
            "sources": self.sources,
            "accuracy": m.accuracy,
            "balanced_accuracy": m.balanced_accuracy,
            "mAP": m.mAP,
            "auc": m.auc,
            "interval": {self.headline: self.interval},
        }


def headline_measure(mode: str) -> str:
    """The measure that heads are ranked by: accuracy where a row has one class, else mAP."""
    return "accuracy" if mode == "single" else "mAP"


def measure_slices(
    truth: Flags,
    scores: Scores,
    said: Flags,
    *,
    values: Sequence[str],
    sources: Sequence[str],
    class_names: tuple[str, ...],
    mode: str,
) -> list[Slice]:
    """Measures for each value, the most frequent first; beyond MAX_SLICES values the rest are one slice.

    A column of many different numbers, such as ages, is measured in bands, the lowest first.

    Args:
        truth, scores, said: [n, classes]; values, sources: [n], a value is "" where nothing is told.
    """
    values, bands = _banded(values)
    ordered = bands or [value for value, _ in Counter(values).most_common()]
    kept = set(ordered if len(ordered) <= MAX_SLICES else ordered[: MAX_SLICES - 1])
    name_of = {value: (value or NOT_STATED) if value in kept else OTHERS for value in ordered}
    name_of_row = np.array([name_of[value] for value in values])
    made = []
    for name in dict.fromkeys(name_of.values()):
        rows = np.flatnonzero(name_of_row == name)
        part = [sources[int(i)] for i in rows]
        metrics = measure(truth[rows], scores[rows], class_names, mode, said[rows])
        intervals = measure_intervals(
            truth[rows], scores[rows], said[rows], sources=part, class_names=class_names, mode=mode
        )
        made.append(Slice(name, len(set(part)), metrics, intervals.overall[headline_measure(mode)]))
    return made


def _banded(values: Sequence[str]) -> tuple[Sequence[str], list[str]]:
    """Many different numbers as bands of equal width: "20 to under 30"; and the bands in their order.

    Returns:
        the values as they are and no bands where they are few or no numbers; "" stays, and comes last.
    """
    numbers = {value: _number(value) for value in set(values) if value}
    known = [number for number in numbers.values() if number is not None]
    if len(known) < len(numbers) or len(set(known)) <= MAX_NUMBERS:
        return values, []
    least = (max(known) - min(known)) / BANDS
    width = next(step for step in (m * 10.0**e for e in range(-9, 16) for m in (1, 2, 5)) if step >= least)
    band = {value: math.floor(number / width) for value, number in numbers.items() if number is not None}
    name = {b: f"{b * width:g} to under {(b + 1) * width:g}" for b in sorted(set(band.values()))}
    banded = [name[band[value]] if value else "" for value in values]
    return banded, [*name.values(), *([""] if "" in banded else [])]


def _number(text: str) -> float | None:
    try:
        return number if math.isfinite(number := float(text)) else None
    except ValueError:
        return None
