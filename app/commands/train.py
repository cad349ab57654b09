"""`earshot train`: an embedding store -> a model bundle, with measures that hold."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

if TYPE_CHECKING:
    from classifiers.bundle import BundleInfo
    from classifiers.protocol import Protocol


@click.command(
    epilog="""\b
Examples:
  earshot train emb --out model                                    every label of the store is a class
  earshot train emb --classes city10 --head svc --out model
  earshot train emb --classes "Siren;Dog;Jackhammer" --protocol cv5 --out model

The measures come from rows that the head did not learn from; the head that is saved learned from all rows.
"""
)
@click.argument("store", metavar="EMB", type=click.Path(path_type=Path))
@click.option(
    "--classes",
    metavar="SET",
    help="A name in data/class_sets, a .toml file, or class names separated by ';'. Default: every label of the store.",
)
@click.option("--head", default="attention", show_default=True, metavar="NAME", help="attention or svc.")
@click.option("--out", required=True, type=click.Path(path_type=Path), help="Folder of the model.")
@click.option(
    "--protocol",
    type=click.Choice(["auto", "folds", "cv5", "split", "none"]),
    default="auto",
    show_default=True,
    help="How to measure: the data set's own folds, five-fold cross-validation, one fifth held out, or not at all; "
    "auto takes the data set's folds where every row has one, else cv5.",
)
@click.option("--seed", default=0, show_default=True, help="Of everything random.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(  # noqa: PLR0917 - click passes them all by name
    store: Path, classes: str | None, head: str, out: Path, protocol: str, seed: int, as_json: bool
) -> None:
    """Train a head on embeddings, measure it, and write the model with its report."""
    from app.share_bar import ShareBar
    from classifiers.bundle import PCA_FILE, check_free, save_bundle
    from classifiers.report import render_card, render_report
    from classifiers.train import TrainSettings, train
    from embeddings.store import EmbeddingStore

    check_free(out)
    opened = EmbeddingStore.open(store)
    settings = TrainSettings(classes=classes, head=head, protocol=cast("Protocol", protocol), seed=seed)
    words = ["earshot", "train", str(store), *(["--classes", classes] if classes else []), "--head", head]
    words += ["--protocol", protocol, "--seed", str(seed), "--out", str(out)]
    with ShareBar() as bar:
        trained = train(opened.load(), opened.spec, settings, store=str(store), command=shlex.join(words), progress=bar)
    info = trained.info
    pages = {"report.html": render_report(info, trained.measured), "card.md": render_card(info)}
    pca = store / PCA_FILE
    save_bundle(out, info, trained.head, sources=trained.sources, pages=pages, pca=pca if pca.is_file() else None)
    click.echo(json.dumps(_as_json(info, out)) if as_json else _as_text(info, out))


def _as_json(info: "BundleInfo", out: Path) -> dict[str, Any]:
    return {
        "model": str(out),
        "head": info.head,
        "classes": list(info.class_set.names),
        "rows": info.trained_on["rows"],
        "left_out_none": info.trained_on["left_out_none"],
        "left_out_several": info.trained_on["left_out_several"],
        "protocol": info.protocol,
        "folds": info.folds,
        "metrics": info.metrics.to_json() if info.metrics else None,
    }


def _as_text(info: "BundleInfo", out: Path) -> str:
    from app.tables import metrics_table
    from classifiers.report import how_measured

    made = info.trained_on
    lines = [
        f"{out}: {info.head} head for {len(info.class_set.classes)} classes, trained on {made['rows']} rows "
        f"({made['left_out_none']} left out with none of the classes, {made['left_out_several']} with several)"
    ]
    if info.metrics:
        lines += ["", f"Measured on {how_measured(info)}:", metrics_table(info.metrics)]
    return "\n".join([*lines, "", f"report: {out / 'report.html'}"])
