"""`earshot doctor`: what works here, what would fail, how to mend it."""

import json
from dataclasses import asdict
from pathlib import Path

import click

from app.commands.places import HereType, WeightsType
from ingest.errors import EarshotError


@click.command(
    epilog="""\b
Examples:
  earshot doctor
  earshot doctor --folder /data/audioset     looks at that disk
  earshot doctor --offline --json
"""
)
@click.option("--folder", type=HereType(file_okay=False), default=Path(), help="Where audio will go; for the disk.")
@click.option("--weights", type=WeightsType(), help="A folder with weights of your own.")
@click.option("--offline", is_flag=True, help="Leave the network alone.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(folder: Path, weights: Path | None, offline: bool, as_json: bool) -> None:
    """Look at this machine: Python, packages, TensorFlow, weights, yt-dlp and what it needs, network, disk.

    Ends with exit code 1 when something that everything needs has failed. A warning stops only what it names.
    """
    from app.doctor import Check, DoctorSettings, examine

    def lines(check: Check) -> list[str]:
        told = [f"{check.state:<4}  {check.name:<24} {check.seen}"]
        return told if check.state == "ok" else [*told, f"      fails: {check.fails}", f"      mend:  {check.remedy}"]

    checks = examine(DoctorSettings(folder, offline, weights))
    failed = [check for check in checks if check.state == "fail"]
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
    else:
        click.echo("\n".join(line for check in checks for line in lines(check)))
    if failed:
        raise EarshotError(f"{len(failed)} of {len(checks)} checks failed, first {failed[0].name}: {failed[0].remedy}")
