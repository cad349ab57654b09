"""Whether scores can be believed as probabilities. Numpy only, pure.

"single": the highest score of each row against whether it is right. "multi": every score of every row and class
against whether the row has the class, all classes in one pool. The calibration error is that of this one curve
wherever it is told: tables, reports, model.json.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.measures.metrics import Flags, Scores

N_BINS = 15


@dataclass(frozen=True, slots=True)
class Calibration:
    """A reliability curve over N_BINS bins of equal width; bin i holds scores in [i, i + 1) / N_BINS, the last 1 too.

    of: "highest score" or "scores of all classes".
    n: scores in all. count: [bins]. confidence, right: [bins], mean score and share that is right; None without scores.
    ece: expected calibration error, the mean of |confidence - right| over bins by their count (Guo, Pleiss, Sun and
        Weinberger, "On calibration of modern neural networks", ICML 2017).
    brier: mean of (score - truth)^2.
    """

    of: str
    n: int
    ece: float
    brier: float
    count: tuple[int, ...]
    confidence: tuple[float | None, ...]
    right: tuple[float | None, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Confidence:
    """Scores of the answers that were given: "single" one a row, "multi" each class said to be present.

    right, wrong: how many. mean_right, mean_wrong: their mean score; None without any.
    right_bins, wrong_bins: [N_BINS], how many had a score of each bin.
    """

    right: int
    wrong: int
    mean_right: float | None
    mean_wrong: float | None
    right_bins: tuple[int, ...]
    wrong_bins: tuple[int, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_calibration(truth: Flags, scores: Scores, mode: str) -> Calibration:
    """The reliability of scores in [0, 1]; truth and scores: [n, classes], n > 0."""
    said, happened = scores.ravel(), truth.ravel()
    if mode == "single":
        best = scores.argmax(axis=1)[:, None]
        said, happened = np.take_along_axis(scores, best, axis=1)[:, 0], np.take_along_axis(truth, best, axis=1)[:, 0]
    sure, right = said.astype(np.float64), happened.astype(np.float64)
    bins = _bins(sure)
    count, sum_sure, sum_right = (np.bincount(bins, v, N_BINS) for v in (np.ones(len(sure)), sure, right))
    return Calibration(
        of="highest score" if mode == "single" else "scores of all classes",
        n=len(sure),
        ece=float(np.abs(sum_sure - sum_right).sum() / len(sure)),
        brier=float(((sure - right) ** 2).mean()),
        count=tuple(count.astype(int).tolist()),
        confidence=_shares(sum_sure, count),
        right=_shares(sum_right, count),
    )


def measure_confidence(truth: Flags, scores: Scores, said: Flags) -> Confidence:
    """How confident right and wrong answers were; said: bool [n, classes], what was answered."""
    right, wrong = (scores[said & flags].astype(np.float64) for flags in (truth, ~truth))
    return Confidence(
        right=len(right),
        wrong=len(wrong),
        mean_right=float(right.mean()) if len(right) else None,
        mean_wrong=float(wrong.mean()) if len(wrong) else None,
        right_bins=_histogram(right),
        wrong_bins=_histogram(wrong),
    )


def _bins(values: Scores) -> npt.NDArray[np.intp]:
    return np.clip((values * N_BINS).astype(np.intp), 0, N_BINS - 1)


def _histogram(values: Scores) -> tuple[int, ...]:
    return tuple(np.bincount(_bins(values), minlength=N_BINS).tolist())


def _shares(total: npt.NDArray[Any], count: npt.NDArray[Any]) -> tuple[float | None, ...]:
    return tuple(float(t / c) if c else None for t, c in zip(total, count, strict=True))
