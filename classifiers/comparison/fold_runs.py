"""Touches the disk: every head on every split of every seed, each a task of its own, here or on an engine's workers.

What is finished is kept (`fold_results`) and not done again.
"""

import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.background import fit_with_background
from classifiers.comparison.fold_results import FoldResult, read_result, result_name, write_result
from classifiers.heads import TrainingData
from classifiers.protocol import Split
from classifiers.scoring import score_rows
from classifiers.train import HeadProgress, Progress, part_of
from ingest.engines.engine import Engine
from ingest.errors import UsageError, WeightsError


@dataclass(frozen=True, slots=True)
class Problem:
    """One seed's rows and splits. digest: of all that results on them have in common, see `problem_digest`."""

    seed: int
    data: TrainingData
    splits: Sequence[Split]
    digest: str


@dataclass(frozen=True, slots=True)
class FoldTask:
    """A head to be fitted and asked once. problem, split: places in their lists. changes: see `head_changes`."""

    problem: int
    head: str
    split: int
    changes: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a head does not take the data."""

    reason: str


@dataclass(frozen=True, slots=True)
class FoldRuns:
    """What came out. results: those of a problem's splits, by (problem, head). refused: head -> why."""

    results: Mapping[tuple[int, str], list[FoldResult]]
    refused: Mapping[str, str]


def run_folds(
    problems: Sequence[Problem],
    heads: Sequence[str],
    head_changes: Mapping[str, Mapping[str, Any]],
    folder: Path,
    *,
    progress: Progress,
    engine: Engine | None = None,
) -> FoldRuns:
    """Every head on every split, each from its file in `folder` or anew.

    Args:
        engine: whose workers do it, in whatever order; None for one after the other in this process, which also tells
            how far each one is.
    """
    tasks = [
        FoldTask(i, head, k, dict(head_changes.get(head, {})))
        for i, problem in enumerate(problems)
        for head in heads
        for k in range(len(problem.splits))
    ]
    found = {i: kept for i, task in enumerate(tasks) if (kept := _read(problems, task, folder)) is not None}
    left = [i for i in range(len(tasks)) if i not in found]
    todo = [tasks[i] for i in left]
    outcomes = _one_by_one(problems, todo, progress) if engine is None else _on(engine, problems, todo, progress)
    refused: dict[str, str] = {}
    with closing(outcomes):
        for index, outcome in outcomes:
            task = todo[index]
            if isinstance(outcome, Refused):
                refused.setdefault(task.head, outcome.reason)
            else:
                write_result(folder / _name(problems, task), outcome)
                found[left[index]] = outcome
    progress("done", 1.0)
    results: dict[tuple[int, str], list[FoldResult]] = {}
    for i, task in enumerate(tasks):
        if task.head not in refused:
            results.setdefault((task.problem, task.head), []).append(found[i])
    return FoldRuns(results, refused)


Outcomes = Generator[tuple[int, FoldResult | Refused], None, None]


def _one_by_one(problems: Sequence[Problem], tasks: Sequence[FoldTask], progress: Progress) -> Outcomes:
    refused = set[str]()
    for i, task in enumerate(tasks):
        if task.head in refused:
            continue
        problem = problems[task.problem]
        what = f"{task.head}, {problem.splits[task.split].name}"
        progress(what, i / len(tasks))
        outcome = _run(problem, task, part_of(progress, f"{what}, learning", i, len(tasks)))
        if isinstance(outcome, Refused):
            refused.add(task.head)
        yield i, outcome


def _on(engine: Engine, problems: Sequence[Problem], tasks: Sequence[FoldTask], progress: Progress) -> Outcomes:
    if not tasks:
        return
    progress("starting", 0.0)
    with engine.workers(_hold, [_plain(problem) for problem in problems]) as workers:
        for done, (index, outcome) in enumerate(workers.run(do_fold, tasks), 1):
            task = tasks[index]
            progress(f"{task.head}, {problems[task.problem].splits[task.split].name}", done / len(tasks))
            yield index, outcome


def do_fold(problems: Sequence[Problem], task: FoldTask) -> Generator[None, None, FoldResult | Refused]:
    """What a worker does."""
    yield from ()
    return _run(problems[task.problem], task, lambda done, total: None)


def _hold(problems: Sequence[Problem]) -> Sequence[Problem]:
    """What a worker loads: the rows, sent once."""
    return problems


def _plain(problem: Problem) -> Problem:
    """With vectors that lie in a file as an array like any other: Ray lets the workers of a machine share those."""
    vectors: Any = np.asarray(problem.data.vectors)
    return replace(problem, data=replace(problem.data, vectors=vectors))


def _run(problem: Problem, task: FoldTask, progress: HeadProgress) -> FoldResult | Refused:
    data, split = problem.data, problem.splits[task.split]
    try:
        begin = time.perf_counter()
        fitted = fit_with_background(task.head, data.select(split.train), problem.seed, progress, task.changes)
        fit_s = time.perf_counter() - begin
        begin = time.perf_counter()
        said, _ = score_rows(fitted.predict, data.vectors, data.mask, split.test)
        predict_s = time.perf_counter() - begin
    except (UsageError, WeightsError) as error:
        return Refused(str(error))
    return FoldResult(said, fit_s, predict_s, fitted.settings.get("chosen"))


def _read(problems: Sequence[Problem], task: FoldTask, folder: Path) -> FoldResult | None:
    problem = problems[task.problem]
    n = len(problem.splits[task.split].test)
    return read_result(folder / _name(problems, task), n, problem.data.targets.shape[1])


def _name(problems: Sequence[Problem], task: FoldTask) -> str:
    problem = problems[task.problem]
    split = problem.splits[task.split]
    return result_name(task.head, dict(task.changes), problem.seed, split, problem=problem.digest)
