"""Touches the network: a mirror that a whole Ray cluster asks, read by one process on the machine of the command.

A row group of a mirror comes whole or not at all, 140 MB for some hundred clips. Were every machine to read for itself,
each group would come as often as there are machines. So one process reads, in order and each group once, and sends
each clip to the task that wants it, which cuts, resamples and encodes it where it is.
"""

from contextlib import suppress
from typing import Any

from ingest.audioset.segments import Segment
from ingest.errors import FetchError
from ingest.ledger.outcomes import NODE_LOST, classify
from ingest.youtube.mirror import Copies, Mirror

_ASKERS = 64
"""So many requests are known to the mirror at once, and served in its order; what comes beyond waits for a place."""


class MirrorActor(Copies):
    """The mirror, for whoever has this: it may be sent to any process of the cluster.

    Args:
        ray: the package, connected. mirror: its folder and index are of this machine; the actor runs here.
    """

    def __init__(self, ray: Any, mirror: Mirror) -> None:
        here = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(
            ray.get_runtime_context().get_node_id(), soft=False
        )
        reader = ray.remote(num_cpus=0, max_restarts=-1, max_concurrency=_ASKERS)(_Reader)
        self._actor = reader.options(scheduling_strategy=here).remote(mirror)

    def find(self, segment: Segment) -> bytes | None:
        """Raises: FetchError: by the table of outcomes; `node-lost` when the process that reads has gone."""
        import ray
        from ray import exceptions

        try:
            found: bytes | None = ray.get(self._actor.find.remote(segment))
            return found
        except exceptions.RayTaskError as error:
            raise error.cause from error
        except exceptions.RayError as error:
            reason = (str(error).strip().splitlines() or [""])[0].rstrip(".")
            raise FetchError(NODE_LOST, f"who reads the mirror: {type(error).__name__}: {reason}") from error

    def close(self, ray: Any) -> None:
        """End the process, whatever it is at."""
        with suppress(Exception):  # a cluster that has gone has no actors
            ray.kill(self._actor)


class _Reader:
    """In the process that reads."""

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror

    def find(self, segment: Segment) -> bytes | None:
        """What goes wrong is classified here, where its causes are known: they are not sent along."""
        try:
            return self._mirror.find(segment)
        except Exception as error:
            outcome = classify(error)
            raise FetchError(outcome.failure.name, outcome.text, outcome.wait_s) from error
