"""`earshot train`: an embedding store -> a model bundle, with measures that hold."""

import json
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.options.places import HereType, StoreType
from app.options.problem import ProblemOptions, parse_changes, problem_options
from ingest.counted import counted

if TYPE_CHECKING:
    from classifiers.bundle import BundleInfo
    from classifiers.measures.measured import Measured
    from ingest.places.arrow_folder import ArrowFolder
    from ingest.places.folder import LocalFolder


@click.command(
    epilog="""\b
Examples:
  earshot train emb --out model                                    every label of the store is a class
  earshot train emb --classes city10 --head svc --out model
  earshot train emb --classes "Siren;Dog;Jackhammer" --protocol cv5 --out model
  earshot train emb --classes city10 --background 4000 --keep 0.9 --out model    learns what is none of the ten
  earshot train emb --classes city10 --head wide --background all --out model    learns from every row of the store
  earshot train emb --set hidden=256 --set epochs=30 --out model                 other settings of the head

The measures come from rows that the head did not learn from; the head that is saved learned from all rows.
"""
)
@click.argument("store", metavar="EMB", type=StoreType())
@problem_options("auto", "folds", "cv5", "split", "none")
@click.option(
    "--head",
    default="attention",
    show_default=True,
    metavar="NAME",
    help="attention, ensemble, wide, svc, logistic, cnn, yamnet-native ...; docs/heads.md tells them apart, and "
    "--head all names them all.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="NAME=VALUE", help="A setting of the head; may be given again."
)
@click.option("--out", required=True, type=HereType(), help="Folder of the model.")
@click.option(
    "--rows", type=HereType(dir_okay=False), help="Write the measured rows here as CSV: what each is, and its scores."
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(  # noqa: PLR0917 - click passes them all by name
    store: "LocalFolder | ArrowFolder",
    problem: ProblemOptions,
    head: str,
    changes: tuple[str, ...],
    out: Path,
    rows: Path | None,
    as_json: bool,
) -> None:
    """Train a head on embeddings, measure it, and write the model with its report."""
    from app.measured_rows import write_rows
    from app.terminal.progress import ShareBar
    from classifiers.bundle import PCA_FILE, check_free
    from classifiers.report.saving import save_model
    from classifiers.train import TrainSettings, train
    from embeddings.store import EmbeddingStore
    from ingest.errors import UsageError
    from ingest.places.files import require_writable

    check_free(out)
    if rows:
        if problem.protocol == "none":
            raise UsageError("--rows: with --protocol none no row is measured; leave one of them out")
        require_writable(rows)
    opened = EmbeddingStore.open(store)
    settings = TrainSettings(**problem.settings(), head=head, head_changes=parse_changes(changes))
    words = ["earshot", "train", str(store), *problem.words(), "--head", head]
    words += [word for change in changes for word in ("--set", change)] + ["--out", str(out)]
    with ShareBar() as bar:
        trained = train(opened.load(), opened.spec, settings, store=str(store), command=shlex.join(words), progress=bar)
    info, measured = trained.info, trained.measured
    with store.local(PCA_FILE) if store.has(PCA_FILE) else nullcontext() as pca:
        save_model(out, trained, pca=pca)
    if rows and measured:
        write_rows(rows, measured)
    click.echo(json.dumps(_as_json(info, measured, out)) if as_json else _as_text(info, measured, out))


def _as_json(info: "BundleInfo", measured: "Measured | None", out: Path) -> dict[str, Any]:
    return {
        "model": str(out),
        "head": info.head,
        "classes": list(info.class_set.names),
        "rows": info.trained_on["rows"],
        "left_out_none": info.trained_on["left_out_none"],
        "left_out_several": info.trained_on["left_out_several"],
        "left_out_classes": info.trained_on["left_out_classes"],
        "left_out_class_names": info.trained_on["left_out_class_names"],
        "protocol": info.protocol,
        "folds": info.folds,
        "background": info.trained_on["background"],
        "decision": info.decision.to_json(),
        "metrics": measured.to_json() if measured else None,
        "rejection": measured.rejection.to_json() if measured and measured.rejection else None,
    }


def _as_text(info: "BundleInfo", measured: "Measured | None", out: Path) -> str:
    from app.terminal.tables import measured_text
    from classifiers.report.page import how_measured
    from classifiers.targets import some_of

    made, classes = info.trained_on, counted(len(info.class_set.classes), "class")
    rows = counted(made["rows"] - made["background"], "row")
    if made["background"]:
        rows += f" and {made['background']:,} of background"
    lines = [
        f"{out}: {info.head} head for {classes}, trained on {rows} "
        f"({made['left_out_none']:,} left out with none of the classes, {made['left_out_several']:,} with several)"
    ]
    if rare := made["left_out_class_names"]:
        lines.append(
            f"left out for having too few recordings (--min-sources): {counted(len(rare), 'class')}, {some_of(rare)}"
        )
    if measured:
        lines += ["", f"Measured on {how_measured(info)}:", measured_text(measured)]
    else:
        lines += ["", f"note: {info.caveat}"]
    return "\n".join([*lines, "", f"report: {out / 'report.html'}"])
