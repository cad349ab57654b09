"""earshot ingest: segments become audio, folders manifests, released features stores."""

import json
import shlex
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click

from app.commands import metadata, status, youtube
from app.options.places import HereType
from app.terminal.progress import bar_type
from ingest.audio.clip import AudioItem
from ingest.audioset.labels import display_name
from ingest.counted import are, counted
from ingest.datasets import AUTO, DATASETS, choose_dataset, csv_manifest, folders
from ingest.errors import FormatError, UsageError, one_line
from ingest.ledger.file import FILE_NAME as LEDGER
from ingest.manifest import MANIFEST, write_manifest

_SHOWN_DAMAGE = 5


@click.group()
def command() -> None:
    """Turn what is there into what `earshot embed` or `earshot train` take."""


command.add_command(youtube.youtube)
command.add_command(status.status)
command.add_command(metadata.metadata)


@command.command(
    short_help="Labelled audio in a folder -> a manifest.",
    epilog="""\b
Examples:
  earshot ingest folder ESC-50/ --out clips                 layout found by itself
  earshot ingest folder sounds/ --layout csv --out clips    sounds/*.csv with path, labels, maybe fold and source
  earshot embed clips --encoder yamnet --out emb            what comes next
""",
)
@click.argument("folder", type=HereType())
@click.option(
    "--layout",
    type=click.Choice([AUTO, *DATASETS]),
    default=AUTO,
    show_default=True,
    help="What tells the labels: a known data set's files, a CSV file, or the folders.",
)
@click.option("--split", help="Only this part of a data set that has parts: train, val, test, eval ...")
@click.option("--out", type=HereType(), required=True, help="Folder for manifest.parquet.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def folder(folder: Path, layout: str, split: str | None, out: Path, as_json: bool) -> None:
    """List a folder of labelled audio in a manifest. The audio stays where it is."""
    if (out / LEDGER).exists():
        raise UsageError(f"--out: {out} is of `earshot ingest youtube`, and its {MANIFEST} would be lost; name another")
    dataset = choose_dataset(folder, layout)
    items = _of_split(dataset.items(folder), split)
    if not items:
        raise UsageError(f"{folder}: holds no audio in the layout {dataset.name}; name another folder or layout")
    missing = _missing(folder, items)
    manifest = write_manifest(out, items)
    if layout == AUTO and dataset is folders.DATASET and (tables := csv_manifest.unread(folder)):
        click.echo(
            f"note: the labels are the folders' names, and nothing was read of {tables}; a CSV needs path and labels",
            err=True,
        )
    if missing:
        click.echo(f"warning: {_missing_text(missing, items)}; `earshot embed` will pass them over", err=True)
    summary = {
        "manifest": str(manifest),
        "layout": dataset.name,
        "items": len(items),
        "missing": len(missing),
        "unlabelled": sum(not item.mids for item in items),
        "sources": len({item.source for item in items}),
        **_counts(items),
        "licence": dataset.licence,
        "citation": dataset.citation,
        "next": f"earshot embed {shlex.quote(str(out))} --encoder yamnet --out EMB",
    }
    click.echo(json.dumps(summary) if as_json else _folder_text(summary))


def _of_split(items: list[AudioItem], split: str | None) -> list[AudioItem]:
    if split is None:
        return items
    found = [item for item in items if item.about.get("split") == split]
    if not found:
        known = sorted({item.about["split"] for item in items if "split" in item.about})
        raise UsageError(f"--split: no file is in {split!r}; this layout has {', '.join(known) or 'no splits'}")
    return found


def _missing(folder: Path, items: list[AudioItem]) -> list[AudioItem]:
    """The items that no file is there of, for a table names what it likes."""
    missing = [item for item in items if isinstance(item.path, Path) and not item.path.is_file()]
    if len(missing) == len(items):
        raise UsageError(f"{folder}: {_missing_text(missing, items)}; see that it is unpacked, and where paths begin")
    return missing


def _missing_text(missing: list[AudioItem], items: list[AudioItem]) -> str:
    share = f"{len(missing):,} of {counted(len(items), 'file')} {are(len(missing))} not there"
    return f"{share}, {one_line(str(missing[0].path))} first"


def _counts(items: Iterable[AudioItem]) -> dict[str, dict[str, int]]:
    """How many items each class and each fold has."""
    items = list(items)
    classes = Counter(name for item in items for name in set(map(display_name, item.mids)))
    folds = Counter(item.fold for item in items if item.fold is not None)
    return {
        "classes": dict(sorted(classes.items())),
        "folds": {str(fold): folds[fold] for fold in sorted(folds)},
    }


def _folder_text(summary: dict[str, Any]) -> str:
    from app.terminal.tables import columns_of, padded

    width = columns_of("", *summary["classes"])
    lines = [f"  {padded(name, width)}  {count:5}" for name, count in summary["classes"].items()]
    lines.append(
        f"{counted(summary['items'], 'file')} of {counted(summary['sources'], 'recording')}, layout {summary['layout']}"
    )
    if summary["unlabelled"]:
        lines.append(f"without a label: {summary['unlabelled']}")
    if summary["folds"]:
        lines.append("folds: " + ", ".join(f"{fold}: {count}" for fold, count in summary["folds"].items()))
    if summary["licence"]:
        lines += [f"licence: {summary['licence']}", f"cite: {summary['citation']}"]
    return "\n".join([*lines, f"wrote {summary['manifest']}", f"next: {summary['next']}"])


@command.command(
    short_help="AudioSet's released VGGish features -> a store.",
    epilog="""\b
Examples:
  earshot ingest features audioset_v1_embeddings/ --split bal_train --out balanced
  earshot ingest features features.tar.gz --split eval --out eval
  earshot train balanced --classes city10 --head attention --out model    what comes next
""",
)
@click.argument("source", type=HereType())
@click.option("--out", type=HereType(), required=True, help="The embedding store to write.")
@click.option("--split", help="Only this folder of it: bal_train, eval or unbal_train.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def features(source: Path, out: Path, split: str | None, as_json: bool) -> None:
    """Make a store of AudioSet's released VGGish features: a folder of tfrecords, or the tar as it is."""
    from embeddings.features import store_features
    from ingest.audioset.features import read_features

    damage: list[FormatError] = []
    records = bar_type()(
        read_features(source, split, damage.append), desc="records", unit="", mininterval=1.0, delay=1.0
    )
    rows = store_features(records, out, f"features-{split or 'all'}")
    for error in damage[:_SHOWN_DAMAGE]:
        click.echo(f"left out: {error}", err=True)
    if len(damage) > _SHOWN_DAMAGE:
        click.echo(f"left out: {len(damage) - _SHOWN_DAMAGE} more", err=True)
    following = shlex.join(
        ["earshot", "train", str(out), "--classes", "city10", "--head", "attention", "--out", "MODEL"]
    )
    if as_json:
        click.echo(json.dumps({"store": str(out), "rows": rows, "damage": list(map(str, damage)), "next": following}))
    else:
        click.echo(f"{counted(rows, 'row')} in {out}, {counted(len(damage), 'record')} left out\nnext: {following}")
