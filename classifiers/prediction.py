"""The type that flows out of classifiers: what a head says of one window."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.decision import Answers
from classifiers.heads import HeadScores

Floats = npt.NDArray[np.float32]


ROW_COLUMNS = ("start_s", "end_s", "answer", "known", "present")
"""Of `Prediction.to_row`; a column for each class follows."""


@dataclass(frozen=True, slots=True)
class Prediction:
    """One window's scores.

    key: of the window. start_s, end_s: the window, in seconds.
    scores: float32 [classes] in [0, 1].
    known: in [0, 1], how likely the window has any of the classes.
    present: bool [classes], those that the bundle's thresholds let pass.
    answer: the best of them, None for "none of these".
    patch_scores, attention: float32 [patches, classes] of the real patches, or None where the head has none.
    """

    key: str
    start_s: float
    end_s: float
    class_names: tuple[str, ...]
    scores: Floats
    known: float
    present: npt.NDArray[np.bool_]
    answer: str | None
    patch_scores: Floats | None = None
    attention: Floats | None = None

    def top(self, k: int | None = None) -> list[tuple[str, float]]:
        """The k likeliest classes (all without k) with their scores, best first."""
        order = np.argsort(-self.scores, kind="stable")[:k]
        return [(self.class_names[i], float(self.scores[i])) for i in order]

    @property
    def names_present(self) -> list[str]:
        """The classes that the thresholds let pass."""
        return [name for name, here in zip(self.class_names, self.present, strict=True) if here]

    def to_row(self) -> list[str]:
        """A row of a table: ROW_COLUMNS, those present joined by ";", and scores that measures can be computed from."""
        told = [f"{self.start_s:.3f}", f"{self.end_s:.3f}", self.answer or "", f"{self.known:.7g}"]
        return [*told, ";".join(self.names_present), *(f"{score:.7g}" for score in self.scores)]

    def to_json(self, k: int | None = None) -> dict[str, Any]:
        """Plain types; the scores of the k likeliest classes, best first, rounded to five places."""
        return {
            "start_s": round(self.start_s, 3),
            "end_s": round(self.end_s, 3),
            "answer": self.answer,
            "known": round(self.known, 5),
            "present": self.names_present,
            "scores": {name: round(score, 5) for name, score in self.top(k)},
        }


def make_predictions(
    said: HeadScores,
    answers: Answers,
    mask: npt.NDArray[np.bool_],
    *,
    keys: list[str],
    start_s: npt.ArrayLike,
    end_s: npt.ArrayLike,
    class_names: tuple[str, ...],
) -> list[Prediction]:
    """One Prediction for each row of a head's scores, cut to the row's real patches."""
    starts, ends = np.asarray(start_s, float), np.asarray(end_s, float)
    return [
        Prediction(
            key=key,
            start_s=float(starts[i]),
            end_s=float(ends[i]),
            class_names=class_names,
            scores=said.scores[i],
            known=float(answers.known[i]),
            present=answers.present[i],
            answer=class_names[answers.answer[i]] if answers.answer[i] >= 0 else None,
            patch_scores=None if said.patch_scores is None else said.patch_scores[i][mask[i]],
            attention=None if said.attention is None else said.attention[i][mask[i]],
        )
        for i, key in enumerate(keys)
    ]
