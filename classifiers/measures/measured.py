"""All that is measured of rows that a head was not trained on, and the rows themselves. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.decision import KEEP, Answers
from classifiers.heads import HeadScores
from classifiers.measures.intervals import Intervals, measure_intervals
from classifiers.measures.metrics import Metrics, answers, measure
from classifiers.measures.rejection import Rejection, measure_rejection
from classifiers.measures.reliability import Calibration, Confidence, measure_calibration, measure_confidence
from classifiers.measures.slices import Slice, measure_slices
from classifiers.targets import rows_with_relatives
from embeddings.table import EmbeddingTable
from ingest.audioset.class_sets import ClassSet, Mode

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class RowFacts:
    """Where each of n rows comes from; fields as in `EmbeddingTable`, without the vectors.

    related: bool [n], has a label that is a class's, or above or below one in the ontology. Background is measured by
        it; "multi" has none.
    """

    keys: list[str]
    sources: list[str]
    paths: list[str]
    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    related: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, table: EmbeddingTable, class_set: ClassSet) -> "RowFacts":
        single = class_set.mode == "single"
        related = rows_with_relatives(table.mids, class_set) if single else np.zeros(len(table.keys), bool)
        return cls(table.keys, table.sources, table.paths, table.start_s, table.end_s, related)

    def __len__(self) -> int:
        return len(self.keys)

    def select(self, rows: npt.NDArray[np.intp]) -> "RowFacts":
        """These rows, in this order."""
        keys, sources, paths = ([column[i] for i in rows] for column in (self.keys, self.sources, self.paths))
        return RowFacts(keys, sources, paths, self.start_s[rows], self.end_s[rows], self.related[rows])


@dataclass(frozen=True, slots=True)
class PatchEvidence:
    """What a head saw over time, of the class that scored best in each row.

    best: int [n], that class. By the head's own scores: calibration may let another class of "multi" score best.
    scores, attention: float32 [n, patches], 0 outside the row's real patches; attention sums to 1 over them.
    n_patches: int [n].
    """

    best: npt.NDArray[np.intp]
    scores: Floats
    attention: Floats
    n_patches: npt.NDArray[np.int32]

    @classmethod
    def of(cls, said: HeadScores, mask: npt.NDArray[np.bool_]) -> "PatchEvidence | None":
        """None where the head does not look at patches."""
        if said.patch_scores is None or said.attention is None:
            return None
        best = said.scores.argmax(axis=1)
        scores, attention = (
            np.take_along_axis(values, best[:, None, None], axis=2)[:, :, 0]
            for values in (said.patch_scores, said.attention)
        )
        return cls(best, scores, attention, mask.sum(axis=1, dtype=np.int32))

    @classmethod
    def joined(cls, parts: "Sequence[PatchEvidence | None]") -> "PatchEvidence | None":
        """The rows of all parts, one after the other; None unless every part has some."""
        whole = [part for part in parts if part is not None]
        if len(whole) < len(parts) or not parts:
            return None
        return cls(*(np.concatenate([getattr(part, f.name) for part in whole]) for f in fields(cls)))

    def select(self, rows: npt.NDArray[np.intp]) -> "PatchEvidence":
        return PatchEvidence(*(getattr(self, f.name)[rows] for f in fields(self)))


@dataclass(frozen=True, slots=True)
class KnownScores:
    """Scores that a row is of any class: float32, of rows that have one and of background."""

    classes: Floats
    background: Floats


@dataclass(frozen=True, slots=True)
class Answered:
    """What the working point makes of rows that have a class: the rest is answered with "none of these".

    share: of the rows, how many are given a class for an answer. right: of these, how many the right one; None of none.
    """

    share: float
    right: float | None

    @classmethod
    def of(cls, flags: npt.NDArray[np.bool_], answer: npt.NDArray[np.intp]) -> "Answered | None":
        """flags: bool [n, classes]. answer: int [n], -1 for none of these. None of no rows."""
        given = np.flatnonzero(answer >= 0)
        right = float(flags[given, answer[given]].mean()) if len(given) else None
        return cls(len(given) / len(answer), right) if len(answer) else None

    def to_json(self) -> dict[str, Any]:
        return {"share": self.share, "right": self.right}


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores of rows that the head that gave them was not trained on, and their measures.

    truth, scores: [n, classes], of the rows that have what the class set asks for; scores are calibrated.
    ranked: [n, classes], what mAP, AUC and d' are of. In "multi" the scores as the head gave them: calibrating a class
        changes none of its order, but the calibrations that the folds give each other would shuffle it.
    said: bool [n, classes], what was answered: the best class of "single", those above their threshold of "multi".
    answered: of "single", how many of these rows the working point lets be answered; None of "multi".
    rejection, known: how well background is told from the classes; None where there was none.
    slices: column -> measures for each of its values.
    """

    truth: Floats
    scores: Floats
    ranked: Floats
    said: npt.NDArray[np.bool_]
    rows: RowFacts
    metrics: Metrics
    intervals: Intervals
    calibration: Calibration
    confidence: Confidence
    answered: Answered | None = None
    rejection: Rejection | None = None
    known: KnownScores | None = None
    patches: PatchEvidence | None = None
    slices: Mapping[str, list[Slice]] = field(default_factory=dict)

    def sliced(self, column: str, value_of_row: Sequence[str]) -> "Measured":
        """With measures for each value of a column; value_of_row: [n], "" where nothing is told."""
        made = measure_slices(
            self.truth > 0.5,
            self.ranked,
            self.said,
            values=value_of_row,
            sources=self.rows.sources,
            class_names=self.metrics.class_names,
            mode=self.metrics.mode,
        )
        return replace(self, slices={**self.slices, column: made})

    def part(self, rows: npt.NDArray[np.intp]) -> Metrics:
        """The measures of some rows alone, by the same scores and answers."""
        names, mode = self.metrics.class_names, self.metrics.mode
        return measure(self.truth[rows], self.ranked[rows], names, mode, self.said[rows])

    def to_json(self) -> dict[str, Any]:
        """Plain types; see docs/heads.md for the names."""
        return self.metrics.to_json() | {
            "intervals": self.intervals.to_json(),
            "calibration": self.calibration.to_json(),
            "confidence": self.confidence.to_json(),
            "answered": self.answered.to_json() if self.answered else None,
            "background": self.rejection.to_json() if self.rejection else None,
            "slices": {
                column: {part.value: part.to_json() for part in slices} for column, slices in self.slices.items()
            },
        }


