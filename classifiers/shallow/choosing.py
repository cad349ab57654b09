"""How a shallow head comes by its pooling and parameters: what does best out of fold, inside the training rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from classifiers.calibration import fit_sigmoid, fit_temperature, log_scores, logit
from classifiers.heads import Progress, TrainingData
from classifiers.shallow.families import make_transforms
from classifiers.shallow.fitting import Folds, Problem, fit_machines, inner_folds, splits_of, threads_that_pay
from classifiers.shallow.light import AS_IT_IS, Sharpness, finished
from classifiers.shallow.machines import probabilities
from classifiers.shallow.pooling import Floats, pool
from classifiers.shallow.search import Parameters, inner_score

SEARCH_ROWS, SEARCH_CLASSES = 6_000, 40
"""Rows, and classes with a machine for each, that a search looks at: more would tell little and take hours."""


@dataclass(frozen=True, slots=True)
class Chosen:
    """What a head is made with. score: out of fold, None where nothing was tried."""

    pooling: str
    parameters: Parameters
    score: float | None = None
    sharpness: Sharpness = AS_IT_IS


def choose(
    problem: Problem, poolings: Sequence[str], candidates: Sequence[Parameters], n_folds: int, progress: Progress
) -> Chosen:
    """What does best out of fold: first of the poolings, with the first candidate, then of the candidates.

    Args:
        n_folds: 0 takes the first of both untried, as do recordings too few to try anything on.
    """
    problem, first = _for_search(problem), candidates[0]
    data = problem.data
    folds = inner_folds(problem.name, data, n_folds, problem.seed, needed=False) if n_folds else None
    if folds is None:
        return Chosen(poolings[0], first)
    steps, tried = len(poolings) + len(candidates), list[_Tried]()
    for i, how in enumerate(poolings):
        tried.append(_try(problem, first, pool(data.vectors, data.mask, how), folds))
        progress(i + 1, steps)
    nth = int(np.argmax([one.score for one in tried]))
    pooling, best, parameters = poolings[nth], tried[nth], first
    x = pool(data.vectors, data.mask, pooling)
    for i, candidate in enumerate(candidates[1:]):
        one = _try(problem, candidate, x, folds)
        if one.score > best.score:
            best, parameters = one, candidate
        progress(len(poolings) + i + 1, steps)
    sharpness = AS_IT_IS if problem.family.calibrated else _sharpness_of(data, best)
    return Chosen(pooling, parameters, best.score, sharpness)


def _for_search(problem: Problem) -> Problem:
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


def _sharpness_of(data: TrainingData, tried: _Tried) -> Sharpness:
    """What makes the scores that were tried as sure as they are right."""
    if data.mode == "multi":
        return Sharpness(*fit_sigmoid(data.targets[tried.known] > 0, logit(tried.scores[tried.known])))
    rows = (tried.known & (data.targets > 0)).any(axis=1)
    if not rows.any():
        return AS_IT_IS
    logs = log_scores(finished(tried.scores[rows], "single"))
    return Sharpness(1 / fit_temperature(data.targets[rows], logs))


def _try(problem: Problem, parameters: Parameters, features: Floats, folds: Folds) -> _Tried:
    """These parameters, out of fold."""
    scores = np.zeros(problem.data.targets.shape)
    known = np.zeros(scores.shape, bool)
    for train, test in splits_of(folds):
        learnt = np.flatnonzero(_both(problem.data.targets[train]))
        if not len(learnt):
            continue
        transforms = make_transforms(problem.family, parameters, (len(train), features.shape[1]), problem.seed)
        x, unseen = features[train], features[test]
        part = _part(problem, train, learnt)
        with threads_that_pay(part, x):
            for step in transforms:
                x, unseen = step.fit_transform(x), step.transform(unseen)
            machines = fit_machines(part, parameters, x)
            scores[np.ix_(test, learnt)] = probabilities(machines, part.native, unseen)
        known[np.ix_(test, learnt)] = True
    return _Tried(inner_score(problem.data, scores), scores, known)


def _both(targets: npt.NDArray[np.float32]) -> npt.NDArray[np.bool_]:
    """Which classes have rows with and rows without."""
    return targets.any(axis=0) & (targets == 0).any(axis=0)


def _part(problem: Problem, rows: Folds, classes: Folds) -> Problem:
    """The problem of a fold: its rows, and those of the classes that can be learnt from them."""
    names = tuple(problem.data.class_names[c] for c in classes)
    data = replace(problem.data, targets=problem.data.targets[np.ix_(rows, classes)], class_names=names)
    return replace(problem, data=data, native=problem.native and (data.mode == "single" or len(names) > 1))
