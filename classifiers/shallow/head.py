"""The shallow heads: a classic machine on pooled patches, its parameters chosen inside the training rows.

What sets the rows of HEADS apart is data: `families.FAMILIES` and data/search_spaces/shallow.toml. Pooling and
parameters are chosen by cross-validation grouped by source; the machine that is kept learns from all rows.
"""

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.calibration import fit_sigmoid, fit_temperature, log_scores, logit
from classifiers.heads import HeadRow, Progress, Runtime, TrainingData, make_settings
from classifiers.protocol import grouped_folds, sources_of_classes
from classifiers.shallow.families import FAMILIES, Family, make_estimator, make_transforms
from classifiers.shallow.light import AS_IT_IS, Sharpness, finished
from classifiers.shallow.machines import FittedMachines, LightMachines, Machines, load_machines, probabilities
from classifiers.shallow.pooling import POOLINGS, Floats, pool
from classifiers.shallow.search import Parameters, Space, inner_score, read_spaces
from ingest.class_sets import Mode
from ingest.errors import UsageError

log = logging.getLogger("earshot.shallow")
SEARCHES = ("random", "grid", "none")
SEARCH_ROWS, SEARCH_CLASSES = 6_000, 40
"""Rows, and classes with a machine for each, that a search looks at: more would tell little and take hours."""
REFUSALS = {
    "overflow": "these vectors are too large for it as they are; use --head sgd-standardised",
    "worse than random": "on these vectors none of what it boosts is better than chance; see that they differ between "
    "the classes, or use --head attention",
}
"""Words of scikit-learn's for data that a machine cannot learn from -> ours."""
Folds = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class ShallowSettings:
    """How a shallow head is made.

    family: in FAMILIES. one_vs_rest: a machine for each class, where the family has one that knows them all.
    pooling: one of POOLINGS, or "auto": chosen by cross-validation with the parameters' defaults.
    search: "random": the default and draws from the ranges; "grid": all of the grid; "none": the default.
    trials: of a random search; 0: as many as the search space says.
    folds: of the cross-validation, and of the calibration where there is one.
    """

    family: str = "logistic"
    one_vs_rest: bool = False
    pooling: str = "auto"
    search: str = "random"
    trials: int = 0
    folds: int = 3


@dataclass(frozen=True, slots=True)
class _Problem:
    """What stays the same through a search."""

    name: str
    family: Family
    data: TrainingData
    native: bool
    seed: int


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedMachines:
    """Choose pooling and parameters, then fit on all rows. Imports scikit-learn.

    Raises:
        UsageError: a setting that is none, more classes than the family can take, or a class without rows to learn
            it from.
    """
    settings, space = _settings(row, changes)
    family = FAMILIES[settings.family]
    _check(row.name, settings, family, data)
    classes = data.targets.shape[1]
    native = data.mode in family.native and not settings.one_vs_rest and (data.mode == "single" or classes > 1)
    problem = _Problem(row.name, family, data, native, seed)
    folds = inner_folds(row.name, data, settings.folds, seed, needed=True) if family.calibrated else None
    with _quiet(), _refused(row.name):
        pooling, parameters, score, sharpness = _choose(_for_search(problem), settings, space, progress)
        x = pool(data.vectors, data.mask, pooling)
        transforms = make_transforms(family, parameters, x.shape, seed)
        for step in transforms:
            x = step.fit_transform(x)
        machines = _fit_machines(problem, parameters, x, folds)
    chosen = {"pooling": pooling, **parameters, "inner_score": score}
    kept = Machines(settings.family, data.mode, pooling, native, transforms, machines, sharpness)
    return FittedMachines(kept, {**asdict(settings), "chosen": chosen})


@contextmanager
def _refused(name: str) -> Iterator[None]:
    """What scikit-learn says of a value that a parameter cannot have, as the mistake of whoever gave it."""
    try:
        yield
    except ValueError as error:
        if type(error).__name__ != "InvalidParameterError":
            raise
        raise UsageError(f"--set: head {name}: {error} See data/search_spaces/shallow.toml for values") from error


