"""`earshot evaluate`: a model on embeddings it was not trained on."""

import json
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

import click

from app.options.places import HereType, StoreType
from ingest.counted import counted

if TYPE_CHECKING:
    from ingest.places.arrow_folder import ArrowFolder
    from ingest.places.folder import Folder, LocalFolder


@click.command(
    epilog="""\b
Examples:
  earshot evaluate model eval.emb
  earshot evaluate model eval.emb --json --report eval.html
  earshot evaluate model eval.emb --slice-by gender --slice-by age
"""
)
@click.argument("model", type=HereType())
@click.argument("store", metavar="EMB", type=StoreType())
@click.option("--report", type=HereType(dir_okay=False), help="Write an HTML report here.")
@click.option(
    "--slice-by",
    "columns",
    multiple=True,
    metavar="COLUMN",
    help="Measure each value of a column of the manifest apart (gender, age, language ...); may be given again.",
)
@click.option(
    "--manifest",
    type=HereType(),
    help="Where the columns are, when the store was not made by `earshot embed` from a manifest that had them.",
)
@click.option(
    "--rows", type=HereType(dir_okay=False), help="Write the measured rows here as CSV: what each is, and its scores."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(  # noqa: PLR0917 - click passes them all by name
    model: Path,
    store: "LocalFolder | ArrowFolder",
    report: Path | None,
    columns: tuple[str, ...],
    manifest: Path | None,
    rows: Path | None,
    as_json: bool,
) -> None:
    """Measure a model on a labelled embedding store: accuracy, mAP, AUC, each class, confusion."""
    from app.measured_rows import write_rows
    from app.terminal.tables import measured_text
    from classifiers.bundle import load_bundle
    from classifiers.train import evaluate
    from embeddings.store import EmbeddingStore
    from ingest.places.files import require_writable, write_whole

    for place in (report, rows):
        if place:
            require_writable(place)
    bundle = load_bundle(model)
    opened = EmbeddingStore.open(store)
    bundle.require(opened.spec)
    table = opened.load()
    if bundle.info.caveat:
        click.echo(f"note: {model}: {bundle.info.caveat}", err=True)
    warning = ""
    if shared := bundle.shared_sources(table.sources):
        warning = (
            f"{shared:,} of the {counted(len(set(table.sources)), 'recording')} in {store} "
            f"{'has a name' if shared == 1 else 'have names'} that the model was trained on; if they are the same "
            "recordings, the measures flatter it"
        )
        click.echo(f"warning: {warning}", err=True)
    measured = evaluate(bundle, table)
    background = measured.rejection.n if measured.rejection else 0
    left_out, unlabelled = len(table) - len(measured.rows.keys) - background, sum(not mids for mids in table.mids)
    if left_out:
        why = "more of one side than of the other" if bundle.info.class_set.balanced else "no label, or several classes"
        click.echo(f"note: left out: {left_out:,} of the {counted(len(table), 'row')} ({why})", err=True)
    elif unlabelled:
        click.echo(
            f"note: {unlabelled:,} of the {counted(len(table), 'row')} {'has' if unlabelled == 1 else 'have'} no "
            "label: taken for none of the classes",
            err=True,
        )
    for column, values in _values(columns, manifest, store, measured.rows.keys).items():
        measured = measured.sliced(column, values)
    if report:
        from classifiers.report.examples import choose_examples
        from classifiers.report.page import render_report
        from classifiers.report.players import load_players

        players = load_players(choose_examples(measured))
        page = render_report(bundle.info, measured, measured_on=str(store), warning=warning, players=players)
        write_whole(report, page)
    if rows:
        write_rows(rows, measured)
    if as_json:
        said = {
            "model": str(model),
            "store": str(store),
            "caveat": bundle.info.caveat or None,
            "left_out": left_out,
            "warning": warning or None,
        }
        click.echo(json.dumps(said | measured.to_json()))
        return
    click.echo(measured_text(measured))
    if report:
        click.echo(f"\nreport: {report}")


def _values(columns: tuple[str, ...], manifest: Path | None, store: "Folder", keys: list[str]) -> dict[str, list[str]]:
    """Column -> its value for each row, "" where the manifest (or the store's own copy of it) tells nothing."""
    from embeddings.embedding import item_key
    from ingest.errors import UsageError
    from ingest.manifest import ABOUT_FILE, read_column

    if not columns:
        return {}
    shown = manifest or store.at(ABOUT_FILE)
    if not (manifest.exists() if manifest else store.has(ABOUT_FILE)):
        raise UsageError(
            f"--slice-by {columns[0]}: there is no {shown} to tell it; name the manifest that the store was made "
            "from with --manifest"
        )
    items = [item_key(key) for key in keys]
    with nullcontext(manifest) if manifest else store.local(ABOUT_FILE) as told:
        found = {column: read_column(told, column) for column in columns}
    if not any(item in found[columns[0]] for item in items):
        raise UsageError(f"--manifest: {shown} has none of the store's keys; name the one the store was made from")
    return {column: [values.get(item, "") for item in items] for column, values in found.items()}
