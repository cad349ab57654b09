"""Machines fitted on pooled vectors, and the folds that they are calibrated and chosen by: grouped by source."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from classifiers.heads import TrainingData
from classifiers.protocol import grouped_folds, sources_of_classes
from classifiers.shallow.families import Family, load_engine, make_estimator
from classifiers.shallow.pooling import Floats
from classifiers.shallow.search import Parameters
from ingest.errors import UsageError

log = logging.getLogger("earshot.shallow")
REFUSALS = {
    "overflow": "these vectors are too large for it as they are; use --head sgd-standardised",
    "worse than random": "on these vectors none of what it boosts is better than chance; see that they differ between "
    "the classes, or use --head attention",
}
"""Words of scikit-learn's for data that a machine cannot learn from -> ours."""
THREADS_FROM = 1_000_000_000
"""Rows x features x classes from which the threads of BLAS gain more than they cost. An optimiser asks for thousands of
products, and where another process has the second core, each waits for it: with 400 rows, seven times as long."""
TREE_THREADS_FROM = 10_000_000
"""Rows x features from which those of OpenMP do, which boosters grow their trees with. All of them wait for the slowest
some twenty times a tree: with 320 rows of 1,024, ten times as long where others use the second core. A tree is the same
to the bit, however many have grown it."""
Folds = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Problem:
    """What a head is fitted to, whatever its parameters; native: one machine for all classes."""

    name: str
    family: Family
    data: TrainingData
    native: bool
    seed: int


def fit_machines(problem: Problem, parameters: Parameters, x: Floats, folds: Folds | None = None) -> list[Any]:
    """The machines of a head, fitted on transformed rows; calibrated where folds are given."""
    data, family = problem.data, problem.family
    targets = data.targets.astype(np.int64)

    def new() -> Any:
        return make_estimator(family, parameters, problem.seed)

    try:
        if problem.native:
            y = targets.argmax(axis=1) if data.mode == "single" else targets
            return [new().fit(x, y)]
        if folds is not None:
            return [calibrated(new(), x, target, folds) for target in data.targets.T]
        return [new().fit(x, target) for target in targets.T]
    except ValueError as error:
        reason = next((reason for words, reason in REFUSALS.items() if words in str(error)), None)
        if reason is None:
            raise
        raise UsageError(f"--head {problem.name}: {reason}") from error


def inner_folds(name: str, data: TrainingData, wanted: int, seed: int, *, needed: bool) -> Folds | None:
    """A fold for each row, grouped by source; fewer than `wanted` where a class has fewer sources.

    Args:
        needed: for every class, to calibrate it; else classes with sounds of one source only are passed over.
    Returns:
        int [n], or None where no class is left to choose by.
    Raises:
        UsageError: some class has sounds of one source only, and folds are needed.
    """
    per_class = dict(zip(("with", "without"), sources_of_classes(data.targets, data.sources), strict=True))
    enough = (per_class["with"] > 1) & (per_class["without"] > 1)
    if needed and not enough.all():
        rarest = int(np.argmin(enough))
        word = "with" if per_class["with"][rarest] < 2 else "without"
        raise UsageError(
            f"--head {name}: needs sounds of two sources or more with and without each class, got "
            f"{per_class[word][rarest]} {word} {data.class_names[rarest]!r} in a training part; add sounds, or use "
            "--head attention"
        )
    if not enough.any():
        log.warning("--head %s: too few recordings to choose parameters by; the defaults are taken", name)
        return None
    n_folds = min(wanted, int(per_class["with"][enough].min()))
    return grouped_folds(data.targets, data.sources, n_folds, np.random.default_rng(seed))


def splits_of(folds: Folds) -> list[tuple[Folds, Folds]]:
    """Row numbers to learn from and to test on, fold by fold."""
    return [(np.flatnonzero(folds != k), np.flatnonzero(folds == k)) for k in range(int(folds.max()) + 1)]


def calibrated(estimator: Any, x: Floats, target: npt.NDArray[np.float32], folds: Folds) -> Any:
    """One class against the rest, its margins made probabilities by a sigmoid fitted on out-of-fold margins."""
    from sklearn.calibration import CalibratedClassifierCV

    machine = CalibratedClassifierCV(estimator, method="sigmoid", cv=splits_of(folds), ensemble=False)
    machine.fit(x, target.astype(np.int64))
    return machine.set_params(cv=None)  # the splits are row numbers: no use to whoever loads it


@contextmanager
def threads_that_pay(problem: Problem, x: Floats) -> Iterator[None]:
    """One thread in BLAS and OpenMP for a small fit to pooled rows: around transforms, machines and what they say."""
    import scipy.linalg  # noqa: F401 - it has a BLAS beside NumPy's, and only what is loaded can be limited

    load_engine(problem.family)  # which may have an OpenMP of its own, likewise
    with (
        threadpool_limits(1, "blas") if x.size * problem.data.targets.shape[1] < THREADS_FROM else nullcontext(),
        threadpool_limits(1, "openmp") if x.size < TREE_THREADS_FROM else nullcontext(),
    ):
        yield


@contextmanager
def quiet() -> Iterator[None]:
    """A machine stopped before it converged is measured like any other: people need no warning for each of dozens."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
