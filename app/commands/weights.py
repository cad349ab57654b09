"""`earshot weights`: list, fetch and verify the official weight files."""

import json
from pathlib import Path
from typing import Any

import click

from app.options.places import HereType, WeightsType
from app.terminal.progress import download_bar
from embeddings.encoders import ENCODERS
from embeddings.weights import WEIGHTS, WeightsFile, fetch, look_up
from ingest.counted import counted
from ingest.errors import UsageError, WeightsError

ALL = "all"

_weights_option = click.option(
    "--weights", type=WeightsType(), help="A folder of your own, searched first; or set EARSHOT_WEIGHTS."
)
_json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
_names_argument = click.argument("names", metavar="NAME...", nargs=-1, required=True)


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
    "fetch",
    epilog="""\b
Examples:
  earshot weights fetch yamnet.h5
  earshot weights fetch vggish-pca        both files that this encoder needs
Interrupted, it goes on where it stopped.""",
)
@_names_argument
@click.option("--to", type=HereType(file_okay=False), help="Folder to put it in; this machine's cache by default.")
def fetch_(names: tuple[str, ...], to: Path | None) -> None:
    """Download official weight files, with their checksums verified.

    NAME is a file, an encoder (all that it needs), or "all".
    """
    for file in _chosen(names):
        click.echo(_fetch_one(file, to))


@command.command(
    "verify",
    short_help="Check files by SHA-256 and published behaviour.",
    epilog="Example: earshot weights verify all --weights ~/weights",
)
@_names_argument
@_weights_option
@_json_option
def verify_(names: tuple[str, ...], weights: Path | None, as_json: bool) -> None:
    """Check SHA-256 and published behaviour: VGGish on a 1 kHz sine, YAMNet on silence, white noise and a sine.

    NAME is a file, an encoder (all that it needs), or "all". Ends with exit code 1 when a check fails; a file of
    another SHA-256 than the official one fails the first.
    """
    from dataclasses import asdict

    from embeddings.selfcheck import verify

    by_file = {file.name: verify(file.name, weights) for file in _chosen(names)}
    checks = [check for some in by_file.values() for check in some]
    failed = [check for check in checks if not check.ok]
    if as_json:
        click.echo(json.dumps({"ok": not failed, "checks": [asdict(check) for check in checks]}))
    else:
        for check in checks:
            click.echo(f"{'ok  ' if check.ok else 'FAIL'}  {check.what}: expected {check.expected}, got {check.seen}")
    if failed:
        bad = [name for name, some in by_file.items() if not all(check.ok for check in some)]
        raise WeightsError(
            f"{len(failed)} of {counted(len(checks), 'check')} failed, first {failed[0].what}; "
            f"bring the official file{'s' * (len(bad) > 1)}: `earshot weights fetch {' '.join(bad)}`"
        )


def _chosen(names: tuple[str, ...]) -> list[WeightsFile]:
    meant = {ALL: tuple(WEIGHTS), **{file: (file,) for file in WEIGHTS}}
    meant |= {row.name: row.weights for row in ENCODERS.values() if row.weights}
    if unknown := [name for name in names if name not in meant]:
        raise UsageError(
            f"NAME: {unknown[0]!r} is no weight file and no encoder that needs any; choose {', '.join(meant)}"
        )
    return [WEIGHTS[file] for file in dict.fromkeys(file for name in names for file in meant[name])]


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
