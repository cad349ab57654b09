"""How sure measures are: bootstrap intervals over sources. Numpy only, pure.

The sources of the measured rows are drawn with replacement, all rows of a source together: rows of one recording are
alike, and drawing them one by one would make every interval too narrow. The trained head stays what it is, so an
interval says what another test set of this kind and size could have given, not what another training could.

Average precision of few positives comes out higher in replicates, which repeat rows, than in the rows themselves. An
interval is therefore moved by the mean difference; simulated, it then holds the truth as often as it says it does.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.measures.metrics import Flags, Scores

LEVEL = 0.95
MAX_REPLICATES, MIN_REPLICATES = 1000, 100
CELLS = 100_000_000
"""Replicates x rows x classes that are worked through, about a second; many rows and classes get fewer replicates."""

Interval = tuple[float, float]
Weights = npt.NDArray[Any]
"""uint16 or uint32"""
OVERALL = ("accuracy", "balanced_accuracy", "mAP", "auc")


@dataclass(frozen=True, slots=True)
class Replicates:
    """Measures of the rows as they are, and behind them of each replicate.

    NaN where a replicate has nothing to measure, such as no row of a class.

    overall: name in OVERALL -> [1 + replicates]. per_class: "ap", "recall", "precision" or "f1" -> [1 + replicates,
        classes].
    """

    overall: dict[str, npt.NDArray[np.float64]]
    per_class: dict[str, npt.NDArray[np.float64]]


@dataclass(frozen=True, slots=True)
class Intervals:
    """The middle LEVEL of the replicates of each measure, moved as the module says.

    replicates, sources: how many were drawn, and of how many sources.
    overall: name -> interval. per_class: name of the class -> name -> interval.
        None where it cannot be said: a measure that does not exist, or a class with rows of one source only.
    """

    level: float
    replicates: int
    sources: int
    overall: dict[str, Interval | None]
    per_class: dict[str, dict[str, Interval | None]]

    def to_json(self) -> dict[str, Any]:
        return {
            "level": self.level,
            "replicates": self.replicates,
            "sources": self.sources,
            **self.overall,
            "per_class": self.per_class,
        }


def measure_intervals(
    truth: Flags, scores: Scores, said: Flags, *, sources: Sequence[str], class_names: Sequence[str], mode: str
) -> Intervals:
    """Intervals of the measures of `metrics.measure`, always the same for the same rows.

    Args:
        truth, scores, said: [n, classes]; said is what was answered, see `metrics.measure`.
        sources: [n].
    """
    drawn = draw_sources(sources, np.random.default_rng(0), n_replicates(*truth.shape))
    made = replicate(truth, scores, said, drawn, mode)
    group = np.unique(np.asarray(sources), return_inverse=True)[1]
    n_sources = int(group.max()) + 1
    of_class = [len(np.unique(group[column])) for column in truth.T]
    per_class = {
        name: {
            measure: interval(values[:, c]) if of_class[c] > 1 else None for measure, values in made.per_class.items()
        }
        for c, name in enumerate(class_names)
    }
    overall = {name: interval(values) if n_sources > 1 else None for name, values in made.overall.items()}
    return Intervals(LEVEL, len(drawn) - 1, n_sources, overall, per_class)


def n_replicates(rows: int, classes: int) -> int:
    """How many replicates rows x classes are worth."""
    return int(np.clip(CELLS // max(rows * classes, 1), MIN_REPLICATES, MAX_REPLICATES))


def draw_sources(sources: Sequence[str], rng: np.random.Generator, n: int) -> npt.NDArray[np.uint16]:
    """How often each row's source was drawn, uint16 [1 + n, rows]: as many draws as there are sources.

    The first is of each source once.
    """
    names, group = np.unique(np.asarray(sources), return_inverse=True)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=n)
    return np.vstack([np.ones((1, len(names)), counts.dtype), counts]).astype(np.uint16)[:, group]


def replicate(truth: Flags, scores: Scores, said: Flags, weights: npt.NDArray[np.uint16], mode: str) -> Replicates:
    """Every measure of every replicate. Arguments as `measure_intervals`; weights: of `draw_sources`."""
    w = weights.astype(np.float32)  # exact up to 2^24 rows
    n, support = w.sum(axis=1), w @ truth.astype(np.float32)
    hits, claimed = w @ (truth & said).astype(np.float32), w @ said.astype(np.float32)
    # The narrowest integers that hold every sum: they add up several times faster.
    by_row = np.ascontiguousarray(weights.T, np.uint16 if n.max() < 2**16 else np.uint32)
    ranked = [_ranked(truth[:, c], scores[:, c], by_row) for c in range(truth.shape[1])]
    ap, auc = (np.stack(values, axis=1) for values in zip(*ranked, strict=True))
    with np.errstate(divide="ignore", invalid="ignore"):
        recall = hits / support
        per_class = {
            "ap": ap,
            "recall": recall,
            "precision": np.where(support > 0, hits / np.maximum(claimed, 1), np.nan),
            "f1": np.where(support > 0, 2 * hits / (claimed + support), np.nan),
        }
        rejected = (n[:, None] - support - claimed + hits) / (n[:, None] - support)
        accuracy = w @ (truth == said).all(axis=1).astype(np.float32) / n  # none of the rows may have been drawn
    both = np.isfinite(auc)  # as `metrics.measure`: means are of classes with positives and negatives
    balanced = recall if mode == "single" else np.where(both, (recall + rejected) / 2, np.nan)
    overall = {
        "accuracy": accuracy,
        "balanced_accuracy": _mean(balanced),
        "mAP": _mean(np.where(both, ap, np.nan)),
        "auc": _mean(auc),
    }
    return Replicates(
        {name: values.astype(np.float64) for name, values in overall.items()},
        {name: values.astype(np.float64) for name, values in per_class.items()},
    )


def interval(
    values: npt.NDArray[np.floating], *, bounds: tuple[float, float] = (0, 1), level: float = LEVEL
) -> Interval | None:
    """The middle `level` of the replicates, moved by how far their mean lies from the rows themselves.

    It always holds what the rows themselves gave: where nearly all replicates are the same, a few odd ones would move
    it past that.

    Args:
        values: [1 + replicates], the rows as they are first; NaN is left out.
        bounds: of the measure.
    Returns:
        None where the measure does not exist.
    """
    replicates = values[1:][np.isfinite(values[1:])]
    if not np.isfinite(values[0]) or not len(replicates):
        return None
    moved = np.quantile(replicates, [(1 - level) / 2, (1 + level) / 2]) - (replicates.mean() - values[0])
    low, high = np.clip(moved, *bounds)
    return min(float(low), float(values[0])), max(float(high), float(values[0]))


def _ranked(truth: Flags, scores: Scores, weights: Weights) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Average precision and AUC of one class in each replicate, [replicates]; weights: [n, replicates].

    Only the scores that positives have matter: between two of them rows are summed at once.
    """
    nothing = np.full(weights.shape[1], np.nan)
    if not truth.any():
        return nothing, nothing
    order = np.argsort(-scores, kind="stable")
    falling, positive = -scores[order], truth[order]
    steps = np.unique(falling[positive])
    first, behind = np.searchsorted(falling, steps, "left"), np.searchsorted(falling, steps, "right")
    edges = [0, *np.stack([first, behind], axis=1).ravel(), len(order)]  # before, inside, before, inside ... the rest
    starts = np.searchsorted(falling[positive], steps, "left")
    total = np.cumsum(_summed(np.take(weights, order, axis=0), edges), axis=0)
    gained = _summed(np.take(weights, order[positive], axis=0), [*starts, int(positive.sum())])
    above, through, everything = total[0:-1:2], total[1::2], total[-1]
    found = np.cumsum(gained, axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        precision = np.where(through > 0, found / through, 0)
        ap = (gained * precision).sum(axis=0) / found[-1]
        negatives_above = above - (found - gained)
        negatives_equal = (through - above) - gained
        negatives = everything - found[-1]
        beaten = negatives - negatives_above - negatives_equal / 2
        auc = (gained * beaten).sum(axis=0) / (found[-1] * negatives)
    return ap, auc


def _summed(weights: Weights, edges: Sequence[int]) -> npt.NDArray[np.float64]:
    """Sums of the rows between neighbouring edges, [edges - 1, replicates]; several times faster than `reduceat`."""
    sums = np.zeros((len(edges) - 1, weights.shape[1]), weights.dtype)
    for i, (begin, end) in enumerate(pairwise(edges)):
        weights[begin:end].sum(axis=0, dtype=weights.dtype, out=sums[i])
    return sums.astype(np.float64)


def _mean(values: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Mean over classes of each replicate, NaN left out."""
    known = np.isfinite(values)
    with np.errstate(invalid="ignore"):
        mean: npt.NDArray[np.float64] = np.where(known, values, 0).sum(axis=1, dtype=np.float64) / known.sum(axis=1)
    return mean
