"""`earshot evaluate`: a model on embeddings it was not trained on."""

import json
from pathlib import Path

import click


@click.command(
    epilog="""\b
Examples:
  earshot evaluate model eval.emb
  earshot evaluate model eval.emb --json --report eval.html
"""
)
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("store", metavar="EMB", type=click.Path(path_type=Path))
@click.option("--report", type=click.Path(path_type=Path, dir_okay=False), help="Write an HTML report here.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(model: Path, store: Path, report: Path | None, as_json: bool) -> None:
    """Measure a model on a labelled embedding store: accuracy, mAP, AUC, each class, confusion."""
    from app.tables import metrics_table, rejection_lines
    from classifiers.bundle import load_bundle
    from classifiers.train import evaluate
    from embeddings.store import EmbeddingStore
    from ingest.files import atomic_path

    bundle = load_bundle(model)
    opened = EmbeddingStore.open(store)
    bundle.require(opened.spec)
    table = opened.load()
    if shared := bundle.shared_sources(table.sources):
        click.echo(
            f"warning: the model was trained on {shared} of the {len(set(table.sources))} recordings in {store}; "
            "the measures flatter it",
            err=True,
        )
    measured = evaluate(bundle, table)
    if report:
        from classifiers.report import render_report

        with atomic_path(report) as temporary:
            temporary.write_text(render_report(bundle.info, measured, measured_on=str(store)))
    if as_json:
        rejection = {"background": measured.rejection.to_json() if measured.rejection else None}
        click.echo(json.dumps({"model": str(model), "store": str(store)} | measured.metrics.to_json() | rejection))
        return
    click.echo(metrics_table(measured.metrics))
    if measured.rejection:
        click.echo(f"\n{rejection_lines(measured.rejection)}")
    if report:
        click.echo(f"\nreport: {report}")