def load(row: HeadRow, folder: Path, mode: Mode, runtime: Runtime) -> Machines | LightMachines:
    """Load what `save` wrote; see `load_machines`."""
    return load_machines(folder / (row.light_file if runtime == "light" else row.full_file), mode)


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


def _settings(row: HeadRow, changes: Mapping[str, Any]) -> tuple[ShallowSettings, Space]:
    """The settings, and the search space with the parameters that the row or the user holds at a value.

    Raises:
        UsageError: a name that is neither a setting nor a parameter, or a value of another type.
    """
    given = {**row.settings, **changes}
    names = {f.name for f in fields(ShallowSettings)}
    space = read_spaces()[given["family"]]
    if unknown := [name for name in given if name not in names and name not in space.parameters]:
        raise UsageError(
            f"--set {unknown[0]}: head {row.name} has no such setting; it has {', '.join(sorted(names - {'family'}))}, "
            f"and to hold at a value {', '.join(space.parameters)}"
        )
    for name in space.parameters.keys() & given.keys():
        space = space.fixed(name, given[name])
    bare = replace(row, settings={})
    return make_settings(ShallowSettings, bare, {name: given[name] for name in given if name in names}), space


def _check(name: str, settings: ShallowSettings, family: Family, data: TrainingData) -> None:
    if settings.search not in SEARCHES:
        raise UsageError(f"--set search: must be one of {', '.join(SEARCHES)}, got {settings.search!r}")
    if settings.pooling not in ("auto", *POOLINGS):
        raise UsageError(f"--set pooling: must be auto or one of {', '.join(POOLINGS)}, got {settings.pooling!r}")
    if settings.one_vs_rest and settings.family == "xgboost":
        raise UsageError(f"--set one_vs_rest: {name} keeps one machine for all classes; leave it out")
    classes = data.targets.shape[1]
    if classes > family.most_classes:
        others = [head for head in ("logistic", "mlp") if classes <= FAMILIES[head].most_classes]
        raise UsageError(
            f"--head {name}: takes at most {family.most_classes} classes before time or memory run away, got "
            f"{classes:,}; use --head {' or '.join(['attention', *others])}"
        )
    for some, word in ((data.targets.any(axis=0), "with"), ((data.targets == 0).any(axis=0), "without")):
        if not some.all():
            missing = data.class_names[int(np.argmin(some))]
            raise UsageError(f"--head {name}: a training part has no row {word} {missing!r}; add some, or leave it out")


def _for_search(problem: _Problem) -> _Problem:
    """As much of a large problem as a search needs: whole recordings by lot, and of classes asked one by one some."""
    data, rng = problem.data, np.random.default_rng(problem.seed)
    if len(data.targets) > SEARCH_ROWS:
        names, group = np.unique(np.asarray(data.sources), return_inverse=True)
        sizes = np.bincount(group)
        lot = rng.permutation(len(names))
        chosen = lot[: int(np.searchsorted(np.cumsum(sizes[lot]), SEARCH_ROWS)) + 1]
        data = data.select(np.flatnonzero(np.isin(group, chosen)))
    if data.mode == "multi" and not problem.native and data.targets.shape[1] > SEARCH_CLASSES:
        learnable = np.flatnonzero(_both(data.targets))
        some = np.sort(rng.permutation(learnable)[:SEARCH_CLASSES])
        names_of = tuple(data.class_names[c] for c in some)
        data = replace(data, targets=data.targets[:, some], class_names=names_of)
    return replace(problem, data=data)


@dataclass(frozen=True, slots=True)
class _Tried:
    """What came of one choice, out of fold.

    score: to choose by. scores: [n, classes]; known: bool, of which the fold's training part could learn.
    """

    score: float
    scores: Floats
    known: npt.NDArray[np.bool_]


