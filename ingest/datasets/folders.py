"""A folder per class: `<class>/anything/below.wav`. A numeric prefix of the class ('001 - Dog bark') is stripped."""

import re
from pathlib import Path

from ingest.audio.clip import AudioItem
from ingest.datasets.dataset import Dataset
from ingest.manifest import audio_files

_PREFIX = re.compile(r"^\d+\s*-\s*(?=\S)")


def class_name(folder_name: str) -> str:
    """'001 - Dog bark' -> 'Dog bark'."""
    return _PREFIX.sub("", folder_name)


def detect(folder: Path) -> bool:
    """Audio, all of it in subfolders."""
    files = audio_files(folder)
    return bool(files) and all(path.parent != folder for path in files)


def items(folder: Path) -> list[AudioItem]:
    """The first folder on the way to a file is its class; each file is its own source."""
    found = []
    for path in audio_files(folder):
        relative = path.relative_to(folder)
        mids = (class_name(relative.parts[0]),) if len(relative.parts) > 1 else ()
        found.append(AudioItem(key=relative.as_posix(), path=path, source=relative.as_posix(), mids=mids))
    return found


DATASET = Dataset("folders", "a folder per class", detect, items)
