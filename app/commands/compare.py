"""`earshot compare`: several heads on the same rows and splits, in one table."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.options.engine import engine_options, start_engine
from app.options.places import HereType, StoreType
from app.options.problem import ProblemOptions, parse_changes, problem_options
from ingest.engines.engine import EngineSettings
from ingest.errors import UsageError

if TYPE_CHECKING:
    from ingest.places.arrow_folder import ArrowFolder
    from ingest.places.folder import LocalFolder


@click.command(
    epilog="""\b
Examples:
  earshot compare emb                                             every head for such a store, every label is a class
  earshot compare emb --classes city10 --heads svc,attention
  earshot compare emb --classes city10 --heads shallow,attention-family --seeds 3 --out table
  earshot compare emb --set svc.folds=5 --set attention.epochs=30 --heads svc,attention --json
  earshot compare emb --classes city10 --seeds 5 --engine ray --ray-address head:6379     head x fold x seed in parallel

Every head learns and is measured on the same splits, which never share a source. Stopped at any moment, the same
command goes on where it was. A head that refuses the data becomes a row that says why; where all do, that is an error.
"""
)
@click.argument("store", metavar="EMB", type=StoreType())
@problem_options("auto", "folds", "cv5", "split")
@click.option(
    "--heads",
    default="all",
    show_default=True,
    metavar="NAMES",
    help="Heads and families (shallow, attention-family, cnn ...), separated by ','; or all that the store is for.",
)
@click.option(
    "--seeds",
    type=click.IntRange(min=1),
    default=1,
    show_default=True,
    metavar="N",
    help="Measure with so many seeds from --seed on, each with splits and heads of its own.",
)
@click.option(
    "--set", "changes", multiple=True, metavar="HEAD.NAME=VALUE", help="A setting of one head; may be given again."
)
@click.option("--out", type=HereType(file_okay=False), help="Folder; by default EMB.compare.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@engine_options(local_workers="Processes that each fit one head on one split, 1 by default.", stall_minutes=120.0)
def command(  # noqa: PLR0917 - click passes them all by name
    store: "LocalFolder | ArrowFolder",
    problem: ProblemOptions,
    heads: str,
    seeds: int,
    changes: tuple[str, ...],
    out: Path | None,
    as_json: bool,
    engine: EngineSettings,
) -> None:
    """Measure several heads on one store, the same splits for all, and rank them with intervals."""
    from app.terminal.progress import ShareBar
    from classifiers.comparison.compare import CompareSettings, choose_heads, compare
    from classifiers.report.comparison_pages import render_csv, render_markdown, render_page
    from embeddings.store import EmbeddingStore
    from ingest.places.files import require_writable, write_whole

    opened = EmbeddingStore.open(store)
    chosen, left_out = choose_heads(heads, opened.spec)
    head_changes = parse_head_changes(changes, chosen)
    if left_out:
        click.echo(
            f"note: --heads all leaves out {', '.join(left_out)}: not made for {opened.spec.encoder}, where a vector "
            f"stands for a {opened.spec.vector_of}; what is named beside all is measured all the same",
            err=True,
        )
    out = out or store.beside(".compare")
    require_writable(out / "results")
    parallel = engine.name != "local" or (engine.workers or 1) > 1
    where = start_engine(engine, processes=engine.workers or 1) if parallel else None
    settings = CompareSettings(**problem.settings(), heads=chosen, seeds=seeds, head_changes=head_changes)
    words = ["earshot", "compare", str(store), *problem.words(), "--heads", heads, "--seeds", str(seeds)]
    words += [word for change in changes for word in ("--set", change)] + ["--out", str(out)]
    with ShareBar() as bar:
        made = compare(opened.load(), opened.spec, settings, out / "results", progress=bar, engine=where)
    said = {"store": str(store), "command": shlex.join(words)} | made.to_json()
    pages = {
        "compare.json": json.dumps(said, indent=2) + "\n",
        "compare.csv": render_csv(made),
        "compare.md": render_markdown(made),
        "report.html": render_page(made, store=str(store), command=shlex.join(words)),
    }
    for name, text in pages.items():
        write_whole(out / name, text)
    click.echo(json.dumps(said) if as_json else f"{render_markdown(made)}\nreport: {out / 'report.html'}")


def parse_head_changes(changes: tuple[str, ...], heads: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """("svc.folds=5",) -> {"svc": {"folds": 5}}."""
    parsed: dict[str, dict[str, Any]] = {}
    for change in changes:
        head, dot, setting = change.partition(".")
        if not dot or head not in heads:
            raise UsageError(
                f"--set: takes HEAD.NAME=VALUE with a head that is compared ({', '.join(heads)}), got {change!r}; "
                "for example --set svc.folds=5"
            )
        parsed.setdefault(head, {}).update(parse_changes((setting,)))
    return parsed
