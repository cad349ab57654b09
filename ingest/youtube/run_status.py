"""Touches disk and network: how a run stands, in one small file for whoever looks from elsewhere.

The ledger is for this machine: SQLite's readers and writers share memory, so over a shared disk another machine may see
it torn, and in an object store there is none. So a run also writes `status.json` beside it, whole every time, and to
another place when told to.
"""

import json
import logging
import math
import os
import platform
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ingest.errors import FormatError, UsageError
from ingest.foreign import checked
from ingest.ledger.ledger import State
from ingest.places.files import write_whole
from ingest.places.folder import Folder, folder_at
from ingest.youtube.availability import Availability, Reason, Trouble
from ingest.youtube.governor import Standing
from ingest.youtube.pace import Phase
from ingest.youtube.run import Progress

STATUS = "status.json"
SILENT_AFTER_S = 120.0
"""A run that has not written for so long has ended without a word. It writes every ten seconds."""
_PUBLISH_EVERY_S = 30.0
_LAST_PUBLISH_S = 60.0
_FORMAT = 1
_YEAR_9999 = 250_000_000_000
"""In seconds since 1970. No clock shows more."""
_ENDLESS = -1.0
"""For a rate without a limit, which JSON has no word for, while what was read is checked."""
log = logging.getLogger("earshot.ingest")


@dataclass(frozen=True, slots=True)
class RunStatus:
    """One run, running or ended. Times are seconds since 1970.

    host, process: where the ledger is written. at: when this was. ended: it is over; `stopped` says why early, or "".
    progress: of this run's segments. availability: of the whole folder, as of `surveyed_at`.
    """

    host: str
    process: int
    engine: str
    began_at: float
    at: float
    ended: bool
    stopped: str
    progress: Progress
    availability: Availability
    surveyed_at: float

    @property
    def is_elsewhere(self) -> bool:
        """Another machine may be writing the ledger."""
        return not self.ended and self.host != platform.node()

    def is_silent(self, now: float) -> bool:
        """It has not said that it ended, and yet says nothing more."""
        return not self.ended and now - self.at > SILENT_AFTER_S


class StatusWriter:
    """Writes `status.json` of a run.

    Args:
        publish: gets a copy every half minute, in a thread of its own: neither a slow nor a broken store holds the run
            up.
    """

    def __init__(self, folder: Path, engine: str, publish: Folder | None = None) -> None:
        self._folder, self._engine, self._publish = folder, engine, publish
        self._began_at = time.time()
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="publish")
        self._copy: Future[None] | None = None
        self._copied_at = -math.inf
        self._warned = False

    def write(
        self,
        progress: Progress,
        availability: Availability,
        surveyed_at: float,
        *,
        ended: bool = False,
        stopped: str = "",
    ) -> None:
        now = time.time()
        status = RunStatus(
            platform.node(), os.getpid(), self._engine, self._began_at, now, ended, stopped, progress, availability,
            surveyed_at,
        )  # fmt: skip
        text = to_json(status)
        write_whole(self._folder / STATUS, text)
        if self._publish is not None and (ended or now - self._copied_at > _PUBLISH_EVERY_S):
            self._copied_at = now
            if self._copy is None or ended or self._copy.done():
                self._copy = self._pool.submit(self._send, self._publish, text)

    def close(self) -> None:
        """Waits a minute at most for a copy that is on its way."""
        if self._copy is not None:
            try:
                self._copy.result(_LAST_PUBLISH_S)
            except TimeoutError:
                log.warning("--publish %s: its copy was not done within %.0f s", self._publish, _LAST_PUBLISH_S)
        self._pool.shutdown(wait=False, cancel_futures=True)

    def _send(self, folder: Folder, text: str) -> None:
        try:
            folder.make()
            with folder.write(STATUS) as path:
                path.write_text(text, encoding="utf-8")
        except Exception as error:  # whatever a store may bring up
            if not self._warned:
                log.warning("--publish %s: %s; the run goes on without, and tries again", folder, _short(error))
            self._warned = True


