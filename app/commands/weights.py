"""`earshot weights`: list, fetch and verify the official weight files."""

import json
from pathlib import Path
from typing import Any

import click

from app.progress import download_bar
from embeddings.weights import WEIGHTS, WeightsFile, fetch, look_up
from ingest.errors import UsageError, WeightsError

ALL = "all"

_weights_option = click.option(
    "--weights", type=click.Path(path_type=Path), help="A folder of your own, searched first; or set EARSHOT_WEIGHTS."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_name_argument = click.argument("name", metavar="NAME|all")


@click.group()
def command() -> None:
    """The official weight files: which there are, fetch them, verify them."""


@command.command("list", epilog="Example: earshot weights list --weights ~/weights")
@_weights_option
@_json_option
def list_(weights: Path | None, as_json: bool) -> None:
    """Which weight files there are, and which are on this machine."""
    rows = [_facts(file, weights) for file in WEIGHTS.values()]
    if as_json:
        click.echo(json.dumps({"weights": rows}))
        return
    for row in rows:
        click.echo(f"{row['name']:<22} {row['bytes'] / 1e6:>6.1f} MB  {row['state']:<13} {row['path'] or row['url']}")


@command.command(
    "fetch", epilog="Example: earshot weights fetch yamnet.h5     Interrupted, it goes on where it stopped."
)
@_name_argument
@click.option("--to", type=click.Path(path_type=Path), help="Folder to put it in; this machine's cache by default.")
def fetch_(name: str, to: Path | None) -> None:
    """Download official weight files, with their checksums verified."""
    for file in _chosen(name):
        click.echo(_fetch_one(file, to))


@command.command("verify", epilog="Example: earshot weights verify all --weights ~/weights")
@_name_argument
@_weights_option
@_json_option
def verify_(name: str, weights: Path | None, as_json: bool) -> None:
    """Check SHA-256 and published behaviour: VGGish on a 1 kHz sine, YAMNet on silence, white noise and a sine.

    Ends with exit code 1 when a check fails; a file of another SHA-256 than the official one fails the first.
    """
    from dataclasses import asdict

    from embeddings.selfcheck import verify

    checks = [check for file in _chosen(name) for check in verify(file.name, weights)]
    failed = [check for check in checks if not check.ok]
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.what}: expected {check.expected}, got {check.seen}")
    if failed:
        raise WeightsError(
            f"{len(failed)} of {len(checks)} checks failed, first {failed[0].what}; "
            "bring the official file: earshot weights fetch NAME"
        )


def _chosen(name: str) -> list[WeightsFile]:
    if name != ALL and name not in WEIGHTS:
        raise UsageError(f"NAME: no weights named {name!r}; choose {', '.join(WEIGHTS)} or {ALL}")
    return list(WEIGHTS.values()) if name == ALL else [WEIGHTS[name]]


def _facts(file: WeightsFile, weights: Path | None) -> dict[str, Any]:
    found = look_up(file.name, weights)
    return {
        "name": file.name,
        "summary": file.summary,
        "bytes": file.size,
        "url": file.url,
        "sha256": file.sha256,
        "state": "missing" if found is None else "official" if found.official else "not official",
        "path": str(found.path) if found else None,
        "found_sha256": found.sha256 if found else None,
    }


def _fetch_one(file: WeightsFile, to: Path | None) -> Path:
    with download_bar(file.name, file.size) as show:
        return fetch(file.name, folder=to, progress=show)
