"""A CSV file beside the audio, one row a file.

| column | means |
|---|---|
| `path` | the audio file, relative to the CSV's folder, or absolute |
| `label` or `labels` | its labels, separated by `;`: AudioSet mids or names of your own; may be empty |
| `fold` | optional, a whole number: the predefined fold |
| `source` | optional: the recording the file was cut from; the file itself where empty |
| others | optional: what else is known (`split`, `age`, `gender` ...), kept as columns of the manifest |
"""

import csv
from collections.abc import Callable
from pathlib import Path

from ingest.audio.clip import AudioItem
from ingest.datasets.dataset import Dataset
from ingest.datasets.tables import Row, read_table
from ingest.errors import UsageError, one_line
from ingest.manifest import placer

FOLD_DIGITS = 9
"""What a manifest's 32 bits hold."""
_OWN = frozenset({"", "path", "label", "labels", "fold", "source", "key", "mids", "names", "start_s"})
"""Columns that are read, and names that a manifest has for columns of its own."""


def detect(folder: Path) -> bool:
    """One CSV file in the folder with the columns `path` and `label` or `labels`."""
    return len(_tables(folder)) == 1


def items(folder: Path) -> list[AudioItem]:
    """One item for each row.

    Raises:
        UsageError: no such table, or more than one; a row without path, or with that of another row; a fold that is
            no whole number.
    """
    tables = _tables(folder)
    if len(tables) != 1:
        raise UsageError(
            f"{folder}: must hold one CSV file with columns path and label or labels, found "
            f"{', '.join(table.name for table in tables) or unread(folder) or 'no CSV file'}; "
            f"{'keep one' if tables else 'make one, as UTF-8 text with commas between its columns'}"
        )
    found, place = dict[str, AudioItem](), placer(folder)
    for where, row in read_table(tables[0]):
        item = _item(row, place, where)
        if item.key in found:
            raise UsageError(
                f"{where}: {item.key!r} has a row above already; give each file one row, with `;` between its labels"
            )
        found[item.key] = item
    return [found[key] for key in sorted(found)]


def unread(folder: Path) -> str:
    """The CSV files of a folder that say nothing of its audio, each with what it has instead; "" where one says it."""
    files = _csv_files(folder)
    if len(_tables(folder)) == 1:
        return ""
    return "; ".join(f"{path.name} {_in_words(_columns(path))}" for path in files)


def _in_words(columns: list[str]) -> str:
    return f"with columns {one_line(', '.join(columns))[:200]}" if columns else "that is empty or no UTF-8 text"


def _csv_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix.lower() == ".csv" and p.name[0] != "." and p.is_file())


def _tables(folder: Path) -> list[Path]:
    return [path for path in _csv_files(folder) if _is_table(_columns(path))]


def _columns(path: Path) -> list[str]:
    """What a CSV file calls its columns; nothing where it cannot be read."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return [name.strip() for name in next(csv.reader(file, skipinitialspace=True), [])]
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _is_table(columns: list[str]) -> bool:
    return "path" in columns and not {"label", "labels"}.isdisjoint(columns)


def _item(row: Row, place: Callable[[str], Path], where: str) -> AudioItem:
    name, fold = (row["path"] or "").strip(), (row.get("fold") or "").strip()
    labels = (row.get("labels") or row.get("label") or "").split(";")
    if not name:
        raise UsageError(f"{where}: path is empty; name the file or delete the row")
    if fold and not (fold.isdecimal() and len(fold) <= FOLD_DIGITS):
        raise UsageError(f"{where}: fold must be a whole number or empty, got {fold!r}; correct it")
    return AudioItem(
        key=Path(name).as_posix(),
        path=place(Path(name).as_posix()),
        source=(row.get("source") or "").strip() or Path(name).as_posix(),
        mids=tuple(dict.fromkeys(label.strip() for label in labels if label.strip())),
        fold=int(fold) if fold else None,
        about={name: text.strip() for name, text in row.items() if text and text.strip() and name not in _OWN},
    )


DATASET = Dataset("csv", "a CSV file with path and labels, maybe fold and source", detect, items)
