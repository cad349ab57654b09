"""`earshot ingest status`: what became of every segment of a folder."""

import json
from dataclasses import asdict
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ingest.availability import Availability

_SHOWN_ERRORS = 5


@click.command(
    epilog="""\b
Examples:
  earshot ingest status balanced
  earshot ingest status balanced --report       writes balanced/availability.md anew
  earshot ingest status balanced --json
"""
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--report", is_flag=True, help="Also write availability.md, to publish beside numbers.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def status(folder: Path, report: bool, as_json: bool) -> None:
    """Count the segments of FOLDER by state, reason, split and class; also while a run goes on."""
    from ingest.availability import survey, write_report
    from ingest.ledger import Ledger

    with Ledger.read(folder) as ledger:
        found = survey(ledger)
    if report:
        click.echo(f"wrote {write_report(found, folder, folder.resolve().name)}", err=True)
    if as_json:
        click.echo(json.dumps({"requested": found.requested, "available": found.available, **asdict(found)}))
    else:
        click.echo("\n".join(_text(found)))


def _text(found: "Availability") -> list[str]:
    from ingest.availability import remedy

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
