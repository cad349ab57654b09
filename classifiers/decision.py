"""From scores to an answer: calibration, a threshold for each class, and the point below which it is none of them.

All of it is chosen on scores of rows that the head was not trained on, and travels with the bundle. Pure.
"""

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.background import known_scores
from classifiers.calibration import fit_sigmoid, fit_temperature, log_scores, logit, sigmoid, softmax
from classifiers.heads import HeadScores
from ingest.audioset.class_sets import Mode

KEEP = 0.9
"""The working point when nobody chooses one: so much of what is in the class set is kept."""
ENOUGH = 20
"""Rows with a class, and without it, that its own sigmoid takes; with fewer it shares the slope of all classes."""

Floats = npt.NDArray[np.float32]


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

    thresholds: [classes], on calibrated scores; a class is present at or above its own.
    known_threshold: below it a row of a "single" bundle is none of these.
    temperature: "single": the logits of the scores are divided by it.
    slopes, offsets: [classes], "multi": Platt's sigmoid on the logit of each class; empty for scores as they are.
    known_slope, known_offset: the same on what the head says of background, as if background were as common as the
        classes: 0.5 is undecided.
    keep: the share of rows of the class set that `known_threshold` was chosen to keep.
    """

    mode: Mode
    thresholds: tuple[float, ...]
    known_threshold: float = 0.0
    temperature: float = 1.0
    slopes: tuple[float, ...] = ()
    offsets: tuple[float, ...] = ()
    known_slope: float = 1.0
    known_offset: float = 0.0
    keep: float = 1.0

    @classmethod
    def neutral(cls, mode: Mode, n_classes: int) -> "Decision":
        """Nothing was measured: "single" always answers with the best class, "multi" with those at 0.5."""
        return cls(mode, (0.0 if mode == "single" else 0.5,) * n_classes)

    def calibrated(self, said: HeadScores) -> HeadScores:
        """The same scores, as probabilities that can be believed. The order of rows within `known`, within a class of
        "multi" and of the classes within a row of "single" stays as it was."""
        scores, known = said.scores, said.known
        if self.mode == "single" and self.temperature != 1:
            scores = softmax(log_scores(scores) / self.temperature).astype(np.float32)
        if self.mode == "multi" and self.slopes:
            scores = sigmoid(np.asarray(self.slopes) * logit(scores) + np.asarray(self.offsets)).astype(np.float32)
        if known is not None and (self.known_slope, self.known_offset) != (1, 0):
            known = sigmoid(self.known_slope * logit(known) + self.known_offset).astype(np.float32)
        return replace(said, scores=scores, known=known)

    def decide(self, said: HeadScores) -> Answers:
        """Answers for calibrated scores."""
        known = known_scores(said, self.mode)
        present = said.scores >= np.asarray(self.thresholds, np.float32)
        if self.mode == "single":
            best = np.arange(said.scores.shape[1]) == said.scores.argmax(axis=1)[:, None]
            present &= best & (known >= np.float32(self.known_threshold))[:, None]
        answer = np.where(present, said.scores, -1).argmax(axis=1)
        return Answers(known, present, np.where(present.any(axis=1), answer, -1))

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Decision":
        tuples = {name: tuple(data.get(name, ())) for name in ("thresholds", "slopes", "offsets")}
        return cls(**{**data, **tuples})


def fit_decision(truth: Floats, said: HeadScores, mode: Mode, keep: float = KEEP) -> Decision:
    """Choose calibration and thresholds on scores out of fold, not calibrated yet.

    Args:
        truth: [n, classes], 1 where a row has a class; rows of zeros are background.
        keep: share of the rows with a class that shall be kept.
    """
    neutral = Decision.neutral(mode, truth.shape[1])
    return _fit_multi(neutral, truth, said) if mode == "multi" else _fit_single(neutral, truth, said, keep)


def cross_fitted(
    truth: Floats, said: HeadScores, groups: npt.NDArray[np.intp], mode: Mode, keep: float = KEEP
) -> tuple[HeadScores, Answers]:
    """Calibrated scores and answers of rows by decisions that were chosen without them.

    So what is reported of thresholds and calibration is no measure of the rows that chose them.

    Args:
        groups: int [n]; the rows of a group are decided by what is chosen on the other groups.
    """
    scores, known = np.empty_like(said.scores), None if said.known is None else np.empty_like(said.known)
    answers = Answers(np.empty(len(truth), np.float32), np.empty(truth.shape, np.bool_), np.empty(len(truth), np.intp))
    for group in np.unique(groups):
        rows, others = groups == group, groups != group
        decision = fit_decision(truth[others], select_scores(said, others), mode, keep)
        part = decision.calibrated(select_scores(said, rows))
        decided = decision.decide(part)
        scores[rows] = part.scores
        if known is not None and part.known is not None:
            known[rows] = part.known
        answers.known[rows], answers.present[rows], answers.answer[rows] = (
            decided.known,
            decided.present,
            decided.answer,
        )
    return HeadScores(scores, known=known), answers


def select_scores(said: HeadScores, rows: npt.NDArray[np.bool_]) -> HeadScores:
    """Scores and `known` of some rows; what was said of patches is left out."""
    return HeadScores(said.scores[rows], known=None if said.known is None else said.known[rows])


def _fit_single(neutral: Decision, truth: Floats, said: HeadScores, keep: float) -> Decision:
    has_class = truth.sum(axis=1) > 0
    if not has_class.any():
        return neutral
    temperature = fit_temperature(truth[has_class], log_scores(said.scores[has_class]))
    slope, offset = 1.0, 0.0
    if said.known is not None and not has_class.all():
        evenly = np.where(has_class, 0.5 / has_class.sum(), 0.5 / (~has_class).sum()) * 2 * has_class.sum()
        slope, offset = fit_sigmoid(has_class, logit(said.known), evenly)
    decision = replace(neutral, temperature=temperature, known_slope=slope, known_offset=offset, keep=keep)
    known = known_scores(decision.calibrated(said), "single")[has_class]
    return replace(decision, known_threshold=_in_the_gap(known, np.quantile(known, 1 - keep, method="lower")))


def _fit_multi(neutral: Decision, truth: Floats, said: HeadScores) -> Decision:
    """A sigmoid for each class with rows enough, for the others that of all; then the threshold with the best F1."""
    has, logits = truth > 0.5, logit(said.scores)
    enough = np.minimum(has.sum(axis=0), (~has).sum(axis=0)) >= ENOUGH
    few = not enough.all()  # what all classes share is a sort of every score: only done where some class needs it
    shared = fit_sigmoid(has.ravel(), logits.ravel()) if few else (1.0, 0.0)
    fits = [fit_sigmoid(t, x) if own else shared for t, x, own in zip(has.T, logits.T, enough, strict=True)]
    decision = replace(neutral, slopes=tuple(a for a, _ in fits), offsets=tuple(b for _, b in fits))
    scores = decision.calibrated(said).scores
    for_few = _best_f1(has.ravel(), scores.ravel()) if few else 0.5
    thresholds = (_best_f1(t, s) if own else for_few for t, s, own in zip(has.T, scores.T, enough, strict=True))
    return replace(decision, thresholds=tuple(thresholds))


def _best_f1(truth: npt.NDArray[np.bool_], scores: Floats) -> float:
    """The threshold with the highest F1; 0.5 without positives, or for a rare class of which the scores tell so little
    that saying yes to everything would be best: F1 likes that, people do not."""
    if not truth.any():
        return 0.5
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    f1 = 2 * hits / (np.arange(1, len(order) + 1) + truth.sum())
    f1[np.append(np.diff(scores[order]) == 0, False)] = 0  # equal scores fall together
    best = int(f1.argmax())
    if best == len(f1) - 1 and truth.mean() < 0.5:
        return 0.5
    return _in_the_gap(scores, scores[order][best])


def _in_the_gap(scores: Floats, lowest: np.floating[Any]) -> float:
    """A threshold that the same scores reach as `lowest`, one of them: half way down to the next, if there is one.

    A head whose scores are almost all one of two values gives others in the next training; at a value itself all of
    them would fall below.
    """
    below = scores[scores < lowest]
    if not len(below):
        return float(lowest)
    middle = (float(lowest) + float(below.max())) / 2
    return middle if np.float32(middle) > below.max() else float(lowest)
