"""Where work runs. One protocol, two engines: this machine (`local_engine`), and a Ray cluster (`ray_engine`).

A worker loads what it needs once (an encoder, a model) and is then given task after task. The function that does a
task is the same in both engines: a generator that yields what there is to say on the way and returns the result.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from ingest.errors import UsageError

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


def finish(steps: Generator[Any, None, Result], tell: Callable[[Any], None] = lambda _: None) -> Result:
    """Run a function's generator to its end: what it returns."""
    while True:
        try:
            said = next(steps)
        except StopIteration as end:
            return end.value
        tell(said)
