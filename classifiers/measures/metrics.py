"""How good scores are. Numpy only, so that evaluating needs neither scikit-learn nor TensorFlow. Pure."""

from dataclasses import asdict, dataclass
from statistics import NormalDist
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.errors import FormatError

Scores = npt.NDArray[np.floating]
Flags = npt.NDArray[np.bool_]
THRESHOLD = 0.5
MAX_CONFUSION = 500
"""Of so many classes the counts are a quarter of a million numbers, of thousands most of a model.json."""


@dataclass(frozen=True, slots=True)
class ClassMetrics:
    """One class. All but support are None where it has no rows: what was said of it cannot have been right, and a 0
    would blame the head for the data. precision is 0 where nothing was said of it; auc is None without negatives, too.
    """

    name: str
    support: int
    precision: float | None
    recall: float | None
    f1: float | None
    ap: float | None
    auc: float | None


_NO_ROWS = {"precision": None, "recall": None, "f1": None}


@dataclass(frozen=True, slots=True)
class Metrics:
    """What was measured on n rows.

    accuracy: single: the highest score is the right class; multi: every class is answered right.
    balanced_accuracy: single: mean recall of the classes that occur; multi: mean over classes of
        (recall + true negative rate) / 2.
    mAP, auc: means over `classes_scored`, the classes that have both positives and negatives; None when none has.
    d_prime: sqrt(2) * z(auc), of the mean auc; None where that is infinite.
    confusion: single: [true][predicted] counts, None of more than MAX_CONFUSION classes; multi: for each class
        [[tn, fp], [fn, tp]].
    calibration_error, calibration_error_before: how far scores lie from the share that is right, as measured and before
        calibration: `reliability.Calibration.ece`; None where nobody measured it.
    """

    mode: str
    n: int
    accuracy: float
    balanced_accuracy: float
    mAP: float | None  # noqa: N815 - the field's name for it
    auc: float | None
    d_prime: float | None
    classes_scored: int
    class_names: tuple[str, ...]
    per_class: tuple[ClassMetrics, ...]
    confusion: list[Any] | None
    calibration_error: float | None = None
    calibration_error_before: float | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain types; per_class becomes a mapping from the name of a class."""
        data = asdict(self)
        data["class_names"] = list(self.class_names)
        data["per_class"] = {row.pop("name"): row for row in data["per_class"]}
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Metrics":
        per_class = tuple(
            ClassMetrics(name=name, **row | (_NO_ROWS if row["support"] == 0 else {}))  # earlier versions wrote 0
            for name, row in data["per_class"].items()
        )
        return cls(**{**data, "class_names": tuple(data["class_names"]), "per_class": per_class})


def measure(
    targets: npt.ArrayLike,
    scores: npt.ArrayLike,
    class_names: tuple[str, ...],
    mode: str,
    said: Flags | None = None,
) -> Metrics:
    """Measure scores against the truth.

    Args:
        targets: [n, classes], 1 where a row has a class, else 0; n > 0.
        scores: [n, classes], higher is more likely.
        said: bool [n, classes], which classes are answered; by default what `answers` makes of the scores.
    Raises:
        FormatError: shapes that do not fit, no rows, or scores that are not finite.
    """
    truth, scores = np.asarray(targets) > 0.5, np.asarray(scores, np.float64)
    if truth.shape != scores.shape or truth.ndim != 2 or truth.shape[1] != len(class_names) or not len(truth):
        raise FormatError(
            f"measure: targets and scores must be [n, {len(class_names)}] with n > 0, got {list(truth.shape)} and "
            f"{list(scores.shape)}; pass the same rows"
        )
    if not np.isfinite(scores).all():
        raise FormatError("measure: scores must be finite, got NaN or infinity; check the head")
    said = answers(scores, mode) if said is None else said
    per_class = tuple(_class_metrics(name, truth[:, c], said[:, c], scores[:, c]) for c, name in enumerate(class_names))
    scored = [(row.ap, row.auc) for row in per_class if row.ap is not None and row.auc is not None]
    auc = float(np.mean([a for _, a in scored])) if scored else None
    return Metrics(
        mode=mode,
        n=len(truth),
        accuracy=float((truth == said).all(axis=1).mean()),
        balanced_accuracy=_balanced_accuracy(truth, said, mode),
        mAP=float(np.mean([ap for ap, _ in scored])) if scored else None,
        auc=auc,
        d_prime=d_prime(auc) if auc is not None else None,
        classes_scored=len(scored),
        class_names=class_names,
        per_class=per_class,
        confusion=_confusion(truth, said, mode),
    )


def answers(scores: npt.ArrayLike, mode: str) -> Flags:
    """What scores say where nobody decided otherwise, bool [n, classes].

    "single": the highest of each row; "multi": each that is at least THRESHOLD.
    """
    scores = np.asarray(scores)
    if mode == "single":
        return scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1])
    return scores >= THRESHOLD


def average_precision(truth: Flags, scores: Scores) -> float | None:
    """Area under the precision-recall curve as a step function: sum of precision x gain in recall.

    Equal scores are one step. None without positives.
    """
    if not truth.any():
        return None
    precision, recall = precision_recall_curve(truth, scores)
    return float(np.sum(np.diff(recall, prepend=0.0) * precision))


def precision_recall_curve(truth: Flags, scores: Scores) -> tuple[Scores, Scores]:
    """Precision and recall at each distinct score, from the highest down. Needs at least one positive."""
    order = np.argsort(-scores, kind="stable")
    hits = np.cumsum(truth[order])
    last_of_equals = np.flatnonzero(np.append(np.diff(scores[order]) != 0, True))
    return hits[last_of_equals] / (last_of_equals + 1), hits[last_of_equals] / hits[-1]


def roc_auc(truth: Flags, scores: Scores) -> float | None:
    """How often a positive scores above a negative; equals count half. None without both."""
    positives, negatives = int(truth.sum()), int((~truth).sum())
    if not positives or not negatives:
        return None
    _, inverse, counts = np.unique(scores, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    mean_rank = last - (counts - 1) / 2
    return float((mean_rank[inverse][truth].sum() - positives * (positives + 1) / 2) / (positives * negatives))


def d_prime(auc: float) -> float | None:
    """sqrt(2) times the normal quantile of an AUC; None at 0 and 1, where it is infinite."""
    return float(np.sqrt(2) * NormalDist().inv_cdf(auc)) if 0 < auc < 1 else None


def _class_metrics(name: str, truth: Flags, said: Flags, scores: Scores) -> ClassMetrics:
    hits, claimed, support = int((truth & said).sum()), int(said.sum()), int(truth.sum())
    return ClassMetrics(
        name=name,
        support=support,
        precision=hits / max(claimed, 1) if support else None,
        recall=hits / support if support else None,
        f1=2 * hits / (claimed + support) if support else None,
        ap=average_precision(truth, scores),
        auc=roc_auc(truth, scores),
    )


def _balanced_accuracy(truth: Flags, said: Flags, mode: str) -> float:
    occurs = truth.any(axis=0)
    recall = (truth & said).sum(axis=0)[occurs] / truth.sum(axis=0)[occurs]
    if mode == "single":
        return float(recall.mean())
    both = occurs & ~truth.all(axis=0)
    if not both.any():
        return float(recall.mean()) if occurs.any() else float((truth == said).mean())
    true_positive = (truth & said).sum(axis=0)[both] / truth.sum(axis=0)[both]
    true_negative = (~truth & ~said).sum(axis=0)[both] / (~truth).sum(axis=0)[both]
    return float(((true_positive + true_negative) / 2).mean())


def _confusion(truth: Flags, said: Flags, mode: str) -> list[Any] | None:
    classes = truth.shape[1]
    if mode == "single":
        if classes > MAX_CONFUSION:
            return None
        both = truth.any(axis=1) & said.any(axis=1)
        cells = truth[both].argmax(axis=1) * classes + said[both].argmax(axis=1)
        counts: list[Any] = np.bincount(cells, minlength=classes**2).reshape(classes, classes).tolist()
        return counts
    kinds = [[(~truth & ~said), (~truth & said)], [(truth & ~said), (truth & said)]]
    return np.array([[kind.sum(axis=0) for kind in row] for row in kinds]).transpose(2, 0, 1).tolist()
