"""Touches network and disk: the shard function of ingest with an address to ask from. What a local run and one on a
cluster differ in is which `Fetcher` they have."""

import threading
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Protocol

from ingest.audioset.segments import Segment
from ingest.youtube.address import Address
from ingest.youtube.fetch import FetchResult, FetchSettings, fetch_segment
from ingest.youtube.sources import Sources, asked_from


class Fetcher(Protocol):
    """Fetches segments for a run."""

    def addresses(self) -> tuple[Address, ...]:
        """Those that may be asked from now; machines of a cluster come and go. Called often, by one thread."""
        ...

    def __call__(self, segment: Segment, address: Address) -> FetchResult:
        """One segment, asked for from `address`. Blocks; called from many threads. What goes wrong is in the result,
        where there is neither a file nor an outcome when the run is ending, and the segment is to be put back."""
        ...


def versions() -> str:
    """Of what makes the files."""
    return ", ".join(f"{name} {version(name)}" for name in ("earshot", "yt-dlp", "av", "soundfile", "soxr"))


class LocalFetcher:
    """In the caller's own thread.

    Args:
        folder: of the run. addresses: as they stay. stop: ends what is under way soon.
    """

    def __init__(
        self,
        folder: Path,
        sources: Sources,
        settings: FetchSettings,
        addresses: Sequence[Address],
        stop: threading.Event,
    ) -> None:
        self._folder, self._settings, self._stop = folder, settings, stop
        self._sources = {address: asked_from(address, sources) for address in addresses}

    def addresses(self) -> tuple[Address, ...]:
        return tuple(self._sources)

    def __call__(self, segment: Segment, address: Address) -> FetchResult:
        return fetch_segment(segment, self._folder, self._sources[address], self._settings, self._stop)
