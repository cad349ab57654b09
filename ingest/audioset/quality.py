"""Reads AudioSet's quality file: how many of each label's sampled segments the raters found right."""

import csv
from dataclasses import dataclass
from pathlib import Path

from ingest.errors import FormatError, UsageError

QUALITY_FILE = "qa_true_counts.csv"


@dataclass(frozen=True, slots=True)
class Quality:
    """rated: segments of the label that were checked. true: of these, how many do hold the sound."""

    rated: int
    true: int

    @property
    def share(self) -> float | None:
        """true / rated, in [0, 1]; None when nothing was rated."""
        return self.true / self.rated if self.rated else None

    def reaches(self, least: float) -> bool:
        """Known to be at least `least`: an unrated label never is."""
        return self.share is not None and self.share >= least


def read_quality(path: Path) -> dict[str, Quality]:
    """Mid -> quality. The file has a header, then mid, number rated, number true.

    Raises:
        UsageError: there is no such file.
        FormatError: a row is not what it should be; the message has its line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = list(csv.reader(file, skipinitialspace=True))
    except OSError as error:
        raise UsageError(
            f"--quality: {path} cannot be read ({error.strerror}); fetch it: "
            f"earshot ingest metadata --out {path.parent} {QUALITY_FILE}"
        ) from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise FormatError(f"{path}: is no CSV file ({error}); fetch it again") from error
    found = {}
    for line, row in enumerate(rows[1:], start=2):
        try:
            mid, rated, true = row
            found[mid] = Quality(int(rated), int(true))
            if not (mid and 0 <= found[mid].true <= found[mid].rated):
                raise ValueError("true of rated")
        except ValueError as error:
            raise FormatError(
                f"{path}: line {line} must be mid,rated,true, got {','.join(row)!r}; fetch it again"
            ) from error
    return found
