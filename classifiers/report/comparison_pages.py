"""What people and programs read of a comparison: CSV, Markdown and one HTML page. Pure: data in, text out."""

import csv
import io

from classifiers.comparison.compare import Compared, Comparison, Measure
from classifiers.measures.intervals import OVERALL, Interval
from classifiers.report.numbers import format_number
from classifiers.report.page import how_measured_by
from classifiers.report.templates import render
from ingest.counted import counted

REJECTED = ("auc", "accepted_at_keep")
SHORT = {"accuracy": "accuracy", "balanced_accuracy": "balanced accuracy", "mAP": "mAP", "auc": "AUC"}


def render_csv(made: Comparison) -> str:
    """A line a head; empty where there is nothing to say."""
    text = io.StringIO()
    columns = [f"{name}{part}" for name in OVERALL for part in ("", "_spread", "_low", "_high")]
    ends = ["background_auc", "background_accepted_at_keep", "fit_s", "predict_s"]
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["head", *columns, "behind_best", "behind_low", "behind_high", *ends, "refused"])
    for row in made.heads:
        measures = [row.measures.get(name) for name in OVERALL]
        values = [value for m in measures for value in ((m.mean, m.spread, *_ends(m.interval)) if m else (None,) * 4)]
        rejected = [row.rejected.get(name) for name in REJECTED]
        writer.writerow(
            [row.head, *values, row.behind, *_ends(row.interval), *rejected, row.fit_s, row.predict_s, row.refused]
        )
    return text.getvalue()


def render_markdown(made: Comparison) -> str:
    """The table of heads, and below it how to read it."""
    background = ["background AUC", let_in(made)] if made.background else []
    heads = ["head", *SHORT.values(), f"behind the best in {SHORT[made.by]}", *background, "fit", "predict"]
    table = [heads, ["---"] * len(heads)]
    for row in made.heads:
        if row.refused:
            continue
        measures = [_mean_and_spread(row.measures[name]) for name in OVERALL]
        rejected = [format_number(row.rejected.get(name)) for name in REJECTED] if made.background else []
        table.append(
            [row.head, *measures, behind_text(row), *rejected, seconds_text(row.fit_s), seconds_text(row.predict_s)]
        )
    widths = [max(len(line[i]) for line in table) for i in range(len(heads))]
    lines = ["| " + " | ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)) + " |" for line in table]
    lines[1] = "|" + "|".join("-" * (w + 2) for w in widths) + "|"
    refused = [f"- {row.head} was left out: {row.refused}" for row in made.heads if row.refused]
    return "\n".join([describe(made), "", *lines, "", *refused, *([""] if refused else []), HOW_TO_READ, ""])


HOW_TO_READ = (
    "Mean ± standard deviation over folds and seeds; a fold's calibration and thresholds come from the others. Behind "
    "the best: the difference over all test rows taken together, with a 95 % interval over sources, rows paired; an "
    "interval that holds 0 says that the two cannot be told apart. Seconds are of one fold."
)


def render_page(made: Comparison, *, store: str, command: str) -> str:
    """The page: the table with bars and intervals, classes by head, how it was measured, how to make it again."""
    good = [row for row in made.heads if not row.refused]
    scale = _scale([row.measures[made.by] for row in good])
    return render(
        "compare.html.jinja",
        made=made,
        good=good,
        refused=[row for row in made.heads if row.refused],
        describe=describe(made),
        by=SHORT[made.by],
        overall=OVERALL,
        short=SHORT,
        scale=scale,
        classes=_classes(good),
        how_to_read=HOW_TO_READ,
        let_in=let_in(made),
        seconds_text=seconds_text,
        behind_text=behind_text,
        store=store,
        command=command,
    )


def describe(made: Comparison) -> str:
    """What was compared on what, in a sentence or two."""
    rows = counted(made.rows - made.background, "row")
    if made.background:
        rows += f" and {made.background:,} of background"
    seeds = f", with {len(made.seeds)} seeds" if len(made.seeds) > 1 else ""
    heads, classes = sum(not row.refused for row in made.heads), len(made.class_names)
    return (
        f"{counted(heads, 'head')} for {counted(classes, 'class')} ({made.title}) on {made.encoder} "
        f"embeddings: {rows}, of {counted(made.sources, 'source')}. Measured on "
        f"{how_measured_by(made.protocol, len(made.folds))}{seeds}: {counted(made.tested, 'row')}."
    )


def let_in(made: Comparison) -> str:
    """The head of the column that says how much background is accepted."""
    return f"let in, {made.keep:.0%} kept"


def behind_text(row: Compared) -> str:
    """'best', or '.012 [.001, .024]'."""
    if row.interval is None:
        return "best" if row.behind == 0 else format_number(row.behind)
    low, high = row.interval
    return f"{format_number(row.behind)} [{format_number(low)}, {format_number(high)}]"


def seconds_text(seconds: float | None) -> str:
    """0.0123 -> '12 ms', 3.21 -> '3.2 s', 125 -> '125 s'."""
    if seconds is None:
        return "–"
    if seconds < 0.995:
        return f"{seconds * 1000:.0f} ms"
    return f"{seconds:.1f} s" if seconds < 99.5 else f"{seconds:.0f} s"


def _mean_and_spread(measure: Measure) -> str:
    spread = f" ± {format_number(measure.spread)}" if measure.spread is not None else ""
    return f"{format_number(measure.mean)}{spread}"


def _ends(interval: Interval | None) -> tuple[float | None, float | None]:
    return interval or (None, None)


def _scale(measures: list[Measure]) -> tuple[float, float]:
    """The part of [0, 1] that the bars show: from a little below the lowest interval."""
    ends = [end for m in measures for end in (m.mean, *(m.interval or ())) if end is not None]
    if not ends:
        return 0.0, 1.0
    low, high = min(ends), max(ends)
    margin = max(0.02, 0.25 * (high - low))
    return max(0.0, low - margin), min(1.0, high + margin)


def _classes(good: list[Compared]) -> list[tuple[str, int, list[float | None]]]:
    """Name, support and each head's average precision, the hardest class for the best head first."""
    if not good or good[0].metrics is None:
        return []
    columns = [row.metrics.per_class for row in good if row.metrics]
    rows = [(of[0].name, of[0].support, [one.ap for one in of]) for of in zip(*columns, strict=True)]
    return sorted(rows, key=lambda row: row[2][0] if row[2][0] is not None else 2)
