"""The type of a row of DATASETS: one layout that labelled audio comes in."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ingest.audio.clip import AudioItem


@dataclass(frozen=True, slots=True)
class Dataset:
    """How to read one layout.

    licence, citation: of the data; empty for layouts that anybody may use.
    detect: whether a folder has this layout. Looks at names only, never raises for a folder that exists.
    items: the folder's audio files with their labels, sorted by key. Keys are paths relative to the folder.
    """

    name: str
    summary: str
    detect: Callable[[Path], bool]
    items: Callable[[Path], list[AudioItem]]
    licence: str = ""
    citation: str = ""
