"""Starts processes: where work runs. One protocol, two engines: this machine, and a Ray cluster (`ray_engine`).

A worker loads what it needs once (an encoder, a model) and is then given task after task. The function that does a
task is the same in both engines: a generator that yields what there is to say on the way and returns the result.
"""

import signal
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, TypeVar

from ingest.errors import EarshotError, EngineError, UsageError

Loaded = TypeVar("Loaded")
Loaded_co = TypeVar("Loaded_co", covariant=True)
Task = TypeVar("Task")
Result = TypeVar("Result")

Function = Callable[[Loaded, Task], Generator[Any, None, Result]]
"""Does one task with what the worker has loaded; yields how far it is (the last word counts, others may be left out),
returns the result. Must be a module's own function, and harmless when done twice: a lost worker's task begins again."""

Tell = Callable[[int, Any], None]
"""Called in the caller's thread with the number of a task and what its worker says of it."""

ENGINES = ("local", "ray")


@dataclass(frozen=True, slots=True)
class EngineSettings:
    """Where work runs.

    workers: how many; None for as many as there is room for.
    ray_address: `host:port` of the cluster's head. None: RAY_ADDRESS, else the Ray that runs on this machine, else one
        that lives as long as the run.
    gpus_per_worker: a share of one GPU, or several.
    stall_s: how long no worker at all may be heard of before the run ends with an error.
    """

    name: str = "local"
    workers: int | None = None
    ray_address: str | None = None
    gpus_per_worker: float = 0.0
    stall_s: float = 600.0

    def __post_init__(self) -> None:
        if self.name not in ENGINES:
            raise UsageError(f"--engine: must be one of {', '.join(ENGINES)}, got {self.name!r}")
        if self.name == "local" and (self.ray_address or self.gpus_per_worker):
            option = "--ray-address" if self.ray_address else "--gpus-per-worker"
            raise UsageError(f"{option}: is for --engine ray; add that, or leave {option} out")


class Workers(Protocol[Loaded_co]):
    """Workers that have loaded the same thing. One `run` at a time; an error, or a `run` left early, ends them."""

    def run(
        self, function: Function[Loaded_co, Task, Result], tasks: Sequence[Task], tell: Tell = ...
    ) -> Iterator[tuple[int, Result]]:
        """Do every task; yield its number and result as they finish.

        Raises:
            EarshotError: the first that a task raised; the others are given up.
            EngineError: the workers died, or nothing was heard of them for too long.
        """
        ...


class Engine(Protocol):
    """Where workers are."""

    def workers(self, load: Callable[..., Loaded], *args: Any) -> AbstractContextManager[Workers[Loaded]]:
        """Workers each of which has called `load(*args)`, a module's own function, once."""
        ...


def open_engine(settings: EngineSettings, *, processes: int = 1) -> Engine:
    """The engine that the settings name.

    Args:
        processes: of the local engine; 1 is this very process.
    Raises:
        UsageError: Ray is asked for and not installed.
    """
    if settings.name == "local":
        return Processes(processes) if processes > 1 else Here()
    from ingest.ray_engine import RayEngine

    return RayEngine(settings)


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


def finish(steps: Generator[Any, None, Result], tell: Callable[[Any], None] = lambda _: None) -> Result:
    """Run a function's generator to its end: what it returns."""
    while True:
        try:
            said = next(steps)
        except StopIteration as end:
            return end.value
        tell(said)
