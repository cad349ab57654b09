"""`earshot models`: models that are ready, models that need no training, models made small."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.options.places import HereType, WeightsType
from ingest.counted import counted

if TYPE_CHECKING:
    from embeddings.runtimes.tf import LiteWeights


@click.group()
def command() -> None:
    """Models that are ready to use, and how to make one without training."""


@command.command(
    "list",
    epilog="""\b
Examples:
  earshot models list
  earshot models list --json
  earshot predict NAME street.wav        a name from the list stands for the folder of a model
""",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(as_json: bool) -> None:
    """Name the models that came with Earshot, with their numbers."""
    from classifiers.bundle import MODELS, read_info, ready_models
    from classifiers.pack import bundle_bytes

    rows = [_about(name, read_info(MODELS / name), bundle_bytes(MODELS / name)) for name in ready_models()]
    if as_json:
        click.echo(json.dumps({"models": rows}))
        return
    for row in rows:
        measures = ("accuracy", "mAP") if row["mode"] == "single" else ("mAP",)  # all 527 right in a row are few
        numbers = "".join(f", {name} {row[name]:.3f}" for name in measures if row[name] is not None)
        click.echo(
            f"{row['name']:<14} {row['title']}: {counted(row['classes'], 'class')}, {row['head']} on {row['encoder']}"
            f"{numbers}, {row['bytes'] / 1e6:.1f} MB"
        )
    if not rows:
        click.echo("none came with this copy; `earshot models native` makes one at once, `earshot train` a better one")


@command.command(
    short_help="YAMNet alone as a model of AudioSet's classes.",
    epilog="""\b
Examples:
  earshot models native --classes city10 --out city
  earshot models native --classes "Speech;Dog;Siren" --out three
  earshot predict city street.wav

Measured on nothing: `earshot train EMB --head yamnet-native` measures the same head on sounds with labels.
""",
)
@click.option("--classes", required=True, metavar="SET", help="A class set, a .toml file, or names separated by ';'.")
@click.option("--out", required=True, type=HereType(), help="Folder of the model.")
@click.option("--weights", type=WeightsType(), help="A folder with a yamnet.h5 of your own.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def native(classes: str, out: Path, weights: Path | None, as_json: bool) -> None:
    """Make a model of YAMNet alone for any of AudioSet's classes: no sounds, no training."""
    from dataclasses import replace

    from classifiers.bundle import check_free, save_bundle
    from classifiers.native import untrained
    from classifiers.report.page import render_card, render_report
    from classifiers.targets import resolve_class_set

    check_free(out)
    info, head = untrained(resolve_class_set(classes, []), weights)
    words = ["earshot", "models", "native", "--classes", classes, "--out", str(out)]
    info = replace(info, command=shlex.join(words))
    pages = {"report.html": render_report(info, None), "card.md": render_card(info)}
    save_bundle(out, info, head, sources=[], pages=pages)
    said = {"model": str(out), "head": info.head, "classes": list(info.class_set.names)}
    click.echo(
        json.dumps(said)
        if as_json
        else f"{out}: {counted(len(info.class_set.classes), 'class')} read off YAMNet's own scores\n"
        f"next: earshot predict {shlex.quote(str(out))} SOUND.wav"
    )


@command.command(
    epilog="""\b
Examples:
  earshot models pack city --out city-small
  earshot models pack my-model --weights int8 --out small

What is left out: the form of the head for the engine that trained it, and the report. Measure what it costs:
`earshot evaluate` on both.
"""
)
@click.argument("model", type=HereType())
@click.option("--out", required=True, type=HereType(), help="Folder of the small model.")
@click.option(
    "--weights",
    type=click.Choice(["float32", "float16", "int8"]),
    help="How a LiteRT head shall store its weights. Default: as they are.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def pack(model: Path, out: Path, weights: "LiteWeights | None", as_json: bool) -> None:
    """Copy a model without what only training needs."""
    from classifiers.bundle import find_bundle
    from classifiers.pack import bundle_bytes
    from classifiers.pack import pack as packed

    folder = find_bundle(model)
    before, after = bundle_bytes(folder), packed(folder, out, weights)
    said = {"model": str(out), "weights": weights, "bytes_before": before, "bytes": after}
    click.echo(json.dumps(said) if as_json else f"{out}: {after / 1e6:.2f} MB of {before / 1e6:.2f} MB")


def _about(name: str, info: Any, size: int) -> dict[str, Any]:
    return {
        "name": name,
        "title": info.class_set.title,
        "classes": len(info.class_set.classes),
        "mode": info.class_set.mode,
        "head": info.head,
        "encoder": info.spec.encoder,
        "accuracy": info.metrics.accuracy if info.metrics else None,
        "mAP": info.metrics.mAP if info.metrics else None,
        "bytes": size,
        "command": info.command,
    }
