"""UrbanSound8K: ten predefined folds; slices of one Freesound recording are always in the same fold.

audio/fold<1-10>/<Freesound id>-<class>-<occurrence>-<slice>.wav
metadata/UrbanSound8K.csv   slice_file_name, fsID, start, end, salience, fold, classID, class

Also without the folders audio/ and metadata/, as some mirrors have it.
"""

from pathlib import Path

from ingest.audio.clip import AudioItem
from ingest.datasets.dataset import Dataset
from ingest.datasets.tables import column, number, read_table, whole_number
from ingest.errors import UsageError

_TABLES = (Path("metadata", "UrbanSound8K.csv"), Path("UrbanSound8K.csv"))
FOLDS = 10
_SALIENCE = {"1": "foreground", "2": "background"}  # of the labelled sound, in the ears of the annotators


def detect(folder: Path) -> bool:
    """The table is where the data set has it."""
    return any((folder / table).is_file() for table in _TABLES)


def items(folder: Path) -> list[AudioItem]:
    """One item for each row of the table.

    Raises:
        UsageError: the table is not there, or lacks a column or a number, or a fold is none of the ten.
    """
    table = next((table for table in _TABLES if (folder / table).is_file()), None)
    if table is None:
        raise UsageError(f"{folder}: holds no {_TABLES[0]}; name another folder or layout")
    audio = "audio/" if (folder / "audio").is_dir() else ""
    found = []
    for where, row in read_table(folder / table):
        name, fold = column(row, "slice_file_name", where), whole_number(row, "fold", where, 1, FOLDS)
        key = f"{audio}fold{fold}/{name}"
        found.append(
            AudioItem(
                key=key,
                path=folder / key,
                source=f"freesound:{column(row, 'fsID', where)}",
                mids=(column(row, "class", where).replace("_", " "),),
                fold=fold,
                start_s=number(row, "start", where),
                about={"salience": _SALIENCE.get(row.get("salience") or "", "")},
            )
        )
    return sorted(found, key=lambda item: item.key)


DATASET = Dataset(
    "urbansound8k",
    "UrbanSound8K",
    detect,
    items,
    licence="CC BY-NC 3.0",
    citation="J. Salamon, C. Jacoby, J. P. Bello, A Dataset and Taxonomy for Urban Sound Research, ACM Multimedia 2014",
)
