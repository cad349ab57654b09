"""A Ray for tests: skipped, saying so, where it is not installed or its own processes do not come up."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any, TypeVar

import pytest

Started = TypeVar("Started")


def require_ray() -> Any:
    """The package, imported as the commands import it: that is what keeps it quiet."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed (pip install earshot[ray])")
    from ingest.engines.ray_engine import import_ray

    return import_ray()


def started(start: Callable[[], Started], failure: type[Exception]) -> Started:
    """What `start` starts. An error of the kind `failure` says that Ray did not; any other fails the test.

    Ray waits for its own processes for a time that a starved machine may exceed, which says nothing of ours: after a
    second try the test is skipped.
    """
    try:
        return start()
    except failure:
        try:
            return start()
        except failure as error:
            pytest.skip(f"Ray does not come up on this machine: {str(error).splitlines()[0]}")


@contextmanager
def ray_of_its_own() -> Iterator[Any]:
    """A Ray of one node. It takes ten seconds to start: have one for a module."""
    require_ray()
    from ingest.engines.ray_engine import connected
    from ingest.errors import EngineError

    connection = started(lambda: _entered(connected("local")), EngineError)
    try:
        yield connection[1]
    finally:
        connection[0].__exit__(None, None, None)


@contextmanager
def ray_cluster(head_cpus: int) -> Iterator[Any]:
    """A cluster of one node, connected; `add_node(num_cpus=...)` gives it others."""
    require_ray()
    from ray.cluster_utils import Cluster

    from ingest.engines.ray_engine import connected

    head = {"num_cpus": head_cpus, "include_dashboard": False}
    # Ray's own bare exceptions: nothing of ours is called here.
    cluster = started(lambda: Cluster(initialize_head=True, head_node_args=head), Exception)
    try:
        with connected(cluster.address):
            yield cluster
    finally:
        cluster.shutdown()


def _entered(context: Any) -> tuple[Any, Any]:
    return context, context.__enter__()
