"""Touches the disk: the ledger's file, its tables and its lock."""

import os
import sqlite3
from contextlib import nullcontext
from enum import StrEnum
from pathlib import Path
from typing import Any, Self

from ingest.errors import FormatError, UsageError

FILE_NAME = "ledger.sqlite"
_LOCK_NAME = ".ledger.lock"
_SCHEMA_VERSION = 2


class State(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    DONE = "done"
    GONE = "gone"
    WAITING = "waiting"
    FAILED = "failed"


_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS about (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS segments (
  key TEXT PRIMARY KEY, youtube_id TEXT NOT NULL, start_s REAL NOT NULL, end_s REAL NOT NULL,
  mids TEXT NOT NULL, split TEXT NOT NULL, run INTEGER NOT NULL, rank INTEGER NOT NULL,
  state TEXT NOT NULL CHECK (state IN ({", ".join(f"'{state}'" for state in State)})),
  failure TEXT, text TEXT, attempts INTEGER NOT NULL DEFAULT 0, objections INTEGER NOT NULL DEFAULT 0,
  suspicions INTEGER NOT NULL DEFAULT 0, next_attempt REAL,
  path TEXT, origin TEXT, shard INTEGER, file_bytes INTEGER, sha256 TEXT, duration_s REAL, sample_rate INTEGER,
  bytes_read INTEGER NOT NULL DEFAULT 0, versions TEXT,
  requested_at REAL NOT NULL, started_at REAL, finished_at REAL,
  CHECK ((state = 'done') = (sha256 IS NOT NULL)),
  CHECK ((state = 'done') = (path IS NOT NULL)),
  CHECK ((state = 'waiting') = (next_attempt IS NOT NULL)),
  CHECK (state NOT IN ('gone', 'failed', 'waiting') OR failure IS NOT NULL)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS strong (key TEXT PRIMARY KEY, events TEXT NOT NULL) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS queue ON segments (run, state, objections, rank);
CREATE INDEX IF NOT EXISTS due ON segments (run, next_attempt) WHERE state = 'waiting';
CREATE INDEX IF NOT EXISTS unpacked ON segments (key) WHERE state = 'done' AND shard IS NULL;
CREATE INDEX IF NOT EXISTS finished ON segments (finished_at);
"""
_UPGRADES = {
    1: "ALTER TABLE segments ADD COLUMN origin TEXT; UPDATE segments SET origin = 'youtube' WHERE state = 'done';",
}
"""What makes a ledger of this version one of the next."""


_UNREADABLE = (sqlite3.OperationalError, sqlite3.IntegrityError, OverflowError, UnicodeDecodeError)
"""An integrity error, too: a row that a run writes fits the rules, unless what it lies on does not."""


class _Translating:
    """Calls of SQLite whose errors come out as one of ours: a damaged file, or a disk without room."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, _UNREADABLE) or type(error) is sqlite3.DatabaseError:
            raise FormatError(
                f"{self.path}: cannot be read or written ({error}); make room if the disk is full, else move it away: "
                "finished audio is adopted again"
            ) from error


class _Cursor(sqlite3.Cursor):
    @property
    def _translating(self) -> Any:
        connection: Any = self.connection
        return connection.translating

    def execute(self, *statement: Any) -> Self:
        with self._translating:
            return super().execute(*statement)

    def executemany(self, *statement: Any) -> Self:
        with self._translating:
            return super().executemany(*statement)

    def fetchone(self) -> Any:
        with self._translating:
            return super().fetchone()

    def fetchall(self) -> list[Any]:
        with self._translating:
            return super().fetchall()

    def __next__(self) -> Any:
        with self._translating:
            return super().__next__()


class _Connection(sqlite3.Connection):
    """As sqlite3's own, with errors translated once it is `translated`."""

    translating: Any = nullcontext()

    def cursor(self, factory: Any = _Cursor) -> Any:
        return super().cursor(factory)

    def execute(self, *statement: Any) -> Any:
        return self.cursor().execute(*statement)

    def executemany(self, *statement: Any) -> Any:
        return self.cursor().executemany(*statement)

    def __exit__(self, *raised: Any) -> Any:
        with self.translating:
            return super().__exit__(*raised)


def connect(path: Path) -> sqlite3.Connection:
    """Open it, made when it is not there.

    Raises:
        FormatError: the file is not a ledger, or of a newer Earshot.
    """
    try:
        connection = sqlite3.connect(path, timeout=60, factory=_Connection)
    except sqlite3.Error as error:
        raise UsageError(f"{path}: cannot be opened ({error}); check that its folder may be written") from error
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")  # a power cut may lose the last rows, never the order
        version = connection.execute("PRAGMA user_version").fetchone()[0]
        if not 0 <= version <= _SCHEMA_VERSION:
            raise FormatError(f"{path} is of a newer Earshot (schema {version}); update Earshot")
        if version < _SCHEMA_VERSION:
            upgrades = "".join(_UPGRADES[old] for old in range(version, _SCHEMA_VERSION)) if version else _SCHEMA
            connection.executescript(f"BEGIN;{upgrades}PRAGMA user_version = {_SCHEMA_VERSION};COMMIT;")
    except sqlite3.OperationalError as error:
        connection.close()
        raise UsageError(f"{path}: cannot be written ({error}); check that its folder may be and has room") from error
    except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
        connection.close()
        raise FormatError(f"{path} is not a ledger ({error}); move it away, finished audio is adopted again") from error
    except BaseException:
        connection.close()
        raise
    connection.translating = _Translating(str(path))
    return connection


def is_locked(folder: Path) -> bool:
    """Whether a process of this machine writes to the folder now."""
    import fcntl

    try:
        with (folder / _LOCK_NAME).open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def lock_folder(folder: Path) -> Any:
    """The open lock file; the system drops the lock when the process ends, however it ends.

    Raises:
        UsageError: another process holds it.
    """
    import fcntl

    file = (folder / _LOCK_NAME).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise UsageError(
            f"--out: {folder} is being written to by another run (process {holder}); wait for it, or stop it first"
        ) from error
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