def to_json(status: RunStatus) -> str:
    """Infinite rates are null, as JSON has no word for them."""
    return json.dumps({"format": _FORMAT, **_finite(asdict(status))}, indent=1)


def from_json(text: str | bytes, shown: str = STATUS) -> RunStatus:
    """Read what `to_json` wrote, in UTF-8.

    Args:
        shown: the file's name, for messages.
    Raises:
        FormatError: it is no such file, or of a newer Earshot.
    """
    try:
        found = json.loads(text)
        if found.pop("format") != _FORMAT:
            raise FormatError(f"{shown}: is of another Earshot; look with that one")
        found["progress"] = _progress(found["progress"])
        found["availability"] = _availability(found["availability"])
        status = checked(RunStatus(**found))
        if not all(0 <= at < _YEAR_9999 for at in _times(status)):
            raise ValueError("a time is none")
        return _with_endless_rates(status)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise FormatError(
            f"{shown}: is not what a run wrote ({type(error).__name__}: {error}); delete it, and the next run writes it"
        ) from error


def read_status(where: str | Path) -> RunStatus | None:
    """Of a folder, here or in an object store; None when no run has written one.

    Raises:
        UsageError: the store cannot be read.
        FormatError: the file is not what it should be.
    """
    folder = folder_at(where)
    try:
        return from_json(folder.read(STATUS), folder.at(STATUS)) if folder.has(STATUS) else None
    except OSError as error:
        raise UsageError(f"{folder}: cannot be read ({_short(error)}); look after its name and your keys") from error


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _progress(found: dict[str, Any]) -> Progress:
    counts = _counts(found.pop("counts"))
    addresses = tuple(_standing(standing) for standing in found.pop("addresses"))
    return Progress(**{**found, "counts": counts, "addresses": addresses, "phase": Phase(found["phase"])})


def _standing(found: dict[str, Any]) -> Standing:
    rate = _ENDLESS if found["rate_per_hour"] is None else found["rate_per_hour"]
    return Standing(**{**found, "phase": Phase(found["phase"]), "rate_per_hour": rate})


def _with_endless_rates(status: RunStatus) -> RunStatus:
    addresses = tuple(
        replace(one, rate_per_hour=math.inf) if one.rate_per_hour == _ENDLESS else one
        for one in status.progress.addresses
    )
    return replace(status, progress=replace(status.progress, addresses=addresses))


def _times(status: RunStatus) -> list[float]:
    """Moments and durations, in seconds."""
    progress, found = status.progress, status.availability
    left = [progress.remaining_s, found.remaining_s]
    return [
        *(status.began_at, status.at, status.surveyed_at, progress.paused_for_s),
        *(one.paused_for_s for one in progress.addresses),
        *(one.at for one in found.newest),
        *(seconds for seconds in left if seconds is not None),
    ]


def _availability(found: dict[str, Any]) -> Availability:
    return Availability(
        **{
            **found,
            "states": _counts(found["states"]),
            "reasons": [Reason(**{**reason, "state": State(reason["state"])}) for reason in found["reasons"]],
            "newest": [Trouble(**{**trouble, "state": State(trouble["state"])}) for trouble in found["newest"]],
            "by_split": {name: _had_of(pair) for name, pair in found["by_split"].items()},
            "by_class": {name: _had_of(pair) for name, pair in found["by_class"].items()},
        }
    )


def _counts(found: dict[str, int]) -> dict[State, int]:
    """Of every state, as whoever counts expects."""
    return dict.fromkeys(State, 0) | {State(state): count for state, count in found.items()}


def _had_of(pair: list[int]) -> tuple[int, int]:
    had, asked = pair
    if not 0 <= had <= asked or not asked:
        raise ValueError(f"{had!r:.20} of {asked!r:.20}")
    return had, asked
