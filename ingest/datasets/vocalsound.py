"""VocalSound: six vocal sounds of some 3,400 speakers, who stay on one side of every split.

audio_16k/<f|m><speaker>_<collection>_<sound>.wav      or audio_44k/, or both: then the former is taken
datafiles/{tr,val,te}.json   {"data": [{"wav": path}]}: the published split; may be missing
meta/all_meta.json           [[speaker, gender, age, country, native language, health], ...]; may be missing
"""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ingest.audio.clip import AudioItem
from ingest.audioset.labels import mid_of
from ingest.datasets.dataset import Dataset
from ingest.errors import UsageError
from ingest.manifest import audio_files

T = TypeVar("T")

_SOUNDS = {
    "laughter": "Laughter",
    "sigh": "Sigh",
    "cough": "Cough",
    "throatclearing": "Throat clearing",
    "sneeze": "Sneeze",
    "sniff": "Sniff",
}
"""Name in the file -> AudioSet's."""
_NAME = re.compile(rf"(?P<speaker>(?P<gender>[fm])\d+)_(?P<collection>\d+)_(?P<sound>{'|'.join(_SOUNDS)})")
_GENDERS = {"f": "female", "m": "male"}
_SPLITS = {"tr": "train", "val": "val", "te": "test"}
_META = ("gender", "age", "country", "language", "health")


def detect(folder: Path) -> bool:
    """Audio, all of it named as in VocalSound."""
    files = audio_files(folder)
    return bool(files) and all(_NAME.fullmatch(path.stem) for path in files)


def items(folder: Path) -> list[AudioItem]:
    """Label and speaker from the name; age, country, language, health and split from the tables, where they are.

    Raises:
        UsageError: a name that is not VocalSound's, or a table that cannot be read.
    """
    splits, speakers = _splits(folder), dict(_table(folder / "meta" / "all_meta.json", _speakers))
    found = []
    for path in audio_files(folder):
        if path.parent.name == "audio_44k" and (path.parent.parent / "audio_16k").is_dir():
            continue
        name = _NAME.fullmatch(path.stem)
        if name is None:
            raise UsageError(
                f"{path}: in this layout a name is speaker_collection_sound; take the file out, or name another layout"
            )
        about = {"gender": _GENDERS[name["gender"]], **speakers.get(name["speaker"], {})}
        found.append(
            AudioItem(
                key=path.relative_to(folder).as_posix(),
                path=path,
                source=f"vocalsound:{name['speaker']}",
                mids=(mid_of(_SOUNDS[name["sound"]]),),
                about=about | ({"split": splits[path.name]} if path.name in splits else {}),
            )
        )
    return found


def _splits(folder: Path) -> dict[str, str]:
    """File name -> train, val or test."""
    return {
        file: split for name, split in _SPLITS.items() for file in _table(folder / "datafiles" / f"{name}.json", _files)
    }


def _files(content: Any) -> list[str]:
    return [Path(clip["wav"]).name for clip in content["data"]]


def _speakers(rows: Any) -> list[tuple[str, dict[str, str]]]:
    return [(str(speaker), dict(zip(_META, map(str, known), strict=False))) for speaker, *known in rows]


def _table(path: Path, parse: Callable[[Any], list[T]]) -> list[T]:
    """What a JSON file holds; nothing when it is not there."""
    if not path.is_file():
        return []
    try:
        return parse(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise UsageError(f"{path}: is not as in VocalSound ({error!r}); unpack the data set again") from error


DATASET = Dataset(
    "vocalsound",
    "VocalSound",
    detect,
    items,
    licence="CC BY-SA 4.0",
    citation="Y. Gong, J. Yu, J. Glass, Vocalsound: A Dataset for Improving Human Vocal Sounds Recognition, ICASSP 22",
)
