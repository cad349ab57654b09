"""FSD50K: Freesound clips with AudioSet's labels, parents included; development (train and val) and eval.

FSD50K.dev_audio/<Freesound id>.wav, FSD50K.eval_audio/...         either may be missing
FSD50K.ground_truth/dev.csv   fname, labels, mids, split           eval.csv has no split
FSD50K.metadata/{dev,eval}_clips_info_FSD50K.json                  title, licence, uploader of each clip; may be missing

No uploader has clips in both of two splits, and the same is wanted of any other split: so the uploader is the source.
"""

import json
from pathlib import Path

from ingest.audio.clip import AudioItem
from ingest.datasets.dataset import Dataset
from ingest.datasets.tables import column, read_table
from ingest.errors import UsageError

_PARTS = ("dev", "eval")


def detect(folder: Path) -> bool:
    """The folder of the tables is there."""
    return (folder / "FSD50K.ground_truth").is_dir()


def items(folder: Path) -> list[AudioItem]:
    """One item for each row of the tables whose audio has been unpacked.

    Raises:
        UsageError: a table or its metadata cannot be read.
    """
    found = []
    for part in _PARTS:
        audio = folder / f"FSD50K.{part}_audio"
        if not audio.is_dir():
            continue
        clips = _clips_info(folder / "FSD50K.metadata" / f"{part}_clips_info_FSD50K.json")
        for where, row in read_table(folder / "FSD50K.ground_truth" / f"{part}.csv"):
            name, mids = column(row, "fname", where), column(row, "mids", where).split(",")
            if not name.isalnum() or not all(mids):
                raise UsageError(f"{where}: fname must be a number and mids labels; unpack the data set again")
            clip = clips.get(name, {})
            path = audio / f"{name}.wav"
            found.append(
                AudioItem(
                    key=path.relative_to(folder).as_posix(),
                    path=path,
                    source=f"freesound-user:{clip['uploader']}" if clip.get("uploader") else f"freesound:{name}",
                    mids=tuple(mids),
                    about={"split": row.get("split") or part, "licence": clip.get("license", "")},
                )
            )
    return sorted(found, key=lambda item: item.key)


def _clips_info(path: Path) -> dict[str, dict[str, str]]:
    if not path.is_file():
        return {}
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        return {name: {key: str(clip[key]) for key in ("uploader", "license") if key in clip}
                for name, clip in told.items()}  # fmt: skip
    except (OSError, ValueError, TypeError, AttributeError, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read ({error}); unpack the data set again") from error


DATASET = Dataset(
    "fsd50k",
    "FSD50K",
    detect,
    items,
    licence="CC BY 4.0 as a whole; each clip has its own (CC0, BY, BY-NC, Sampling+): see the column licence",
    citation="E. Fonseca et al., FSD50K: An Open Dataset of Human-Labeled Sound Events, IEEE/ACM TASLP 30, 2022",
)
