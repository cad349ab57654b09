"""Touches the network: the workers of a Ray cluster.

A worker is a Ray actor: Ray places it, starts it again elsewhere when its node is lost, and carries what it says. What
is left to us is to hand out tasks one by one, and to hand out again those of a lost worker.
"""

import logging
import os
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from ingest.counted import counted
from ingest.engines.engine import EngineSettings, Function, Result, Task, Tell
from ingest.errors import EarshotError, EngineError

log = logging.getLogger("earshot.engine")

MOST_LOSSES = 3
"""A task that has lost so many workers is taken for the reason; so is loading, where it has never been done."""
_AGAIN_S = 3.0
"""Until a lost worker is asked whether it is back. Ray learns of a lost node only after a while."""
TELL_EVERY_S = 1.0
"""A worker says how far it is no oftener: a thousand of them must not drown who listens."""
_TICK_S = 1.0


class _Worker:
    """In the cluster: one process that loads once, then does task after task."""

    def load(self, folder: str, load: Callable[..., Any], *args: Any) -> list[tuple[str, int, str]]:
        """What was warned of on the way: logger, level, message. Relative paths begin at `folder`, where it exists."""
        _hide_gpus_of_others()
        with suppress(OSError):
            os.chdir(folder)
        warnings = _Warnings()
        logging.getLogger("earshot").addHandler(warnings)
        try:
            self._loaded = load(*args)
        finally:
            logging.getLogger("earshot").removeHandler(warnings)
        return warnings.kept

    def run(self, function: Function[Any, Any, Any], task: Any) -> Generator[tuple[bool, Any], None, None]:
        """Yields (False, what is said), now and then, and at last (True, the result)."""
        steps = function(self._loaded, task)
        told_at = -TELL_EVERY_S
        while True:
            try:
                said = next(steps)
            except StopIteration as end:
                yield True, end.value
                return
            if (now := time.monotonic()) - told_at >= TELL_EVERY_S:
                told_at = now
                yield False, said


def _hide_gpus_of_others() -> None:
    """A worker that was given no GPU sees none. Ray hides them only from those that were given one, and each worker
    that takes its part all the same has half a gigabyte of it."""
    import ray

    if not ray.get_runtime_context().get_accelerator_ids().get("GPU"):
        os.environ["CUDA_VISIBLE_DEVICES"] = "-1"


