"""Support vector machines with an RBF kernel, one class against the rest, on pooled patches; calibrated by Platt.

C and gamma are chosen by cross-validation within the training rows, grouped by source.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.heads import HEADS, HeadRow, HeadScores, Progress, Runtime, TrainingData, make_settings
from classifiers.metrics import measure
from classifiers.protocol import grouped_folds
from embeddings.embedding import Vectors
from ingest.class_sets import Mode
from ingest.errors import FormatError, UsageError

MAX_ROWS = 12_000
"""Training time grows with the square of the rows; beyond this it is hours."""

TRUSTED_TYPES = (
    "sklearn.calibration._CalibratedClassifier",
    "sklearn.calibration._SigmoidCalibration",
)
"""What a head.skops may hold beyond what skops trusts by itself; anything else is refused."""

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class SvcSettings:
    """The grid, and how it is searched.

    costs: values of C. gammas: values of gamma times the number of features (1 is scikit-learn's "scale").
    folds: of the search, and of the calibration.
    """

    costs: tuple[float, ...] = (1.0, 3.0, 10.0, 30.0, 100.0)
    gammas: tuple[float, ...] = (0.03, 0.1, 0.3, 1.0)
    folds: int = 3


class FittedSvc:
    """The fitted scaler and one calibrated SVC a class."""

    def __init__(self, scaler: Any, machines: list[Any], mode: Mode, settings: dict[str, Any]) -> None:
        self.scaler, self.machines, self.mode, self.settings = scaler, machines, mode, settings

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        features = self.scaler.transform(pool(vectors, mask))
        probabilities = [machine.predict_proba(features)[:, 1] for machine in self.machines]
        return HeadScores(_normalised(np.stack(probabilities, axis=1), self.mode))

    def save(self, folder: Path) -> None:
        import skops.io

        row = HEADS["svc"]
        skops.io.dump({"scaler": self.scaler, "machines": self.machines}, folder / row.full_file)
        np.savez(folder / row.light_file, **_plain_arrays(self.scaler, self.machines))


def pool(vectors: Vectors, mask: Mask) -> Floats:
    """Mean of the real patches, in stored units: float64 [n, dim].

    Their spread beside it gains nothing: chosen by cross-validation on AudioSet's balanced split.
    """
    total = np.where(mask[..., None], vectors, 0).sum(axis=1, dtype=np.float64)
    return total / mask.sum(axis=1, keepdims=True)


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedSvc:
    """Search the grid, then fit and calibrate on all rows. Imports scikit-learn.

    Raises:
        UsageError: too many rows, or a class with sounds of fewer than two sources.
    """
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    settings = make_settings(SvcSettings, row, changes)
    folds = grouped_folds(data.targets, data.sources, _n_folds(data, settings), np.random.default_rng(seed))
    features = pool(data.vectors, data.mask)
    cost, gamma, score = _search(features, data, folds, settings, progress)
    splits = [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(folds.max() + 1)]
    scaler = StandardScaler().fit(features)
    scaled = scaler.transform(features)
    machines = []
    for target in data.targets.T:
        machine = CalibratedClassifierCV(SVC(C=cost, gamma=gamma), method="sigmoid", cv=splits, ensemble=False)
        machine.fit(scaled, target.astype(np.int64))
        machines.append(machine.set_params(cv=None))  # the splits are row numbers: no use to whoever loads it
    chosen = {"C": cost, "gamma": gamma, "inner_score": score}
    return FittedSvc(scaler, machines, data.mode, {**asdict(settings), "chosen": chosen})


def load(row: HeadRow, folder: Path, mode: Mode, runtime: Runtime) -> "FittedSvc | _LightSvc":
    """Load what `save` wrote.

    Raises:
        FormatError: head.skops holds types that an svc head has no need of.
    """
    if runtime == "light":
        with (folder / row.light_file).open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return _LightSvc(dict(arrays), mode)
    import skops.io

    path = folder / row.full_file
    if foreign := set(skops.io.get_untrusted_types(file=path)) - set(TRUSTED_TYPES):
        raise FormatError(f"{path}: holds {', '.join(sorted(foreign))}, which no svc head has; do not trust it")
    parts = skops.io.load(path, trusted=list(TRUSTED_TYPES))
    return FittedSvc(parts["scaler"], parts["machines"], mode, {})


class _LightSvc:
    """The same machines as plain arrays: scikit-learn takes seconds to import, this nothing."""

    def __init__(self, arrays: dict[str, Any], mode: Mode) -> None:
        self._arrays, self._mode = arrays, mode

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        a = self._arrays
        scaled = (pool(vectors, mask) - a["mean"]) / a["scale"]
        kernel = np.exp(-a["gamma"] * _squared_distances(scaled, a["support"]))
        margins = kernel @ a["dual"].T + a["intercept"]
        return HeadScores(_normalised(1 / (1 + np.exp(a["platt_a"] * margins + a["platt_b"])), self._mode))


def _plain_arrays(scaler: Any, machines: list[Any]) -> dict[str, Any]:
    """Support vectors of all classes once, and what each class makes of them."""
    calibrated = [machine.calibrated_classifiers_[0] for machine in machines]
    svcs = [c.estimator for c in calibrated]
    sigmoids = [c.calibrators[0] for c in calibrated]
    used = np.unique(np.concatenate([svc.support_ for svc in svcs]))
    support = np.zeros((len(used), len(scaler.mean_)))
    dual = np.zeros((len(svcs), len(used)))
    for c, svc in enumerate(svcs):
        places = np.searchsorted(used, svc.support_)
        support[places] = svc.support_vectors_
        dual[c, places] = svc.dual_coef_[0]
    return {
        "mean": scaler.mean_,
        "scale": scaler.scale_,
        "support": support,
        "dual": dual,
        "intercept": np.array([svc.intercept_[0] for svc in svcs]),
        "gamma": np.array(svcs[0].gamma),
        "platt_a": np.array([sigmoid.a_ for sigmoid in sigmoids]),
        "platt_b": np.array([sigmoid.b_ for sigmoid in sigmoids]),
    }


def _n_folds(data: TrainingData, settings: SvcSettings) -> int:
    if len(data.targets) > MAX_ROWS:
        raise UsageError(
            f"--head svc: takes at most {MAX_ROWS} rows, got {len(data.targets)}; use --head attention, or fewer rows"
        )
    sources = np.asarray(data.sources)
    for has, word in ((data.targets > 0, "with"), (data.targets == 0, "without")):
        per_class = [len(np.unique(sources[column])) for column in has.T]
        if min(per_class) < 2:
            name = data.class_names[int(np.argmin(per_class))]
            raise UsageError(
                f"--head svc: needs sounds of two sources or more with and without each class, got {min(per_class)} "
                f"{word} {name!r} in a training part; add sounds, or use --head attention"
            )
    return min(settings.folds, *(len(np.unique(sources[column > 0])) for column in data.targets.T))


def _search(
    features: Floats, data: TrainingData, folds: npt.NDArray[np.intp], settings: SvcSettings, progress: Progress
) -> tuple[float, float, float]:
    """C, gamma and their score out of fold; of equals the smoother one.

    The score is mAP, for "single" the mean of it and accuracy, which alone takes few values on few rows.
    """
    from sklearn.svm import SVC

    grid = [(cost, gamma / features.shape[1]) for cost, gamma in product(settings.costs, settings.gammas)]
    margins = np.zeros((len(grid), *data.targets.shape))
    steps, done = len(grid) * (folds.max() + 1), 0
    for fold in range(folds.max() + 1):
        train, test = folds != fold, folds == fold
        mean, std = features[train].mean(axis=0), features[train].std(axis=0)
        scaled = (features - mean) / np.where(std > 0, std, 1)
        distances = _squared_distances(scaled, scaled[train])
        for i, (cost, gamma) in enumerate(grid):
            kernel = np.exp(-gamma * distances)
            for c, target in enumerate(data.targets.T):
                if 0 < target[train].sum() < train.sum():
                    svc = SVC(C=cost, kernel="precomputed").fit(kernel[train], target[train])
                    margins[i, test, c] = svc.decision_function(kernel[test])
            done += 1
            progress(done, steps)
    scores = [_inner_score(data, m) for m in margins]
    best = int(np.argmax(scores))
    return *grid[best], scores[best]


def _inner_score(data: TrainingData, margins: Floats) -> float:
    metrics = measure(data.targets, margins, data.class_names, data.mode)
    mean_ap = metrics.mAP or 0.0
    return (metrics.accuracy + mean_ap) / 2 if data.mode == "single" else mean_ap


def _squared_distances(a: Floats, b: Floats) -> Floats:
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
    return np.maximum(squares - 2 * a @ b.T, 0)


def _normalised(probabilities: Floats, mode: Mode) -> npt.NDArray[np.float32]:
    """Each class was asked alone; "single" wants their sum to be 1."""
    if mode == "single":
        probabilities = probabilities / np.maximum(probabilities.sum(axis=1, keepdims=True), 1e-12)
    return probabilities.astype(np.float32)
