"""The options that choose segments, shared by the commands that fetch them.

@choosing_options
def youtube(segments: Path, choosing: ChoosingOptions, ...):
    chosen = chosen_segments(segments, choosing)
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from app.options.gathering import gather
from app.options.numbers import FiniteRange
from app.options.places import HereType
from ingest.audioset.choose import Choice, Chosen, choose
from ingest.audioset.class_sets import classes_named
from ingest.audioset.quality import QUALITY_FILE, read_quality
from ingest.audioset.segments import BadRow, StrongEvent, read_segments
from ingest.counted import counted
from ingest.errors import UsageError

_SHOWN_BAD_ROWS = 10

_OPTIONS = (
    click.option("--classes", metavar="SET", help="A class set, a .toml file, or names or mids separated by ';'."),
    click.option("--with-children", is_flag=True, help="Classes take in what is below them in the ontology."),
    click.option("--exclude", metavar="NAMES", help="Leave out segments with any of these, separated by ';'."),
    click.option("--per-class", type=click.IntRange(min=1), metavar="N", help="So many segments of each class."),
    click.option("--background", type=click.IntRange(min=0), default=0, metavar="N", show_default=True,
                 help="So many segments beside that hold none of the classes nor their relatives."),
    click.option("--min-quality", type=FiniteRange(0, 1), metavar="Q",
                 help="Trust only labels that raters found right in this share of cases, e.g. 0.8."),
    click.option("--quality", type=HereType(), metavar="CSV",
                 help=f"AudioSet's {QUALITY_FILE}; looked for beside SEGMENTS when left out."),
    click.option("--strong", type=HereType(), metavar="TSV",
                 help="Strong labels to keep with the segments they belong to."),
    click.option("--limit", type=click.IntRange(min=1), metavar="N", help="At most so many in all, by lot."),
    click.option("--seed", type=int, default=0, show_default=True, help="Of the lots."),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ChoosingOptions:
    """The options as given; see their help."""

    classes: str | None = None
    with_children: bool = False
    exclude: str | None = None
    per_class: int | None = None
    background: int = 0
    min_quality: float | None = None
    quality: Path | None = None
    strong: Path | None = None
    limit: int | None = None
    seed: int = 0


@dataclass(frozen=True, slots=True)
class ChosenSegments:
    """What the options chose from a list.

    strong: the events of the chosen segments, by key, where they have any.
    bad_rows: by the file they stand in: the list of segments, and the strong labels.
    """

    chosen: Chosen
    strong: dict[str, list[StrongEvent]]
    bad_rows: dict[Path, list[BadRow]]


choosing_options = gather("choosing", ChoosingOptions, *_OPTIONS)
"""Gives a command the options above; they arrive as one argument, `choosing`."""


def chosen_segments(path: Path, options: ChoosingOptions) -> ChosenSegments:
    """Read a list of segments and choose from it.

    Raises:
        UsageError: a file that is not there or of another kind, a name that is no label, options that contradict each
            other, or nothing left to fetch.
        FormatError: AudioSet's quality file is damaged.
    """
    choice = Choice(
        classes=() if options.classes is None else classes_named(options.classes),
        exclude=() if options.exclude is None else classes_named(options.exclude),
        with_children=options.with_children,
        per_class=options.per_class,
        background=options.background,
        min_quality=options.min_quality,
        limit=options.limit,
        seed=options.seed,
    )
    quality = None
    if options.min_quality is not None:
        quality = read_quality(options.quality or path.parent / QUALITY_FILE)
    found = read_segments(path)
    strong, bad_rows = found.strong, {path: found.bad_rows}
    if options.strong:
        events = read_segments(options.strong)
        strong = events.strong
        bad_rows[options.strong] = events.bad_rows
    chosen = choose(found.segments, choice, quality)
    if not chosen.segments:
        of = counted(len(found.segments), "segment")
        raise UsageError(f"{path}: none of its {of} is asked for; ask for other --classes")
    keys = {s.key for s in chosen.segments} if strong else set()
    return ChosenSegments(chosen, {key: of_key for key, of_key in strong.items() if key in keys}, bad_rows)


def tell_bad_rows(bad_rows: Mapping[Path, Sequence[BadRow]]) -> None:
    """Name the first bad rows of each file on standard error, and how many more there are."""
    for path, rows in bad_rows.items():
        for bad in rows[:_SHOWN_BAD_ROWS]:
            click.echo(f"left out: {path}, {bad}", err=True)
        if len(rows) > _SHOWN_BAD_ROWS:
            click.echo(f"left out: {path}, {counted(len(rows) - _SHOWN_BAD_ROWS, 'more row')}", err=True)
