"""`earshot ingest metadata`: AudioSet's own files, checked."""

import json
from pathlib import Path

import click

from app.options.numbers import FiniteRange
from app.options.places import HereType
from app.terminal.progress import download_bar
from ingest.audioset.metadata import METADATA, FetchedMetadata, MetadataFile, fetch_metadata, metadata_named

_SUMMARIES = "\n".join(
    f"  {file.name:<30} {f'{file.size / 1e3:,.0f} kB' if file.size else '':>12}  {file.summary}"
    for file in METADATA.values()
)


@click.command(
    short_help="AudioSet's lists, labels, ontology and features.",
    epilog=f"""\b
Files ({", ".join(file.name for file in METADATA.values() if file.by_name_only)} only when named):
{_SUMMARIES}

\b
Examples:
  earshot ingest metadata --out audioset
  earshot ingest metadata --out audioset features.tar.gz
  earshot ingest metadata --out audioset --base https://storage.googleapis.com/eu_audioset/youtube_corpus/
""",
)
@click.argument("names", nargs=-1)
@click.option("--out", type=HereType(file_okay=False), required=True, help="Folder for the files.")
@click.option("--base", metavar="URL", help="Another address with the tree of youtube_corpus/.")
@click.option(
    "--timeout",
    "timeout_s",
    type=FiniteRange(0.1, 86_400),
    default=30.0,
    show_default=True,
    help="Longest silence of the server, in s.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def metadata(names: tuple[str, ...], out: Path, base: str | None, timeout_s: float, as_json: bool) -> None:
    """Fetch AudioSet's lists, labels, ontology, quality and features. Interrupted, it goes on where it stopped."""
    found = [_fetch_one(file, out, base, timeout_s) for file in metadata_named(names)]
    if as_json:
        files = [
            {"name": f.name, "path": str(f.path), "sha256": f.sha256, "verified": f.verified, "fetched": f.fetched}
            for f in found
        ]
        click.echo(json.dumps({"files": files}))
        return
    for file in found:
        checked = "SHA-256 as published" if file.verified else f"SHA-256 {file.sha256[:12]}, none is published"
        click.echo(f"{file.path}  {'fetched' if file.fetched else 'was here'}, {checked}")


def _fetch_one(file: MetadataFile, out: Path, base: str | None, timeout_s: float) -> FetchedMetadata:
    with download_bar(file.name, file.size) as show:
        return fetch_metadata(file, out, base=base, timeout_s=timeout_s, progress=show)
