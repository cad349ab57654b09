"""Touches network and disk: segments are fetched on the machines of a Ray cluster, and their files written on this one.

A task fetches one segment into a folder of its own, there, and sends back the file's bytes: 180 kB of FLAC, less than
half of what it read for it. Here the checksum is compared and the file gets its name. So files appear whole or not at
all, no disk is shared, and one process alone writes the folder and its ledger.

Ray places the tasks and notices lost machines. It repeats nothing: a request that Ray repeated would go round the pace.
A lost task is an outcome like others (`node-lost`), and its segment goes back into the ledger.
"""

import hashlib
import logging
import tempfile
import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ingest.audioset.segments import Segment
from ingest.errors import EarshotError, EngineError, FetchError, UsageError
from ingest.ledger.outcomes import NODE_LOST, classify
from ingest.places.files import write_whole
from ingest.youtube.address import HERE, Address
from ingest.youtube.fetch import FetchResult, FetchSettings, fetch_segment
from ingest.youtube.fetcher import versions
from ingest.youtube.mirror import Mirror
from ingest.youtube.naming import audio_path
from ingest.youtube.ray_mirror import MirrorActor
from ingest.youtube.sources import Sources, asked_from

CLUSTER = Address("the cluster")
"""All its machines, behind one address."""
_CPUS = 0.5
"""Of a core, for a task: nine tenths of the time it waits for the network."""
_COPY_S = 3600.0
"""More for a task, where there is a mirror: its turn comes when others have been served."""
_LOOK_EVERY_S = 1.0
_NODES_EVERY_S = 2.0
_KEPT_SOURCES = 32
log = logging.getLogger("earshot.ingest")


