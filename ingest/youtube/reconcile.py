"""Touches the disk: makes files and ledger agree again after a run was killed, or the power was.

A file gets its final name before its row says `done`, so between the two lie: half files under temporary names
(removed), whole files whose row does not know them (adopted when they are what was asked for), and, when the disk lost
a rename, rows without their file (done again).
"""

import hashlib
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ingest.ledger.ledger import AudioFile, Ledger, Row, State
from ingest.manifest import MANIFEST
from ingest.youtube.availability import REPORT
from ingest.youtube.cut import MISSING_AT_END_S
from ingest.youtube.fetch import SCRATCH, FetchSettings
from ingest.youtube.naming import audio_path
from ingest.youtube.run_status import STATUS
from ingest.youtube.sources import MIRROR_INDEX
from ingest.youtube.webdataset import FOLDER as SHARDS

_BESIDE = (MANIFEST, REPORT, STATUS, MIRROR_INDEX, "*.tar")
"""What a run writes beside the audio. Other commands may be writing files of theirs into the same folder now."""


@dataclass(frozen=True, slots=True)
class Mended:
    """How many of each were found. strangers: files that no requested segment has; they are left alone."""

    released: int
    adopted: int
    removed: int
    lost: int
    strangers: int


def reconcile(ledger: Ledger, settings: FetchSettings, *, versions: str, now: float) -> Mended:
    """Only while the folder is locked and nobody fetches."""
    released = ledger.release_running()
    shutil.rmtree(ledger.folder / SCRATCH, ignore_errors=True)
    for place in (ledger.folder, ledger.folder / SHARDS):
        for name in _BESIDE:
            for path in place.glob(f".{name}.*.tmp"):
                path.unlink()
    lost = _forget_lost(ledger)
    adopted = removed = strangers = 0
    for path in _files(ledger.folder):
        if path.suffix == ".tmp" and path.name.startswith("."):
            path.unlink()
            removed += 1
            continue
        row = _row_of(ledger, path)
        if row is None:
            strangers += 1
        elif row.state is not State.DONE:
            file = inspect(path, ledger.folder, row, settings)
            if file:
                ledger.adopt(row.segment.key, file, versions=versions, now=now)
                adopted += 1
            else:
                path.unlink()
                removed += 1
    return Mended(released, adopted, removed, lost, strangers)


def inspect(path: Path, folder: Path, row: Row, settings: FetchSettings) -> AudioFile | None:
    """The file as the ledger describes it, or None when it is not the audio of that segment under these settings."""
    import io

    import soundfile

    data = path.read_bytes()
    try:
        samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except (soundfile.LibsndfileError, RuntimeError):
        return None
    duration_s, wanted_s = len(samples) / rate, row.segment.end_s - row.segment.start_s
    fits = wanted_s - MISSING_AT_END_S - 0.001 <= duration_s <= wanted_s + 0.001 and samples.any()
    fits = fits and rate == (settings.sample_rate or rate)
    fits = fits and (settings.channels == "source" or samples.shape[1] == 1)
    if not fits:
        return None
    relative = path.relative_to(folder).as_posix()
    return AudioFile(relative, len(data), hashlib.sha256(data).hexdigest(), duration_s, rate)


def _forget_lost(ledger: Ledger) -> int:
    lost = []
    for row in ledger.rows(State.DONE):
        try:
            whole = (ledger.folder / str(row.path)).stat().st_size == row.file_bytes
        except OSError:
            whole = False
        if not whole:
            lost.append(row)
    for row in lost:
        (ledger.folder / str(row.path)).unlink(missing_ok=True)
        ledger.forget_file(row.segment.key)
    return len(lost)


def _files(folder: Path) -> Iterator[Path]:
    for inner in sorted((folder / "audio").glob("*")):
        if inner.is_dir():
            yield from sorted(inner.iterdir())


def _row_of(ledger: Ledger, path: Path) -> Row | None:
    """The row whose file this would be."""
    relative = PurePosixPath(path.relative_to(ledger.folder).as_posix())
    quoted = path.stem.rpartition("~")[0]
    try:
        key = re.sub(r"(?:%[0-9a-f]{2})+", lambda found: bytes.fromhex(found[0].replace("%", "")).decode(), quoted)
        row = ledger.row(key)
    except (LookupError, UnicodeError):
        return None
    return row if audio_path(key, path.suffix[1:]) == relative else None
