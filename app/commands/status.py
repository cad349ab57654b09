"""`earshot ingest status`: what became of every segment of a folder, and how its run stands."""

import json
import math
import textwrap
import time
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ingest.counted import are, counted
from ingest.errors import UsageError

if TYPE_CHECKING:
    from ingest.youtube.availability import Availability
    from ingest.youtube.governor import Standing
    from ingest.youtube.run_status import RunStatus

_SHOWN_ERRORS = 5
_SHOWN_REASON = 100


@click.command(
    short_help="What became of every segment.",
    epilog="""\b
Examples:
  earshot ingest status balanced
  earshot ingest status balanced --report       writes balanced/availability.md anew
  earshot ingest status balanced --json
  earshot ingest status s3://bucket/balanced    of a run elsewhere, with --publish s3://bucket/balanced
""",
)
@click.argument("folder")
@click.option("--report", is_flag=True, help="Also write availability.md, to publish beside numbers.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(folder: str, report: bool, as_json: bool) -> None:
    """Count the segments of FOLDER by state, reason, split and class; also while a run goes on, here or elsewhere."""
    from ingest.youtube.availability import write_report
    from ingest.youtube.run_status import to_json

    found, run = _look(folder)
    if report:
        if "://" in folder:
            raise UsageError("--report writes beside a ledger, and FOLDER is a copy elsewhere; use it where the run is")
        click.echo(f"wrote {write_report(found, Path(folder), Path(folder).resolve().name)}", err=True)
    if as_json:
        facts = {"requested": found.requested, "available": found.available, **asdict(found)}
        facts["run"] = {k: v for k, v in json.loads(to_json(run)).items() if k != "availability"} if run else None
        click.echo(json.dumps(facts))
    else:
        click.echo("\n".join([*(_run_text(run, time.time(), folder) if run else []), *_text(found)]))


def _look(folder: str) -> tuple["Availability", "RunStatus | None"]:
    """From the ledger, or, where another machine may be writing it, from the run's own words."""
    from ingest.ledger.ledger import Ledger
    from ingest.places.folder import folder_at
    from ingest.youtube.availability import survey
    from ingest.youtube.run_status import STATUS, read_status

    run = read_status(folder)
    if "://" in folder and run is None:
        raise UsageError(f"{folder_at(folder)} holds no {STATUS}; name the folder that a run was given as --publish")
    if run is not None and ("://" in folder or run.is_elsewhere):
        return run.availability, run
    with Ledger.read(Path(folder)) as ledger:
        return survey(ledger), run


def _run_text(run: "RunStatus", now: float, folder: str) -> list[str]:
    from ingest.ledger.file import State, is_locked

    where = f"{run.host} (process {run.process}, engine {run.engine})"
    here = "://" not in folder and not run.is_elsewhere
    began, ago = _clock(run.began_at), timedelta(seconds=max(0, round(now - run.at)))
    left = run.progress.requested - sum(run.progress.counts[state] for state in (State.DONE, State.GONE, State.FAILED))
    if run.ended:
        early = f" early: {run.stopped}" if run.stopped else ""
        again = f"; {counted(left, 'segment')} {are(left)} left for later: run the same command again" if left else ""
        return [f"last run: on {where}, {began} to {_clock(run.at)}, ended{early}{again}", ""]
    if here and not is_locked(Path(folder)):
        return [
            f"last run: on {where}, from {began}, was cut off at {_clock(run.at)} or later: run it again",
            "",
        ]
    silent = "; nothing was heard of it since, it may be dead" if run.is_silent(now) else ""
    lines = [f"running on {where} since {began}; this is of {ago} ago{silent}"]
    if len(run.progress.addresses) > 1 or run.progress.pause:
        lines += [f"  {'address':<32} {'':<8} {'asked':>9} {'an hour':>8}"]
        lines += [_address_text(standing) for standing in run.progress.addresses]
    return [*lines, ""]


def _address_text(standing: "Standing") -> str:
    rate = f"{standing.rate_per_hour:,.0f}" if math.isfinite(standing.rate_per_hour) else "no limit"
    for_s = f"for {timedelta(seconds=round(standing.paused_for_s))}: " if standing.paused_for_s else ""
    why = f"  {for_s}{textwrap.shorten(standing.reason, _SHOWN_REASON)}" if standing.reason else ""
    return f"  {standing.name:<32} {standing.phase:<8} {standing.started:>9,} {rate:>8}{why}"


def _clock(at: float) -> str:
    return datetime.fromtimestamp(at).isoformat(sep=" ", timespec="seconds")


def _text(found: "Availability") -> list[str]:
    from ingest.youtube.availability import remedy

    lines = [f"  {state:<8} {count:>10,}" for state, count in found.states.items()]
    lines += [f"  requested {found.requested:>9,}", ""]
    for reason in found.reasons:
        advice = f"   ({remedy(reason.failure)})" if remedy(reason.failure) else ""
        lines.append(f"  {reason.state:<8} {reason.failure:<18} {reason.segments:>9,}{advice}")
    lines += [f"  from {origin}: {count:,}" for origin, count in found.by_origin.items()]
    for split, (had, asked) in found.by_split.items():
        lines.append(f"  split {split}: {had:,} of {asked:,}")
    poorest = sorted(found.by_class.items(), key=lambda item: item[1][0] / item[1][1])[:5]
    lines += [f"  class {name}: {had:,} of {asked:,}" for name, (had, asked) in poorest if had < asked]
    if found.newest:
        lines += ["", "newest errors:"]
    for trouble in found.newest[:_SHOWN_ERRORS]:
        at = datetime.fromtimestamp(trouble.at).isoformat(sep=" ", timespec="seconds")
        lines.append(f"  {at} {trouble.key} {trouble.failure}: {trouble.text}")
    lines.append("")
    if found.rate_per_hour and found.remaining_s is not None:
        left = timedelta(seconds=round(found.remaining_s))
        lines.append(f"{found.rate_per_hour:.0f} an hour of late; {left} left at that rate")
    megabytes = found.bytes_on_disk / 1e6
    lines.append(f"{found.hours:.2f} hours, {megabytes:,.1f} MB on disk, {found.bytes_read / 1e6:,.1f} MB read")
    lines.append(f"fingerprint {found.fingerprint}")
    return lines
