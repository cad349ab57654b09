"""A CSV file beside the audio, one row a file.

| column | means |
|---|---|
| `path` | the audio file, relative to the CSV's folder, or absolute |
| `label` or `labels` | its labels, separated by `;`: AudioSet mids or names of your own; may be empty |
| `fold` | optional, a whole number: the predefined fold |
| `source` | optional: the recording the file was cut from; the file itself where empty |
"""

import csv
from pathlib import Path

from ingest.clip import AudioItem
from ingest.datasets.dataset import Dataset
from ingest.datasets.tables import Row, read_table
from ingest.errors import FormatError

FOLD_DIGITS = 9
"""What a manifest's 32 bits hold."""


def detect(folder: Path) -> bool:
    """One CSV file in the folder with the columns `path` and `label` or `labels`."""
    return len(_tables(folder)) == 1


def items(folder: Path) -> list[AudioItem]:
    """One item for each row.

    Raises:
        FormatError: no such table, or more than one; a row without path; a fold that is no whole number.
    """
    tables = _tables(folder)
    if len(tables) != 1:
        raise FormatError(
            f"{folder}: must hold one CSV file with columns path and label or labels, found {len(tables)}; "
            "add it, or keep one"
        )
    found = [_item(row, folder, where) for where, row in read_table(tables[0])]
    return sorted(found, key=lambda item: item.key)


def _tables(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.glob("*.csv")) if _is_table(path)]


def _is_table(path: Path) -> bool:
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            columns = set(next(csv.reader(file, skipinitialspace=True), []))
    except (OSError, UnicodeDecodeError, csv.Error):
        return False
    return "path" in columns and bool(columns & {"label", "labels"})


def _item(row: Row, folder: Path, where: str) -> AudioItem:
    name, fold = (row["path"] or "").strip(), (row.get("fold") or "").strip()
    labels = (row.get("labels") or row.get("label") or "").split(";")
    if not name:
        raise FormatError(f"{where}: path is empty; name the file or delete the row")
    if fold and not (fold.isdecimal() and len(fold) <= FOLD_DIGITS):
        raise FormatError(f"{where}: fold must be a whole number or empty, got {fold!r}; correct it")
    return AudioItem(
        key=Path(name).as_posix(),
        path=folder / name,
        source=(row.get("source") or "").strip() or Path(name).as_posix(),
        mids=tuple(label.strip() for label in labels if label.strip()),
        fold=int(fold) if fold else None,
    )


DATASET = Dataset("csv", "a CSV file with path and labels, maybe fold and source", detect, items)
