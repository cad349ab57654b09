"""Touches the disk: what a folder holds of what was asked for, for people, for programs and for `embed`.

`fingerprint` is the SHA-256 of the available keys, sorted, one a line: two folders with the same fingerprint hold the
same segments, so a number measured on one can be compared with a number measured on the other.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from ingest.audioset.labels import display_name
from ingest.counted import counted
from ingest.ledger.ledger import Ledger, State, telling_damage
from ingest.ledger.outcomes import BY_NAME
from ingest.places.files import write_whole

REPORT = "availability.md"
_RATE_WINDOW_S = 3600.0


@dataclass(frozen=True, slots=True)
class Reason:
    """One way in which segments are not there. example: the text of one of them."""

    state: State
    failure: str
    segments: int
    example: str


@dataclass(frozen=True, slots=True)
class Trouble:
    """One failure of late. at: seconds since 1970."""

    key: str
    state: State
    failure: str
    text: str
    at: float


@dataclass(frozen=True, slots=True)
class Availability:
    """What became of all segments that were ever requested in a folder.

    by_split, by_class: name -> (available, requested); a segment counts for each of its classes.
    by_origin: name of the source -> the files that are from it; "unknown" where a crash lost it.
    rate_per_hour: finished in the last hour before the newest result; None when nothing is finished.
    remaining_s: for what is pending, at that rate.
    """

    states: dict[State, int]
    reasons: list[Reason]
    by_split: dict[str, tuple[int, int]]
    by_class: dict[str, tuple[int, int]]
    by_origin: dict[str, int]
    newest: list[Trouble]
    fingerprint: str
    rate_per_hour: float | None
    remaining_s: float | None
    bytes_read: int
    bytes_on_disk: int
    hours: float

    @property
    def requested(self) -> int:
        return sum(self.states.values())

    @property
    def available(self) -> int:
        return self.states[State.DONE]


@telling_damage()
def survey(ledger: Ledger, *, newest: int = 10) -> Availability:
    """Read it all off the ledger; it may be written to meanwhile.

    Raises:
        FormatError: a row of the ledger is damaged.
    """
    states, rate = ledger.counts(), _rate_per_hour(ledger)
    pending = states[State.PENDING] + states[State.RUNNING] + states[State.WAITING]
    sums = ledger.query("SELECT total(bytes_read), total(file_bytes), total(duration_s) FROM segments")[0]
    by_mid = _coverage(ledger, "value", "segments, json_each(segments.mids)")
    return Availability(
        states=states,
        reasons=_reasons(ledger),
        by_split=_coverage(ledger, "split", "segments"),
        by_class={display_name(mid): pair for mid, pair in by_mid.items()},
        by_origin=_origins(ledger),
        newest=_newest(ledger, newest),
        fingerprint=fingerprint(ledger),
        rate_per_hour=rate,
        remaining_s=3600 * pending / rate if rate else None,
        bytes_read=int(sums[0]),
        bytes_on_disk=int(sums[1]),
        hours=sums[2] / 3600,
    )


def fingerprint(ledger: Ledger) -> str:
    """SHA-256 of the sorted keys that are available, each with a line feed."""
    digest = hashlib.sha256()
    for key in ledger.keys_done():
        digest.update(f"{key}\n".encode())
    return digest.hexdigest()


def _coverage(ledger: Ledger, name: str, table: str) -> dict[str, tuple[int, int]]:
    """(available, requested) for each value of the column `name` of `table`."""
    rows = ledger.query(f"SELECT {name}, sum(state = 'done'), count(*) FROM {table} GROUP BY {name} ORDER BY {name}")
    return {_text(value): (had, asked) for value, had, asked in rows}


def _text(value: object) -> str:
    if type(value) is not str:
        raise TypeError(f"{value!r:.80}")
    return value


def _origins(ledger: Ledger) -> dict[str, int]:
    rows = ledger.query(
        "SELECT coalesce(origin, 'unknown') AS name, count(*) AS files FROM segments WHERE state = 'done'"
        " GROUP BY name ORDER BY name"
    )
    return {_text(row["name"]): row["files"] for row in rows}


def _reasons(ledger: Ledger) -> list[Reason]:
    rows = ledger.query(
        "SELECT state, failure, count(*) AS segments, coalesce(min(text), '') AS example FROM segments"
        " WHERE failure IS NOT NULL AND state IN ('gone', 'waiting', 'failed')"
        " GROUP BY state, failure ORDER BY segments DESC, failure"
    )
    return [Reason(State(r["state"]), _text(r["failure"]), r["segments"], _text(r["example"])) for r in rows]


def _newest(ledger: Ledger, count: int) -> list[Trouble]:
    rows = ledger.query(
        "SELECT key, state, failure, coalesce(text, '') AS text, finished_at FROM segments"
        " WHERE finished_at IS NOT NULL AND failure IS NOT NULL ORDER BY finished_at DESC LIMIT ?",
        (count,),
    )
    return [
        Trouble(_text(r["key"]), State(r["state"]), _text(r["failure"]), _text(r["text"]), float(r["finished_at"]))
        for r in rows
    ]


def _rate_per_hour(ledger: Ledger) -> float | None:
    fetched = "FROM segments WHERE started_at IS NOT NULL"  # not adopted
    newest = ledger.query(f"SELECT max(finished_at) AS at {fetched}")[0]["at"]
    if newest is None:
        return None
    count, oldest = ledger.query(
        f"SELECT count(*), min(started_at) {fetched} AND finished_at > ?", (newest - _RATE_WINDOW_S,)
    )[0]
    seconds = newest - max(oldest, newest - _RATE_WINDOW_S)
    return 3600 * count / seconds if seconds > 0 else None


def markdown(survey: Availability, title: str) -> str:
    """The report to publish beside numbers: what they were measured on."""
    lines = [
        f"# What is available of {title}",
        "",
        f"**{survey.available:,} of {counted(survey.requested, 'segment')}** "
        f"({_percent(survey.available, survey.requested)}), {survey.hours:,.2f} hours, "
        f"fingerprint `{survey.fingerprint}` (SHA-256 of the sorted keys, one a line).",
        "",
        "| state | segments |",
        "|---|---:|",
        *(f"| {state} | {count:,} |" for state, count in survey.states.items()),
        f"| **requested** | **{survey.requested:,}** |",
    ]
    if survey.reasons:
        lines += ["", "## Why segments are missing", "", "| state | reason | segments | in its own words |"]
        lines += ["|---|---|---:|---|"]
        lines += [f"| {r.state} | {r.failure} | {r.segments:,} | {_cell(r.example)} |" for r in survey.reasons]
    if survey.by_origin:
        lines += ["", "## By source", "", "| source | available |", "|---|---:|"]
        lines += [f"| {name} | {count:,} |" for name, count in survey.by_origin.items()]
    for name, table in (("split", survey.by_split), ("class", survey.by_class)):
        if table:
            lines += ["", f"## By {name}", "", f"| {name} | available | requested | missing |", "|---|---:|---:|---:|"]
            lines += [
                f"| {_cell(key)} | {had:,} | {asked:,} | {_percent(asked - had, asked)} |"
                for key, (had, asked) in sorted(table.items(), key=lambda item: item[1][0] / item[1][1])
            ]
    return "\n".join(lines) + "\n"


def write_report(survey: Availability, folder: Path, title: str) -> Path:
    write_whole(folder / REPORT, markdown(survey, title))
    return folder / REPORT


def remedy(failure: str) -> str:
    """What a person can do about it; "" for nothing."""
    words = BY_NAME[failure].remedy if failure in BY_NAME else "none"
    return "" if words == "none" else words


def _percent(part: int, whole: int) -> str:
    return f"{100 * part / whole:.1f} %" if whole else "-"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")