def measure_rows(
    truth: Floats,
    raw: HeadScores,
    said: HeadScores,
    decided: Answers,
    *,
    rows: RowFacts,
    class_names: tuple[str, ...],
    mode: Mode,
    keep: float = KEEP,
    patches: PatchEvidence | None = None,
) -> Measured:
    """Measure scores in every way.

    The measures of the classes are of rows that have one; rows of zeros in "single" are background.

    Args:
        truth: [n, classes]. rows: [n].
        raw: scores as the head gave them; said, decided: calibrated, and what was made of them.
        keep: the share of rows with a class that is kept where it is told how much background is accepted.
    """
    has_class = truth.any(axis=1) | (mode == "multi")
    kept = np.flatnonzero(has_class)
    flags, scores, related, rows = truth[kept] > 0.5, said.scores[kept], rows.related, rows.select(kept)
    answered = answers(scores, mode) if mode == "single" else decided.present[kept]
    background = not has_class.all()
    calibration = measure_calibration(flags, scores, mode)
    ranked = raw.scores[kept] if mode == "multi" else scores
    return Measured(
        truth=truth[kept],
        scores=scores,
        ranked=ranked,
        said=answered,
        rows=rows,
        metrics=replace(
            measure(flags, ranked, class_names, mode, answered),
            calibration_error=calibration.ece,
            calibration_error_before=measure_calibration(flags, raw.scores[kept], mode).ece,
        ),
        intervals=measure_intervals(flags, ranked, answered, sources=rows.sources, class_names=class_names, mode=mode),
        calibration=calibration,
        confidence=measure_confidence(flags, scores, answered),
        answered=Answered.of(flags, decided.answer[kept]) if mode == "single" else None,
        rejection=measure_rejection(truth, said, decided, class_names, keep=keep, related=related)
        if background
        else None,
        known=KnownScores(decided.known[has_class], decided.known[~has_class]) if background else None,
        patches=patches.select(kept) if patches else None,
    )