def _choose(
    problem: _Problem, settings: ShallowSettings, space: Space, progress: Progress
) -> tuple[str, Parameters, float | None, Sharpness]:
    """Pooling, parameters, their score and sharpness out of fold: first the pooling, with default parameters."""
    poolings = list(POOLINGS) if settings.pooling == "auto" else [settings.pooling]
    if settings.search == "none" and len(poolings) == 1:
        return poolings[0], space.default, None, AS_IT_IS
    data = problem.data
    folds = inner_folds(problem.name, data, settings.folds, problem.seed, needed=False)
    if folds is None:
        return poolings[0], space.default, None, AS_IT_IS
    rng = np.random.default_rng(problem.seed)
    candidates = space.candidates(settings.search, settings.trials or space.trials, rng)
    steps, tried = len(poolings) + len(candidates), list[_Tried]()
    for i, how in enumerate(poolings):
        tried.append(_try(problem, space.default, pool(data.vectors, data.mask, how), folds))
        progress(i + 1, steps)
    first = int(np.argmax([one.score for one in tried]))
    pooling, best, parameters = poolings[first], tried[first], space.default
    x = pool(data.vectors, data.mask, pooling)
    for i, candidate in enumerate(candidates[1:]):  # the first is the default, which was tried
        one = _try(problem, candidate, x, folds)
        if one.score > best.score:
            best, parameters = one, candidate
        progress(len(poolings) + i + 1, steps)
    return pooling, parameters, best.score, AS_IT_IS if problem.family.calibrated else _sharpness_of(data, best)


def _sharpness_of(data: TrainingData, tried: _Tried) -> Sharpness:
    """What makes the scores that were tried as sure as they are right."""
    if data.mode == "multi":
        return Sharpness(*fit_sigmoid(data.targets[tried.known] > 0, logit(tried.scores[tried.known])))
    rows = (tried.known & (data.targets > 0)).any(axis=1)
    if not rows.any():
        return AS_IT_IS
    logs = log_scores(finished(tried.scores[rows], "single"))
    return Sharpness(1 / fit_temperature(data.targets[rows], logs))


def _try(problem: _Problem, parameters: Parameters, features: Floats, folds: Folds) -> _Tried:
    """These parameters, out of fold."""
    scores = np.zeros(problem.data.targets.shape)
    known = np.zeros(scores.shape, bool)
    for train, test in splits_of(folds):
        learnt = np.flatnonzero(_both(problem.data.targets[train]))
        if not len(learnt):
            continue
        transforms = make_transforms(problem.family, parameters, (len(train), features.shape[1]), problem.seed)
        x, unseen = features[train], features[test]
        for step in transforms:
            x, unseen = step.fit_transform(x), step.transform(unseen)
        part = _part(problem, train, learnt)
        machines = _fit_machines(part, parameters, x)
        scores[np.ix_(test, learnt)] = probabilities(machines, part.native, unseen)
        known[np.ix_(test, learnt)] = True
    return _Tried(inner_score(problem.data, scores), scores, known)


def _both(targets: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which classes have rows with and rows without."""
    return targets.any(axis=0) & (targets == 0).any(axis=0)


def _part(problem: _Problem, rows: Folds, classes: Folds) -> _Problem:
    """The problem of a fold: its rows, and those of the classes that can be learnt from them."""
    names = tuple(problem.data.class_names[c] for c in classes)
    data = replace(problem.data, targets=problem.data.targets[np.ix_(rows, classes)], class_names=names)
    return replace(problem, data=data, native=problem.native and (data.mode == "single" or len(names) > 1))


def _fit_machines(problem: _Problem, parameters: Parameters, x: Floats, folds: Folds | None = None) -> list[Any]:
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


@contextmanager
def _quiet() -> Iterator[None]:
    """A machine stopped before it converged is measured like any other: people need no warning for each of dozens."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield
