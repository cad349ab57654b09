"""How well a head tells what it knows from what it does not. Numpy only, pure."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.background import known_scores
from classifiers.decision import Answers
from classifiers.heads import HeadScores
from classifiers.measures.metrics import roc_auc


@dataclass(frozen=True, slots=True)
class Rejection:
    """Background against the rows of the class set, of a "single" head.

    n: rows of background.
    auc: how often a row of the class set is known better than one of background.
    keep, accepted_at_keep: share of background accepted where that share of these very rows of the class set is kept.
    kept, accepted: the same two at the model's own working point, which was chosen on other rows.
    shares: class -> its share of the background that is accepted at `keep`; empty when none is.
    largest_share_ratio: each class's share of that background over its share of the rows of the class set, the largest;
        None when no background was accepted, or some was taken for a class that has no row here to compare with.
    n_unrelated, auc_unrelated, accepted_unrelated: rows of background that have no label above or below a class's in
        the ontology, and the first two measures with them alone: "Bark" without "Dog" is background by its labels and
        a dog to who listens. None where there are no such rows.
    """

    n: int
    auc: float
    keep: float
    accepted_at_keep: float
    kept: float
    accepted: float
    shares: dict[str, float]
    largest_share_ratio: float | None
    n_unrelated: int
    auc_unrelated: float | None
    accepted_unrelated: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_rejection(
    truth: npt.NDArray[np.float32],
    said: HeadScores,
    answers: Answers,
    class_names: tuple[str, ...],
    *,
    keep: float,
    related: npt.NDArray[np.bool_],
) -> Rejection:
    """Measure calibrated scores of rows with a class and of background, whose truth is all 0. Needs some of each.

    Args:
        related: bool [n], see `measured.RowFacts`.
    """
    known, has_class = known_scores(said, "single"), truth.sum(axis=1) > 0
    threshold = np.quantile(known[has_class], 1 - keep, method="lower")
    accepted = ~has_class & (known >= threshold)
    taken = np.bincount(said.scores[accepted].argmax(axis=1), minlength=truth.shape[1])
    shares, fair = taken / max(taken.sum(), 1), truth.sum(axis=0) / truth.sum()
    answered = answers.answer >= 0
    unrelated = ~has_class & ~related
    asked = has_class | unrelated
    return Rejection(
        n=int((~has_class).sum()),
        auc=roc_auc(has_class, known) or 0.0,
        keep=keep,
        accepted_at_keep=float(accepted.sum() / (~has_class).sum()),
        kept=float(answered[has_class].mean()),
        accepted=float(answered[~has_class].mean()),
        shares=dict(zip(class_names, shares.tolist(), strict=True)) if accepted.any() else {},
        largest_share_ratio=float(np.max(shares[taken > 0] / fair[taken > 0]))
        if accepted.any() and fair[taken > 0].all()
        else None,
        n_unrelated=int(unrelated.sum()),
        auc_unrelated=roc_auc(has_class[asked], known[asked]),
        accepted_unrelated=float(accepted[unrelated].mean()) if unrelated.any() else None,
    )