class RayFetcher:
    """A thread of ours waits for each task.

    Args:
        ray: the package, connected.
        folder: of the run, on this machine. addresses: as they stay; none: each machine of the cluster that has CPUs is
            one, under its IP address, as they come and go.
        stop: ends what is under way soon.
        limit_s: for one task, its wait for a free place included. None: what its own limits add up to.
    """

    def __init__(
        self,
        ray: Any,
        folder: Path,
        sources: Sources,
        settings: FetchSettings,
        *,
        addresses: Sequence[Address],
        stop: threading.Event,
        limit_s: float | None = None,
    ) -> None:
        self._ray, self._folder, self._settings, self._stop = ray, folder, settings, stop
        self._fixed = tuple(CLUSTER if address == HERE else address for address in addresses)
        self._asked = tuple(sources)
        self._mirrors = {name: MirrorActor(ray, one) for name, one in sources.items() if isinstance(one, Mirror)}
        own_limit_s = 3 * settings.deadline_s + 120 + _COPY_S * len(self._mirrors)
        self._limit_s = own_limit_s if limit_s is None else limit_s
        self._task = ray.remote(num_cpus=_CPUS, max_retries=0)(fetch_there)
        self._sources, self._versions = ray.put({**sources, **self._mirrors}), versions()
        if ray.cluster_resources().get("CPU", 0) < _CPUS:
            log.warning("no machine of the cluster has a CPU to fetch with yet; waiting for one")
        self._nodes: dict[Address, str] = {}
        self._looked_at = -_NODES_EVERY_S

    def addresses(self) -> tuple[Address, ...]:
        if self._fixed:
            return self._fixed
        now = time.monotonic()
        if now - self._looked_at >= _NODES_EVERY_S:
            self._looked_at = now
            self._nodes = {
                Address(node["NodeManagerAddress"], host=node["NodeManagerAddress"]): node["NodeID"]
                for node in self._ray.nodes()
                if node["Alive"] and node["Resources"].get("CPU", 0) >= _CPUS
            }
        return tuple(self._nodes)

    def __call__(self, segment: Segment, address: Address) -> FetchResult:
        """Raises: EarshotError when a machine of the cluster is not fit for the work."""
        began, exceptions = time.monotonic(), self._ray.exceptions
        try:
            promise = self._start(segment, address)
            while not self._ray.wait([promise], timeout=_LOOK_EVERY_S)[0]:
                if self._stop.is_set():
                    self._ray.cancel(promise)
                    return FetchResult(segment, None, None, self._asked, 0, time.monotonic() - began)
                if time.monotonic() - began > self._limit_s:
                    self._ray.cancel(promise, force=True)
                    cpus = self._ray.cluster_resources().get("CPU", 0)
                    text = f"nothing came back within {self._limit_s:.0f} s; the cluster has {cpus:g} CPUs"
                    return self._lost(segment, text, began)
            result, data = self._ray.get(promise)
        except exceptions.RayTaskError as error:
            if isinstance(error.cause, EarshotError):
                raise error.cause from error
            raise EngineError(
                f"a task failed: {type(error.cause).__name__}: {_first_line(error.cause)}; look whether the same "
                "Earshot is on all machines; if so, report it"
            ) from error
        except (exceptions.RayError, KeyError) as error:  # a KeyError: the machine has gone just now
            return self._lost(segment, f"{type(error).__name__}: {_first_line(error)}", began)
        return self._land(result, data)

    def close(self) -> None:
        """End what was started for the run."""
        for mirror in self._mirrors.values():
            mirror.close(self._ray)

    def _lost(self, segment: Segment, text: str, began: float) -> FetchResult:
        outcome = classify(FetchError(NODE_LOST, text))
        return FetchResult(segment, None, outcome, self._asked, 0, time.monotonic() - began)

    def _start(self, segment: Segment, address: Address) -> Any:
        task = self._task
        if address.host is not None:
            # Not soft: from another machine it would be another address. When the machine is gone, so is the task.
            strategy = self._ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy
            task = task.options(scheduling_strategy=strategy(self._nodes[address], soft=False))
        return task.remote(segment, address, [self._sources], self._settings, self._versions)

    def _land(self, result: FetchResult, data: bytes) -> FetchResult:
        """Give the file its name, here."""
        if result.file is None:
            return result
        relative = audio_path(result.segment.key, self._settings.format)
        try:
            if hashlib.sha256(data).hexdigest() != result.file.sha256:
                raise FetchError("truncated", "another file came back than was sent")
            write_whole(self._folder / relative, data)
        except (FetchError, OSError) as error:
            return replace(result, file=None, outcome=classify(error))
        return replace(result, file=replace(result.file, path=str(relative)))


def fetch_there(
    segment: Segment, address: Address, sources: Sequence[Any], settings: FetchSettings, wanted_versions: str
) -> tuple[FetchResult, bytes]:
    """In the cluster: what came of it, and the file's bytes, none without a file.

    Args:
        sources: one reference to them: they are read once in a process, not for every segment.
    Raises:
        UsageError: this machine has other versions of what makes the files.
    """
    there = _sources_there(sources[0], address, wanted_versions)
    with tempfile.TemporaryDirectory(prefix="earshot-") as name:
        result = fetch_segment(segment, Path(name), there, settings)
        return result, (Path(name) / result.file.path).read_bytes() if result.file else b""


_kept: "OrderedDict[tuple[str, Address], Sources]" = OrderedDict()
"""Of this process, in the cluster: yt-dlp takes its time to start. The latest used last."""


def _sources_there(reference: Any, address: Address, wanted_versions: str) -> Sources:
    key = reference.hex(), address
    if key not in _kept:
        import platform

        import ray

        if versions() != wanted_versions:
            raise UsageError(
                f"--engine ray: machine {platform.node()} has {versions()}, this one {wanted_versions}; install "
                "the same on all, e.g. by one image"
            )
        _kept[key] = asked_from(address, ray.get(reference))
    _kept.move_to_end(key)
    if len(_kept) > _KEPT_SOURCES:
        _kept.popitem(last=False)
    return _kept[key]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0].rstrip(".")
