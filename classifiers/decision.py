"""From scores to an answer: calibration, a threshold for each class, and the point below which it is none of them.

All of it is chosen on scores of rows that the head was not trained on, and travels with the bundle. Pure.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.background import known_scores
from classifiers.heads import HeadScores
from ingest.class_sets import Mode

KEEP = 0.9
"""The working point when nobody chooses one: so much of what is in the class set is kept."""


@dataclass(frozen=True, slots=True)
class Answers:
    """What is decided of n rows.

    known: float32 [n] in [0, 1], how likely the row has any of the classes.
    present: bool [n, classes]; "single": at most one in a row.
    answer: int [n], the best class that is present, -1 for none of these.
    """

    known: npt.NDArray[np.float32]
    present: npt.NDArray[np.bool_]
    answer: npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Decision:
    """How a bundle decides.

    temperature: the logits of "single" scores are divided by it.
    thresholds: [classes], on calibrated scores; a class is present at or above its own.
    known_threshold: below it a row of a "single" bundle is none of these.
    keep: the share of rows of the class set that `known_threshold` was chosen to keep.
    """

    mode: Mode
    thresholds: tuple[float, ...]
    known_threshold: float = 0.0
    temperature: float = 1.0
    keep: float = 1.0

    @classmethod
    def neutral(cls, mode: Mode, n_classes: int) -> "Decision":
        """Nothing was measured: "single" always answers with the best class, "multi" with those at 0.5."""
        return cls(mode, (0.0 if mode == "single" else 0.5,) * n_classes)

    def calibrated(self, said: HeadScores) -> HeadScores:
        """The same scores, as probabilities that can be believed."""
        if self.temperature == 1 or self.mode == "multi":
            return said
        logits = np.log(np.maximum(said.scores.astype(np.float64), 1e-12)) / self.temperature
        scores = np.exp(logits - logits.max(axis=1, keepdims=True))
        return replace(said, scores=(scores / scores.sum(axis=1, keepdims=True)).astype(np.float32))

    def decide(self, said: HeadScores) -> Answers:
        """Answers for calibrated scores."""
        known = known_scores(said, self.mode)
        present = said.scores >= np.asarray(self.thresholds, np.float32)
        if self.mode == "single":
            best = np.arange(said.scores.shape[1]) == said.scores.argmax(axis=1)[:, None]
            present &= best & (known >= self.known_threshold)[:, None]
        answer = np.where(present, said.scores, -1).argmax(axis=1)
        return Answers(known, present, np.where(present.any(axis=1), answer, -1))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Decision":
        return cls(**{**data, "thresholds": tuple(data["thresholds"])})


def fit_decision(truth: npt.NDArray[np.float32], said: HeadScores, mode: Mode, keep: float = KEEP) -> Decision:
    """Choose thresholds on scores out of fold.

    Args:
        truth: [n, classes], 1 where a row has a class; rows of zeros are background.
        keep: share of the rows with a class that shall be kept.
    """
    neutral = Decision.neutral(mode, truth.shape[1])
    has_class = truth.any(axis=1)
    if mode == "multi" or not has_class.any():
        return replace(
            neutral, thresholds=tuple(_best_f1(t > 0.5, s) for t, s in zip(truth.T, said.scores.T, strict=True))
        )
    known = known_scores(said, mode)[has_class]
    return replace(neutral, known_threshold=float(np.quantile(known, 1 - keep, method="lower")), keep=keep)


def _best_f1(truth: npt.NDArray[np.bool_], scores: npt.NDArray[np.float32]) -> float:
    """The threshold with the highest F1; 0.5 for a class without positives."""
    if not truth.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    f1[np.append(np.diff(scores[order]) == 0, False)] = 0  # equal scores fall together
    return float(scores[order][int(f1.argmax())])
