"""Support vector machines with an RBF kernel, one class against the rest, on pooled patches; calibrated by Platt.

A shallow head like the others (`head.py`), but for its search: C and gamma share one matrix of distances a fold.
"""

import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import product
from typing import Any

import numpy as np

from classifiers.heads import HeadRow, Progress, TrainingData, make_settings
from classifiers.shallow.fitting import Folds, calibrated, inner_folds, splits_of
from classifiers.shallow.head import fit as fit_shallow
from classifiers.shallow.head import load
from classifiers.shallow.light import squared_distances
from classifiers.shallow.machines import FittedMachines, Machines
from classifiers.shallow.pooling import Floats, pool
from classifiers.shallow.search import inner_score
from ingest.errors import UsageError

__all__ = ["SvcSettings", "fit", "load"]

log = logging.getLogger("earshot.svc")
MAX_ROWS = 12_000
"""Training time grows with the square of the rows; beyond this it is hours."""
POOLING = "mean"
"""Spread beside it gains nothing: chosen by cross-validation on AudioSet's balanced split."""


@dataclass(frozen=True, slots=True)
class SvcSettings:
    """The grid, and how it is searched.

    costs: values of C. gammas: values of gamma times the number of features (1 is scikit-learn's "scale").
    folds: of the search, and of the calibration.
    """

    costs: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0)
    gammas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    folds: int = 3


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedMachines:
    """Search the grid, then fit and calibrate on all rows. Imports scikit-learn.

    Beyond MAX_ROWS rows it is the head `rbf-nystroem` that is trained, which standard error is told.

    Raises:
        UsageError: a class with sounds of fewer than two sources, or a setting that is none.
    """
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    settings = make_settings(SvcSettings, row, changes)
    if len(data.targets) > MAX_ROWS:
        log.warning(
            "--head %s: %s rows are too many for exact kernels (at most %s); Nystroem's approximation takes over",
            row.name, f"{len(data.targets):,}", f"{MAX_ROWS:,}",
        )  # fmt: skip
        nystroem = replace(row, settings={"family": "rbf-nystroem", "pooling": POOLING})
        return fit_shallow(nystroem, data, {}, seed, progress)
    if min(*settings.costs, *settings.gammas) <= 0:
        raise UsageError(
            f"--set costs, gammas: must be above 0, got {list(settings.costs)} and {list(settings.gammas)}"
        )
    folds = inner_folds(row.name, data, settings.folds, seed, needed=True)
    assert folds is not None
    features = pool(data.vectors, data.mask, POOLING)
    cost, gamma, score = _search(features, data, folds, settings, progress)
    scaler = StandardScaler().fit(features)
    x = scaler.transform(features)
    machines = [calibrated(SVC(C=cost, gamma=gamma), x, target, folds) for target in data.targets.T]
    chosen = {"pooling": POOLING, "C": cost, "gamma": gamma, "inner_score": score}
    kept = Machines("svc", data.mode, POOLING, native=False, transforms=[scaler], machines=machines)
    return FittedMachines(kept, {**asdict(settings), "chosen": chosen})


def _search(
    features: Floats, data: TrainingData, folds: Folds, settings: SvcSettings, progress: Progress
) -> tuple[float, float, float]:
    """C, gamma and their score out of fold; of equals the smoother one."""
    from sklearn.svm import SVC

    grid = [(cost, gamma / features.shape[1]) for cost, gamma in product(settings.costs, settings.gammas)]
    margins = np.zeros((len(grid), *data.targets.shape))
    splits = splits_of(folds)
    steps, done = len(grid) * len(splits), 0
    for train, test in splits:
        mean, std = features[train].mean(axis=0), features[train].std(axis=0)
        scaled = (features - mean) / np.where(std > 0, std, 1)
        distances = squared_distances(scaled, scaled[train])
        for i, (cost, gamma) in enumerate(grid):
            kernel = np.exp(-gamma * distances)
            for c, target in enumerate(data.targets.T):
                if 0 < target[train].sum() < len(train):
                    svc = SVC(C=cost, kernel="precomputed").fit(kernel[train], target[train])
                    margins[i, test, c] = svc.decision_function(kernel[test])
            done += 1
            progress(done, steps)
    scores = [inner_score(data, m) for m in margins]
    best = int(np.argmax(scores))
    return *grid[best], scores[best]
