"""Touches network, clock and threads: one writer at a time in an object store, which has no locks.

The lock is an object that says who holds it and is written anew every half minute. It keeps two runs apart that begin
more than a few seconds from each other; it is no protection against two that begin in the same instant, for Arrow has
no way to write an object only where there is none.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from ingest.errors import UsageError

LOCK_FILE = ".lock"
BEAT_S = 30.0
STALE_S = 300.0
"""A lock that was not written for so long belongs to nobody. Clocks may differ by a few minutes: S3 takes no more."""
_SETTLE_S = 1.0


class Lockable(Protocol):
    """What a lock needs of a folder: see `ArrowFolder`."""

    def at(self, name: str) -> str: ...
    def read(self, name: str) -> bytes: ...
    def write(self, name: str) -> AbstractContextManager[Path]: ...
    def delete(self, name: str) -> None: ...
    def modified_at(self, name: str) -> float | None: ...


@contextmanager
def held(folder: Lockable, *, beat_s: float = BEAT_S, stale_s: float = STALE_S) -> Iterator[None]:
    """Hold the lock of a folder.

    Raises:
        UsageError: another holds it; or, at the end, another took it meanwhile.
    """
    mine = {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "space": _pid_space(),
        "since": datetime.now(UTC).isoformat(timespec="seconds"),
        "token": secrets.token_hex(8),
    }
    _require_free(folder, stale_s)
    _write(folder, mine)
    time.sleep(_SETTLE_S)  # who began at the same time has written by now; the last one has it
    _require_mine(folder, mine)
    stop = threading.Event()
    beating = threading.Thread(target=_beat, args=(folder, mine, stop, beat_s), daemon=True, name="store-lock")
    beating.start()
    try:
        yield
        _require_mine(folder, mine)
    finally:
        stop.set()
        beating.join()
        with suppress(OSError):  # out of reach: it goes stale, and the error that brought us here is the one to tell
            if _read(folder).get("token") == mine["token"]:
                folder.delete(LOCK_FILE)


def _beat(folder: Lockable, mine: dict[str, Any], stop: threading.Event, beat_s: float) -> None:
    while not stop.wait(beat_s):
        try:
            if _read(folder).get("token") != mine["token"]:
                return
            _write(folder, mine)
        except OSError:
            continue  # out of reach for once: the next beat will do, well before the lock is stale


def _require_free(folder: Lockable, stale_s: float) -> None:
    other = _read(folder)
    written_at = folder.modified_at(LOCK_FILE)
    if written_at is None or time.time() - written_at > stale_s or _has_died(other):
        return
    raise _taken(folder, other)


def _require_mine(folder: Lockable, mine: dict[str, Any]) -> None:
    other = _read(folder)
    if other.get("token") != mine["token"]:
        raise _taken(folder, other)


def _taken(folder: Lockable, other: dict[str, Any]) -> UsageError:
    who = f"process {other.get('pid', '?')} on {other.get('host', '?')}, since {other.get('since', '?')}"
    return UsageError(
        f"{folder}: another run is writing to this store ({who}); wait for it, or, if it has died, for "
        f"{STALE_S / 60:.0f} minutes, or delete {folder.at(LOCK_FILE)}"
    )


def _has_died(other: dict[str, Any]) -> bool:
    """Whether the holder was a process of this machine that is no more."""
    space = _pid_space()
    if not space or (other.get("host"), other.get("space")) != (socket.gethostname(), space):
        return False
    return not Path(f"/proc/{other.get('pid')}").exists()


def _pid_space() -> str:
    """Within what a process number means this machine's process: differs between containers. "" where unknown."""
    try:
        return str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        return ""


def _read(folder: Lockable) -> dict[str, Any]:
    try:
        found = json.loads(folder.read(LOCK_FILE))
    except (FileNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _write(folder: Lockable, mine: dict[str, Any]) -> None:
    with folder.write(LOCK_FILE) as made:
        made.write_text(json.dumps(mine))
