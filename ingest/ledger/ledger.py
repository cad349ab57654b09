"""Touches the disk: the ledger, one SQLite file that knows what became of every requested segment.

Each segment is in exactly one state, so that requested = the sum of the states, always:

    pending ──claim──> running ──> done      its file is there, with its checksum
       ^                  ├──────> gone      permanent: not asked again unless told to
       │                  ├──────> waiting   recoverable: claimed again from `next_attempt` on
       └──────────────────┤──────> failed    recoverable, attempts spent
       environment failure, kill -9

A file is renamed to its final name first and its row is written after; `reconcile` mends whatever lies between. One
process writes: it holds the folder's lock. Only one thread uses a `Ledger`.
"""

import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import Any, Self, get_type_hints

from ingest.audioset.segments import Segment, StrongEvent
from ingest.errors import FormatError, SpecMismatchError, UsageError
from ingest.ledger.file import FILE_NAME, State, connect, lock_folder


@dataclass(frozen=True, slots=True)
class Row:
    """One segment and what became of it. Times are seconds since 1970.

    attempts: that count. objections: failures of the environment, which do not. suspicions: those of them that may yet
        turn out to be the segment's own.
    origin: the name of the source that the file is from; None without a file, and where a crash lost it.
    """

    segment: Segment
    split: str
    state: State
    failure: str | None
    text: str | None
    attempts: int
    objections: int
    suspicions: int
    next_attempt: float | None
    path: str | None
    origin: str | None
    file_bytes: int | None
    sha256: str | None
    duration_s: float | None
    sample_rate: int | None
    bytes_read: int
    versions: str | None
    started_at: float | None
    finished_at: float | None


@dataclass(frozen=True, slots=True)
class AudioFile:
    """A finished file. path: relative to the folder, with `/`."""

    path: str
    file_bytes: int
    sha256: str
    duration_s: float
    sample_rate: int


