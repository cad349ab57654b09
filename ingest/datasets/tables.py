"""Touches the disk: the CSV tables that data sets come with, with errors that name file, line and column."""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from ingest.errors import UsageError

Row = dict[str, str | None]


def read_table(path: Path) -> Iterator[tuple[str, Row]]:
    """Each row, and where it stands, for messages.

    Strict about quotes: one that does not close would take the rows below it for a label.

    Raises:
        UsageError: the file cannot be read, two columns have one name, or a row has a value that no column is named
            for.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, skipinitialspace=True, strict=True)
            try:
                reader.fieldnames = _column_names(path, reader.fieldnames or ())
                for row in reader:
                    where = f"{path}, line {reader.line_num}"
                    if any(row.pop(None, ())):  # where DictReader puts what is too much; empty cells are no harm
                        raise UsageError(
                            f"{where}: has more values than the table has columns; put one with a comma in it "
                            "between quotes, or unpack the data set again"
                        )
                    yield where, row
            except csv.Error as error:
                raise UsageError(
                    f"{path}, line {reader.line_num + 1}: cannot be read as CSV ({error}); see that its quotes close "
                    "just before a comma, or unpack the data set again"
                ) from error
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"{path}: cannot be read ({reason}); unpack the data set again") from error


def _column_names(path: Path, header: Sequence[str]) -> list[str]:
    """Without the spaces around them. DictReader would keep the last of two columns that are named alike."""
    names = [name.strip() for name in header]
    if twice := next((name for name in names if name and names.count(name) > 1), None):
        raise UsageError(f"{path}: has two columns {twice!r}, and nobody knows which is meant; rename one")
    return names


def column(row: Row, name: str, where: str) -> str:
    """The text in a column.

    Raises:
        UsageError: it is empty, or the table has no such column.
    """
    if not (text := (row.get(name) or "").strip()):
        raise UsageError(f"{where}: needs {name}, which is missing or empty; unpack the data set again")
    return text


def number(row: Row, name: str, where: str) -> float:
    """The number in a column.

    Raises:
        UsageError: it is none, or not a finite one.
    """
    text = column(row, name, where)
    try:
        if not math.isfinite(value := float(text)):
            raise ValueError(text)
    except ValueError as error:
        raise UsageError(f"{where}: {name} must be a number, got {text!r}; unpack the data set again") from error
    return value


def whole_number(row: Row, name: str, where: str, least: int, most: int) -> int:
    """The whole number in a column, in the digits 0 to 9.

    Raises:
        UsageError: it is none, or not from `least` to `most`.
    """
    text = column(row, name, where)
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(most))
    if not digits or not least <= int(text) <= most:
        raise UsageError(
            f"{where}: {name} must be a whole number from {least} to {most}, got {text!r}; unpack the data set again"
        )
    return int(text)
