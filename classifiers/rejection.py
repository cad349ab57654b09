"""How well a head tells what it knows from what it does not. Numpy only, pure."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.background import known_scores
from classifiers.decision import KEEP, Decision
from classifiers.heads import HeadScores
from classifiers.metrics import roc_auc


@dataclass(frozen=True, slots=True)
class Rejection:
    """Background against the rows of the class set, of a "single" head.

    n: rows of background.
    auc: how often a row of the class set is known better than one of background.
    keep, accepted_at_keep: share of background accepted where that share of the class set is kept.
    kept, accepted: the same two at the bundle's own working point.
    largest_share_ratio: of the accepted background (at `keep`), the share of the class that collects most beyond its
        share of the class set, over that share; None when nothing was accepted.
    """

    n: int
    auc: float
    keep: float
    accepted_at_keep: float
    kept: float
    accepted: float
    largest_share_ratio: float | None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def measure_rejection(
    truth: npt.NDArray[np.float32], said: HeadScores, decision: Decision, keep: float = KEEP
) -> Rejection:
    """Measure calibrated scores of rows with a class and of background, whose truth is all 0. Needs some of each."""
    known, has_class = known_scores(said, decision.mode), truth.sum(axis=1) > 0
    threshold = np.quantile(known[has_class], 1 - keep, method="lower")
    best = said.scores.argmax(axis=1)
    taken = np.bincount(best[~has_class & (known >= threshold)], minlength=truth.shape[1])
    fair = truth.sum(axis=0) / truth.sum()
    ratio = float(np.max(taken[fair > 0] / taken.sum() / fair[fair > 0])) if taken.sum() else None
    answered = decision.decide(said).answer >= 0
    return Rejection(
        n=int((~has_class).sum()),
        auc=roc_auc(has_class, known) or 0.0,
        keep=keep,
        accepted_at_keep=float((known[~has_class] >= threshold).mean()),
        kept=float(answered[has_class].mean()),
        accepted=float(answered[~has_class].mean()),
        largest_share_ratio=ratio,
    )