class _Warnings(logging.Handler):
    """Keeps what the caller should know."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.kept: list[tuple[str, int, str]] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.kept.append((record.name, record.levelno, record.getMessage()))


class RayWorkers:
    """Actors. New and lost ones are asked to load (`_coming`: promise -> actor), which one that is not back yet fails
    to do: it is asked again (`_later`). Those that have loaded are idle, or busy in `run`."""

    def __init__(self, ray: Any, settings: EngineSettings, load: Callable[..., Any], args: Sequence[Any]) -> None:
        self._ray, self._settings, self._load, self._args = ray, settings, load, args
        self._actor = ray.remote(num_cpus=1, num_gpus=settings.gpus_per_worker, max_restarts=-1)(_Worker)
        self._most = settings.workers or _room(ray, settings.gpus_per_worker)
        self._actors: list[Any] = []
        self._coming: dict[Any, Any] = {}
        self._later: deque[tuple[float, Any]] = deque()
        self._idle: deque[Any] = deque()
        self._failed_loads, self._has_loaded = 0, False
        self._warned: set[tuple[str, int, str]] = set()
        self._heard_at = time.monotonic()

    def run(
        self, function: Function[Any, Task, Result], tasks: Sequence[Task], tell: Tell = lambda i, said: None
    ) -> Iterator[tuple[int, Result]]:
        left, losses = deque(range(len(tasks))), Counter[int]()
        busy: dict[Any, tuple[Any, int]] = {}
        self._heard_at = time.monotonic()
        self._start(min(self._most, len(tasks)))
        while left or busy:
            while left and self._idle:
                actor, index = self._idle.popleft(), left.popleft()
                stream = actor.run.options(num_returns="streaming").remote(function, tasks[index])
                busy[stream] = actor, index
            heard = self._wait([*self._coming, *busy])
            if heard is None:
                continue
            if heard in self._coming:
                self._arrived(heard)
                continue
            actor, index = busy[heard]
            try:
                is_result, said = self._take(next(heard))
            except _LostWorkerError as error:
                del busy[heard]
                losses[index] += 1
                if losses[index] == MOST_LOSSES:
                    raise EngineError(
                        f"the same task lost {MOST_LOSSES} workers ({error}); perhaps it wants more memory than it has"
                    ) from error
                log.warning("lost a worker (%s); its task is done again", error)
                left.appendleft(index)
                self._ask_later(actor)
                continue
            if is_result:
                del busy[heard]
                self._idle.append(actor)
                yield index, said
            else:
                tell(index, said)

    def close(self) -> None:
        """End the actors, whatever they are at."""
        for actor in self._actors:
            with suppress(Exception):  # a cluster that has gone has no actors
                self._ray.kill(actor)

    def _start(self, count: int) -> None:
        while len(self._actors) < count:
            self._actors.append(self._actor.remote())
            self._ask_to_load(self._actors[-1])

    def _ask_to_load(self, actor: Any) -> None:
        self._coming[actor.load.remote(str(Path.cwd()), self._load, *self._args)] = actor

    def _ask_later(self, actor: Any) -> None:
        self._later.append((time.monotonic() + _AGAIN_S, actor))

    def _arrived(self, loaded: Any) -> None:
        actor = self._coming.pop(loaded)
        try:
            warnings = self._take(loaded)
        except _LostWorkerError as error:
            self._failed_loads += 1
            if not self._has_loaded and self._failed_loads >= MOST_LOSSES * len(self._actors):
                raise EngineError(
                    f"workers die while they start ({error}); look at `ray status`, Ray's logs, and their memory"
                ) from error
            self._require_life()
            self._ask_later(actor)
            return
        self._has_loaded = True
        for warning in warnings:
            if warning not in self._warned:
                self._warned.add(warning)
                logger, level, message = warning
                logging.getLogger(logger).log(level, "%s", message)
        self._idle.append(actor)

    def _wait(self, promises: list[Any]) -> Any:
        """The next of them that has something to say; None after a while.

        Raises:
            EngineError: nothing has come for `stall_s`.
        """
        while self._later and self._later[0][0] <= time.monotonic():
            self._ask_to_load(self._later.popleft()[1])
        if not promises:
            time.sleep(_TICK_S)
        elif ready := self._ray.wait(promises, num_returns=1, timeout=_TICK_S)[0]:
            return ready[0]
        self._require_life()
        return None

    def _require_life(self) -> None:
        stall_s = self._settings.stall_s
        if time.monotonic() - self._heard_at > stall_s:
            raise EngineError(
                f"nothing was heard of {counted(len(self._actors), 'worker')} for {stall_s:.0f} s, "
                f"{len(self._coming) + len(self._later)} of them not started; {_state(self._ray)}; mend it or set "
                "--stall-limit, and run the same command again"
            )

    def _take(self, promise: Any) -> Any:
        from ray import exceptions

        try:
            said = self._ray.get(promise)
            self._heard_at = time.monotonic()
            return said
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, EarshotError):
                raise cause from error
            raise EngineError(f"a worker failed: {type(cause).__name__}: {first_line(cause)}; report it") from error
        except (
            exceptions.RayActorError,
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.OutOfMemoryError,
        ) as error:
            raise _LostWorkerError(type(error).__name__) from error
        except exceptions.RayError as error:
            raise EngineError(
                f"the cluster failed: {first_line(error)}; look at `ray status`, and run the same command again"
            ) from error


class _LostWorkerError(Exception):
    """A worker has gone, or cannot be reached; Ray starts it again where there is room."""


def _room(ray: Any, gpus_per_worker: float) -> int:
    has = ray.cluster_resources()
    cpus, gpus = int(has.get("CPU", 0)), has.get("GPU", 0.0)
    return max(1, min(cpus, int(gpus / gpus_per_worker)) if gpus_per_worker else cpus)


def _state(ray: Any) -> str:
    """What the cluster has, in words."""
    has, free = ray.cluster_resources(), ray.available_resources()
    nodes = sum(node["Alive"] for node in ray.nodes())
    parts = [f"{free.get(kind, 0):g} of {has.get(kind, 0):g} {kind}s free" for kind in ("CPU", "GPU") if kind in has]
    return f"the cluster has {counted(nodes, 'node')}, {', '.join(parts) or 'no CPUs'}"


def first_line(error: BaseException) -> str:
    """What foreign errors have to say, in one line."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
