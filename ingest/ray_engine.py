"""Touches the network: work runs on a Ray cluster. The only module that imports Ray, and only when it is used.

A worker is a Ray actor: Ray places it, starts it again elsewhere when its node is lost, and carries what it says. What
is left to us is to hand out tasks one by one, and to hand out again those of a lost worker.
"""

import logging
import os
import socket
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from typing import Any

from ingest.engine import EngineSettings, Function, Loaded, Result, Task, Tell, Workers
from ingest.errors import EarshotError, EngineError, UsageError

log = logging.getLogger("earshot.engine")

MOST_LOSSES = 3
"""A task that has lost so many workers is taken for the reason."""
_QUIET = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default, of which Ray would warn
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # those of tasks that were given up for the first one's error
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # pages on each lost worker; a line of ours says it
    "RAY_USAGE_STATS_ENABLED": "0",  # no word of a user's work to others
}
"""Ray reads these when it is imported; what the user has set stays."""
TELL_EVERY_S = 1.0
"""A worker says how far it is no oftener: a thousand of them must not drown who listens."""
_CONNECT_S = 10.0
_TICK_S = 1.0


class RayEngine:
    """Ray actors, as many as asked for or as the cluster has room for."""

    def __init__(self, settings: EngineSettings) -> None:
        import_ray()
        self._settings = settings

    @contextmanager
    def workers(self, load: Callable[..., Loaded], *args: Any) -> Iterator[Workers[Loaded]]:
        with connected(self._settings.ray_address) as ray:
            made = _RayWorkers(ray, self._settings, load, [ray.put(arg) for arg in args])
            with closing(made):
                yield made


@contextmanager
def connected(address: str | None) -> Iterator[Any]:
    """Ray, connected to a cluster; left again at the end unless the caller's process had been connected before.

    Raises:
        UsageError: Ray is not installed, or nothing answers at the address.
        EngineError: what answers is not a Ray that fits ours.
    """
    ray = import_ray()
    address = address or os.environ.get("RAY_ADDRESS")
    _require_address(address)
    if ray.is_initialized():
        yield ray
        return
    own = {} if address else {"include_dashboard": False}
    try:
        ray.init(address, logging_level="ERROR", log_to_driver=False, **own)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        raise EngineError(
            f"--ray-address {address or '(none)'}: Ray does not start there: {_first_line(error)}; look at `ray status`"
        ) from error
    try:
        yield ray
    finally:
        ray.shutdown()


def import_ray() -> Any:
    """The package.

    Raises:
        UsageError: it is not installed.
    """
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--engine ray: Ray is not installed; `pip install earshot[ray]`, here and on all nodes"
        ) from error
    return ray


def _require_address(address: str | None) -> None:
    """Ask for the port before Ray does, which would wait for minutes and tell of its insides."""
    if address in (None, "auto", "local"):
        return
    host, colon, port = str(address).rpartition(":")
    if "://" in str(address) or not colon or not port.isdigit():
        raise UsageError(
            f"--ray-address: must be HOST:PORT of the cluster's head, got {address!r}; Ray's client (ray://) cannot "
            "carry progress: run the command on a machine of the cluster, or with `ray job submit`"
        )
    try:
        socket.create_connection((host.strip("[]"), int(port)), _CONNECT_S).close()
    except (OSError, OverflowError) as error:
        reason = str(getattr(error, "strerror", None) or error).lower()
        raise UsageError(
            f"--ray-address {address}: no Ray answers there ({reason}); start one with `ray start --head`, or leave "
            "the option out for a Ray on this machine"
        ) from error


class _Worker:
    """In the cluster: one process that loads once, then does task after task."""

    def load(self, load: Callable[..., Any], *args: Any) -> None:
        self._loaded = load(*args)

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


class _RayWorkers:
    """Actors on their way (`_coming`: promise that it has loaded -> actor) and idle ones; `run` has the busy ones."""

    def __init__(self, ray: Any, settings: EngineSettings, load: Callable[..., Any], args: Sequence[Any]) -> None:
        self._ray, self._settings, self._load, self._args = ray, settings, load, args
        self._actor = ray.remote(num_cpus=1, num_gpus=settings.gpus_per_worker, max_restarts=-1)(_Worker)
        self._most = settings.workers or _room(ray, settings.gpus_per_worker)
        self._actors: list[Any] = []
        self._coming: dict[Any, Any] = {}
        self._idle: deque[Any] = deque()
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
                self._await(actor)
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
            self._await(self._actors[-1])

    def _await(self, actor: Any) -> None:
        """Have an actor load, be it new or on its way back."""
        self._coming[actor.load.options(max_task_retries=MOST_LOSSES).remote(self._load, *self._args)] = actor

    def _arrived(self, loaded: Any) -> None:
        actor = self._coming.pop(loaded)
        try:
            self._take(loaded)
        except _LostWorkerError as error:
            raise EngineError(f"workers die while they start: {error}; look at `ray status` and Ray's logs") from error
        self._idle.append(actor)

    def _wait(self, promises: list[Any]) -> Any:
        """The next of them that has something to say; None after a while.

        Raises:
            EngineError: nothing has come for `stall_s`.
        """
        ready, _ = self._ray.wait(promises, num_returns=1, timeout=_TICK_S)
        now = time.monotonic()
        if ready:
            self._heard_at = now
            return ready[0]
        if now - self._heard_at > self._settings.stall_s:
            raise EngineError(
                f"nothing was heard of {len(self._actors)} workers for {self._settings.stall_s:.0f} s, "
                f"{len(self._coming)} of them not started; {_state(self._ray)}; mend it or set --stall-limit, and "
                "run the same command again"
            )
        return None

    def _take(self, promise: Any) -> Any:
        from ray import exceptions

        try:
            return self._ray.get(promise)
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, EarshotError):
                raise cause from error
            raise EngineError(f"a worker failed: {type(cause).__name__}: {_first_line(cause)}; report it") from error
        except (
            exceptions.RayActorError,
            exceptions.WorkerCrashedError,
            exceptions.NodeDiedError,
            exceptions.ObjectLostError,
            exceptions.OutOfMemoryError,
        ) as error:
            raise _LostWorkerError(type(error).__name__) from error


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
    return f"the cluster has {nodes} nodes, {', '.join(parts) or 'no CPUs'}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
