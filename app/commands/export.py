"""`earshot export`: an embedding store in a form that others read."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.options.places import HereType, StoreType
from ingest.counted import counted

if TYPE_CHECKING:
    from ingest.places.arrow_folder import ArrowFolder
    from ingest.places.folder import LocalFolder


@click.command(
    epilog="""\b
Examples:
  earshot export emb --format parquet --out emb.parquet     plain columns, vectors as lists of lists
  earshot export emb --format npz --out emb.npz             np.load: padded vectors, mask, keys, labels
  earshot export emb --format tfrecord --out tfrecords      AudioSet's released form, of 128 x uint8 stores
"""
)
@click.argument("store", metavar="EMB", type=StoreType())
@click.option(
    "--format",
    "format_name",
    required=True,
    metavar="NAME",
    help="tfrecord (into a folder), parquet or npz (into a file).",
)
@click.option("--out", required=True, type=HereType(), help="Where to; must not exist yet.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(store: "LocalFolder | ArrowFolder", format_name: str, out: Path, as_json: bool) -> None:
    """Write an embedding store as AudioSet's tfrecords, plain Parquet or npz."""
    from embeddings.export import export
    from embeddings.store import EmbeddingStore

    exported = export(EmbeddingStore.open(store), format_name, out)
    if exported.left_out:
        some = ", ".join(list(exported.left_out)[:3]) + (" ..." if len(exported.left_out) > 3 else "")
        click.echo(f"note: labels that AudioSet has no index for were left out: {some}", err=True)
    if as_json:
        click.echo(
            json.dumps({"out": str(out), "rows": exported.rows, "files": exported.files, "left_out": exported.left_out})
        )
    else:
        click.echo(f"{out}: {counted(exported.rows, 'row')} in {counted(exported.files, 'file')}")
