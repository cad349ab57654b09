"""The shallow heads: a classic machine on pooled patches, its parameters chosen inside the training rows.

What sets the rows of HEADS apart is data: `families.FAMILIES` and data/search_spaces/shallow.toml. Pooling and
parameters are chosen by cross-validation grouped by source; the machine that is kept learns from all rows.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.heads import HeadRow, Progress, Runtime, TrainingData, make_settings
from classifiers.shallow.choosing import choose
from classifiers.shallow.families import FAMILIES, Family, make_transforms
from classifiers.shallow.fitting import Problem, fit_machines, inner_folds, quiet, threads_that_pay
from classifiers.shallow.machines import FittedMachines, LightMachines, Machines, load_machines
from classifiers.shallow.pooling import POOLINGS, pool
from classifiers.shallow.search import Space, read_spaces
from ingest.audioset.class_sets import Mode
from ingest.errors import UsageError

SEARCHES = ("random", "grid", "none")


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


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedMachines:
    """Choose pooling and parameters, then fit on all rows. Imports scikit-learn.

    Raises:
        UsageError: a setting that is none, more classes than the family can take, fewer rows than teach it anything,
            or a class without rows to learn it from.
    """
    settings, space = _settings(row, changes)
    family = FAMILIES[settings.family]
    _check(row.name, settings, family, data)
    classes = data.targets.shape[1]
    native = data.mode in family.native and not settings.one_vs_rest and (data.mode == "single" or classes > 1)
    problem = Problem(row.name, family, data, native, seed)
    folds = inner_folds(row.name, data, settings.folds, seed, needed=True) if family.calibrated else None
    with quiet(), _refused(row.name):
        poolings = tuple(POOLINGS) if settings.pooling == "auto" else (settings.pooling,)
        candidates = space.candidates(settings.search, settings.trials or space.trials, np.random.default_rng(seed))
        nothing = settings.search == "none" and len(poolings) == 1
        chosen = choose(problem, poolings, candidates, 0 if nothing else settings.folds, progress)
        x = pool(data.vectors, data.mask, chosen.pooling)
        transforms = make_transforms(family, chosen.parameters, x.shape, seed)
        with threads_that_pay(problem, x):
            for step in transforms:
                x = step.fit_transform(x)
            machines = fit_machines(problem, chosen.parameters, x, folds)
    kept = Machines(settings.family, data.mode, chosen.pooling, native, transforms, machines, chosen.sharpness)
    record = {"pooling": chosen.pooling, **chosen.parameters, "inner_score": chosen.score}
    return FittedMachines(kept, {**asdict(settings), "chosen": record})


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
    if (rows := len(data.targets)) < family.fewest_rows:
        raise UsageError(
            f"--head {name}: learns nothing of the sounds from fewer than {family.fewest_rows} rows, got {rows} in a "
            "training part; add sounds, or use --head attention"
        )
    for some, word in ((data.targets.any(axis=0), "with"), ((data.targets == 0).any(axis=0), "without")):
        if not some.all():
            missing = data.class_names[int(np.argmin(some))]
            raise UsageError(f"--head {name}: a training part has no row {word} {missing!r}; add some, or leave it out")