class Ledger:
    """Use as a context manager: `Ledger.open(folder)` to write, `Ledger.read(folder)` to look."""

    def __init__(self, folder: Path, connection: sqlite3.Connection, lock: Any = None) -> None:
        self.folder, self._db, self._lock = folder, connection, lock
        self._db.row_factory = sqlite3.Row
        try:
            self.run = int(self.about().get("run", 0))
        except (ValueError, TypeError) as error:
            self.close()
            raise FormatError(
                f"{folder / FILE_NAME}: is damaged ({error}); move it away, finished audio is adopted again"
            ) from error

    @classmethod
    def open(cls, folder: Path) -> Self:
        """Open for writing, made when it is not there; nobody else may until it is closed.

        Raises:
            UsageError: another process writes to this folder.
            FormatError: the file is not a ledger, or of a newer Earshot.
        """
        folder.mkdir(parents=True, exist_ok=True)
        lock = lock_folder(folder)
        try:
            connection = connect(folder / FILE_NAME)
        except BaseException:
            lock.close()
            raise
        return cls(folder, connection, lock)

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Open for reading, also while another process writes.

        Raises:
            UsageError: there is no ledger.
        """
        if not (folder / FILE_NAME).is_file():
            raise UsageError(f"{folder} holds no {FILE_NAME}; name a folder that `earshot ingest youtube` wrote")
        return cls(folder, connect(folder / FILE_NAME))

    def close(self) -> None:
        self._db.close()
        if self._lock:
            self._lock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # What is asked for

    def settle(self, settings: Mapping[str, object]) -> None:
        """Bind the folder to `settings` the first time, and refuse others later: a folder holds one kind of audio.

        Raises:
            SpecMismatchError: they differ from those that the folder was begun with.
        """
        known = self.about()
        for name, value in settings.items():
            before = known.get(f"settings.{name}")
            if before is not None and before != str(value):
                raise SpecMismatchError(
                    f"--{name.replace('_', '-')} is {value}, but {self.folder} was begun with {before}; "
                    "use the same, or another --out"
                )
        with self._db:
            self._db.executemany(
                "INSERT OR IGNORE INTO about VALUES (?, ?)", [(f"settings.{n}", str(v)) for n, v in settings.items()]
            )

    def request(self, segments: Iterable[Segment], *, split: str, now: float) -> int:
        """Begin a run over `segments`, in this order: new ones become pending, known ones keep their state.

        Returns:
            How many there are.
        """
        with self._db:
            self.run += 1
            self._db.execute("INSERT OR REPLACE INTO about VALUES ('run', ?)", (str(self.run),))
            self._db.executemany(
                """
                INSERT INTO segments (key, youtube_id, start_s, end_s, mids, split, run, rank, state, requested_at)
                VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending', ?)
                ON CONFLICT (key) DO UPDATE SET mids = excluded.mids, split = excluded.split, run = excluded.run,
                    rank = excluded.rank
                """,
                (
                    (s.key, s.youtube_id, s.start_s, s.end_s, json.dumps(s.mids), split, self.run, rank, now)
                    for rank, s in enumerate(segments)
                ),
            )
        found: int = self._db.execute("SELECT count(*) FROM segments WHERE run = ?", (self.run,)).fetchone()[0]
        return found

    def keep_strong(self, strong: Mapping[str, Sequence[StrongEvent]]) -> None:
        """Remember the events of segments, by key; those of other segments stay as they are."""
        with self._db:
            self._db.executemany(
                "INSERT OR REPLACE INTO strong VALUES (?, ?)",
                ((key, json.dumps([[e.start_s, e.end_s, e.mid] for e in events])) for key, events in strong.items()),
            )

    def strong(self, keys: Sequence[str]) -> dict[str, list[StrongEvent]]:
        """The events of those of `keys` that have any. At most 30,000 keys."""
        marks = ",".join("?" * len(keys))
        found = self._db.execute(f"SELECT key, events FROM strong WHERE key IN ({marks})", tuple(keys))
        return {row["key"]: _events(row["events"]) for row in found}

    def reopen(self, failures: Iterable[str]) -> int:
        """Make the gone and failed segments of this run with one of these failures pending again. How many."""
        names = list(failures)
        with self._db:
            return self._db.execute(
                f"""
                UPDATE segments SET state = 'pending', attempts = 0, objections = 0, suspicions = 0
                WHERE run = ? AND state IN ('gone', 'failed') AND failure IN ({",".join("?" * len(names))})
                """,
                (self.run, *names),
            ).rowcount

    # The way of a segment

    def claim(self, now: float) -> Row | None:
        """Set the next segment of this run running and give it as it was before: waiting ones that are due come before
        pending ones. None when there is none."""
        with self._db:
            found = (
                self._db.execute(
                    "SELECT * FROM segments WHERE run = ? AND state = 'waiting' AND next_attempt <= ?"
                    " ORDER BY next_attempt LIMIT 1",
                    (self.run, now),
                ).fetchone()
                or self._db.execute(
                    "SELECT * FROM segments WHERE run = ? AND state = 'pending' ORDER BY objections, rank LIMIT 1",
                    (self.run,),
                ).fetchone()
            )
            if not found:
                return None
            self._db.execute(
                "UPDATE segments SET state = 'running', next_attempt = NULL, started_at = ? WHERE key = ?",
                (now, found["key"]),
            )
        return _row(found)

    def done(
        self, key: str, file: AudioFile, *, bytes_read: int, versions: str, now: float, origin: str | None = None
    ) -> None:
        """running -> done."""
        self._leave_running(
            key,
            "state = 'done', failure = NULL, text = NULL, attempts = attempts + 1, origin = ?, path = ?,"
            " file_bytes = ?, sha256 = ?, duration_s = ?, sample_rate = ?,"
            " bytes_read = bytes_read + ?, versions = ?, finished_at = ?",
            (origin, *astuple(file), bytes_read, versions, now),
        )

    def failed(
        self,
        key: str,
        state: State,
        *,
        failure: str,
        text: str,
        now: float,
        next_attempt: float | None = None,
        bytes_read: int = 0,
        versions: str | None = None,
    ) -> None:
        """running -> gone, waiting (with `next_attempt`) or failed; counts as an attempt."""
        self._leave_running(
            key,
            "state = ?, failure = ?, text = ?, attempts = attempts + 1, next_attempt = ?,"
            " bytes_read = bytes_read + ?, versions = ?, finished_at = ?",
            (state, failure, text, next_attempt, bytes_read, versions, now),
        )

    def put_back(self, key: str, *, objection: bool = False, suspicion: bool = False, bytes_read: int = 0) -> None:
        """running -> pending, uncounted. After an `objection` of the environment: behind those that had none."""
        self._leave_running(
            key,
            "state = 'pending', objections = objections + ?, suspicions = suspicions + ?, bytes_read = bytes_read + ?",
            (int(objection), int(suspicion), bytes_read),
        )

    def _leave_running(self, key: str, change: str, values: tuple[object, ...]) -> None:
        with self._db:
            changed = self._db.execute(
                f"UPDATE segments SET {change} WHERE key = ? AND state = 'running'", (*values, key)
            ).rowcount
        if not changed:
            raise LookupError(f"{key} is not running")

    # Looking

    def row(self, key: str) -> Row:
        """Raises: LookupError when it was never requested."""
        found = self._db.execute("SELECT * FROM segments WHERE key = ?", (key,)).fetchone()
        if not found:
            raise LookupError(f"{key} was never requested")
        return _row(found)

    def rows(self, *states: State) -> Iterator[Row]:
        """All in these states (all states when none is named), by key."""
        wanted = states or tuple(State)
        marks = ",".join("?" * len(wanted))
        for found in self._db.execute(f"SELECT * FROM segments WHERE state IN ({marks}) ORDER BY key", wanted):
            yield _row(found)

    def keys_done(self) -> Iterator[str]:
        """The keys that are available, sorted."""
        for found in self._db.execute("SELECT key FROM segments WHERE state = 'done' ORDER BY key"):
            yield found["key"]

    def counts(self, *, this_run: bool = False) -> dict[State, int]:
        """Segments in each state; every state is there."""
        where = f"WHERE run = {self.run}" if this_run else ""
        found = self._db.execute(f"SELECT state, count(*) FROM segments {where} GROUP BY state").fetchall()
        with telling_damage():
            return dict.fromkeys(State, 0) | {State(state): count for state, count in found}

    def next_attempt(self) -> float | None:
        """When the first waiting segment of this run is due."""
        due: float | None = self._db.execute(
            "SELECT min(next_attempt) FROM segments WHERE run = ? AND state = 'waiting'", (self.run,)
        ).fetchone()[0]
        return due

    def about(self) -> dict[str, str]:
        return dict(self._db.execute("SELECT name, value FROM about").fetchall())

    def query(self, sql: str, values: tuple[object, ...] = ()) -> list[sqlite3.Row]:
        """For reports: any SELECT."""
        return self._db.execute(sql, values).fetchall()

    # Shards

    def unpacked(self, count: int) -> list[Row]:
        """At most `count` done segments that are in no shard, by key."""
        return list(
            map(
                _row,
                self._db.execute(
                    "SELECT * FROM segments WHERE state = 'done' AND shard IS NULL ORDER BY key LIMIT ?", (count,)
                ),
            )
        )

    def next_shard(self) -> int:
        found: int = self._db.execute("SELECT coalesce(max(shard) + 1, 0) FROM segments").fetchone()[0]
        return found

    def packed(self, keys: Iterable[str], shard: int) -> None:
        with self._db:
            self._db.executemany("UPDATE segments SET shard = ? WHERE key = ?", [(shard, key) for key in keys])

    # After a crash

    def release_running(self) -> int:
        """running -> pending: nobody runs when the folder has just been locked. How many there were."""
        with self._db:
            return self._db.execute("UPDATE segments SET state = 'pending' WHERE state = 'running'").rowcount

    def adopt(self, key: str, file: AudioFile, *, versions: str, now: float) -> None:
        """A file was finished but its row was not written: -> done, from any other state."""
        with self._db:
            self._db.execute("UPDATE segments SET state = 'running', next_attempt = NULL WHERE key = ?", (key,))
        self.done(key, file, bytes_read=0, versions=versions, now=now)

    def forget_file(self, key: str) -> None:
        """done -> pending: its file is not there or not whole."""
        with self._db:
            self._db.execute(
                "UPDATE segments SET state = 'pending', path = NULL, origin = NULL, file_bytes = NULL, sha256 = NULL,"
                " duration_s = NULL, sample_rate = NULL, attempts = 0 WHERE key = ? AND state = 'done'",
                (key,),
            )


_KINDS = {name: kind for name, kind in get_type_hints(Row).items() if name not in ("segment", "state")}


def _row(found: sqlite3.Row) -> Row:
    with telling_damage():
        segment = Segment(found["youtube_id"], found["start_s"], found["end_s"], tuple(json.loads(found["mids"])))
        values = {name: found[name] for name in _KINDS}
        times = (segment.start_s, segment.end_s)
        whole = all(type(time) is float for time in times) and all(type(mid) is str for mid in segment.mids)
        if not whole or segment.key != found["key"]:
            raise ValueError(f"{segment!r:.80}")
        for name, kind in _KINDS.items():
            if not isinstance(values[name], kind):
                raise TypeError(f"{name} {values[name]!r:.80}")
        if not all(math.isfinite(value) for value in (*times, *values.values()) if isinstance(value, float)):
            raise ValueError("a time that is not finite")
        state = State(found["state"])
        if state is State.DONE and None in (values["path"], values["sha256"]):
            raise ValueError(f"{segment.key} is done without a file")
        return Row(segment=segment, state=state, **values)


def _events(text: Any) -> list[StrongEvent]:
    with telling_damage():
        events = [StrongEvent(*event) for event in json.loads(text)]
        if not all(type(e.start_s) is type(e.end_s) is float and type(e.mid) is str for e in events):
            raise TypeError(f"{events!r:.80}")
        return events


@contextmanager
def telling_damage() -> Iterator[None]:
    """Around work on values of the ledger: what comes of one that SQLite keeps and that no run wrote is said so.

    Raises:
        FormatError: a value of another type, or out of its range.
    """
    try:
        yield
    except (ValueError, TypeError, IndexError, RecursionError, OverflowError) as error:
        raise FormatError(
            f"{FILE_NAME}: a row is damaged ({error}); move the file away, finished audio is adopted again"
        ) from error
