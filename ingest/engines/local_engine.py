"""Starts processes: work runs on this machine, in the caller's own thread or in processes beside it."""

import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from typing import Any

from ingest.engines.engine import Function, Loaded, Result, Task, Tell, Workers, finish
from ingest.errors import EarshotError, EngineError


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Here:
    """One worker: the caller's own thread."""

    @contextmanager
    def workers(self, load: Callable[..., Loaded], *args: Any) -> Iterator[Workers[Loaded]]:
        yield _OneWorker(load(*args))


class _OneWorker:
    def __init__(self, loaded: Any) -> None:
        self._loaded = loaded

    def run(
        self, function: Function[Any, Task, Result], tasks: Sequence[Task], tell: Tell = lambda i, said: None
    ) -> Iterator[tuple[int, Result]]:
        for index, task in enumerate(tasks):
            yield index, finish(function(self._loaded, task), partial(tell, index))


class Processes:
    """Processes of this machine, started afresh: none of our locks and threads come along. All they say is results."""

    def __init__(self, count: int) -> None:
        self._count = count

    @contextmanager
    def workers(self, load: Callable[..., Loaded], *args: Any) -> Iterator[Workers[Loaded]]:
        from multiprocessing import active_children, get_context

        others = set(active_children())
        pool = ProcessPoolExecutor(self._count, get_context("spawn"), _load_in_process, (load, args))
        try:
            yield _ProcessWorkers(pool)
        except BaseException:  # nobody waits for what is under way, which may take minutes more
            for child in set(active_children()) - others:
                child.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


class _ProcessWorkers:
    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    def run(
        self, function: Function[Any, Task, Result], tasks: Sequence[Task], tell: Tell = lambda i, said: None
    ) -> Iterator[tuple[int, Result]]:
        futures: dict[Future[Result], int] = {}
        try:
            for index, task in enumerate(tasks):
                futures[self._pool.submit(_run_in_process, function, task)] = index
            for future in as_completed(futures):
                yield futures[future], future.result()
        except BrokenProcessPool as error:
            raise EngineError("a worker process died, perhaps for want of memory; try fewer --workers") from error
        finally:
            for future in futures:
                future.cancel()


_loaded: Any = None
"""What this process has loaded, or why it could not: set once, in a worker process, which has no other way to keep it
between tasks."""


def _load_in_process(load: Callable[..., Any], args: tuple[Any, ...]) -> None:
    global _loaded  # noqa: PLW0603
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C goes to all processes; ours ends the work, and says so once
    try:
        _loaded = load(*args)
    except EarshotError as error:
        _loaded = error


def _run_in_process(function: Function[Any, Task, Result], task: Task) -> Result:
    if isinstance(_loaded, EarshotError):
        raise _loaded
    return finish(function(_loaded, task))
