"""Touches the network: work runs on a Ray cluster. Ray is imported here, and only when it is used."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

from ingest.engines.engine import EngineSettings, Loaded, Workers
from ingest.engines.ray_workers import RayWorkers, first_line
from ingest.errors import EngineError, UsageError

_ENVIRONMENT = {
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",  # the coming default, of which Ray would warn
    "RAY_IGNORE_UNHANDLED_ERRORS": "1",  # those of tasks that were given up for the first one's error
    "RAY_DEDUP_LOGS_SKIP_REGEX": ".",  # pages on each lost worker; a line of ours says it
    "RAY_USAGE_STATS_ENABLED": "0",  # no word of a user's work to others
}
"""Ray reads these when it is imported; what the user has set stays."""
_CONNECT_S = 10.0


class RayEngine:
    """Ray actors, as many as asked for or as the cluster has room for."""

    def __init__(self, settings: EngineSettings) -> None:
        """Raises UsageError: Ray is not installed, or nothing answers at the address."""
        import_ray()
        _require_address(_address(settings.ray_address))
        self._settings = settings

    def __str__(self) -> str:
        address = _address(self._settings.ray_address)
        return f"Ray at {address}" if address else "Ray on this machine"

    @contextmanager
    def workers(self, load: Callable[..., Loaded], *args: Any) -> Iterator[Workers[Loaded]]:
        with connected(self._settings.ray_address) as ray:
            made = RayWorkers(ray, self._settings, load, [ray.put(arg) for arg in args])
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
    address = _address(address)
    _require_address(address)
    if ray.is_initialized():
        yield ray
        return
    own = {} if address else {"include_dashboard": False}
    try:
        ray.init(address, logging_level="ERROR", log_to_driver=False, **own)
    except Exception as error:  # Ray raises a bare Exception when a node takes too long
        raise EngineError(
            f"--ray-address {address or '(none)'}: Ray does not start there: {first_line(error)}; look at `ray status`"
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
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ImportError as error:
        raise UsageError(
            "--engine ray: Ray is not installed; `pip install earshot[ray]`, here and on all nodes"
        ) from error
    return ray


def _address(named: str | None) -> str | None:
    return named or os.environ.get("RAY_ADDRESS") or None


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
