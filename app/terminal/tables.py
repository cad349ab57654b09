"""Tables for the terminal. Pure."""

import unicodedata

from classifiers.measures.measured import Measured
from classifiers.measures.metrics import Metrics
from classifiers.measures.rejection import Rejection
from classifiers.measures.slices import Slice
from classifiers.report.numbers import format_interval, format_number
from classifiers.report.page import INTERVAL_OF, headline, most_taken
from ingest.counted import counted

MAX_CLASSES = 40
MAX_COLUMNS = 48


def measured_text(measured: Measured) -> str:
    """All measures for the terminal: the table, how sure they are, calibration, background and slices."""
    parts = [metrics_table(measured.metrics), certainty_lines(measured)]
    if measured.rejection:
        parts.append(rejection_lines(measured.rejection))
    parts += [slices_table(column, slices) for column, slices in measured.slices.items()]
    return "\n\n".join(parts)


def certainty_lines(measured: Measured) -> str:
    """Intervals and calibration, a line each."""
    intervals = measured.intervals
    ranges = [
        f"{label} {format_interval(interval)}"
        for label, name in INTERVAL_OF.items()
        if (interval := intervals.overall[name])
    ]
    sure, answered = measured.confidence, measured.answered
    given = ""
    if answered and answered.share < 1:
        given = (
            f"\n  at the working point {answered.share:.0%} of these rows are given a class, "
            f"{format_number(answered.right)} of them the right one; the others are \u201cnone of these\u201d (--keep)"
        )
    return (
        f"  95 % intervals over {counted(intervals.sources, 'source')}: {', '.join(ranges) or 'none, of one source'}\n"
        f"  calibration error {format_number(measured.calibration.ece)} ({measured.calibration.of}); right answers "
        f"score {format_number(sure.mean_right, 2)} on average, wrong ones {format_number(sure.mean_wrong, 2)}{given}"
    )


def slices_table(column: str, slices: list[Slice]) -> str:
    """A line for each value of a column."""
    width = columns_of(column, *(part.value for part in slices))
    lines = [f"  {padded(column, width)}  {slices[0].headline:>8}  95 % interval    rows"]
    for part in slices:
        value = part.metrics.accuracy if part.headline == "accuracy" else part.metrics.mAP
        lines.append(
            f"  {padded(part.value, width)}  {format_number(value):>8}  {format_interval(part.interval):<13}  "
            f"{part.metrics.n:>6}"
        )
    return "\n".join(lines)


def metrics_table(metrics: Metrics) -> str:
    """The measures on one line, then a line per class, best average precision first."""
    summary = "  ".join(f"{name} {value}" for name, value, _ in headline(metrics))
    rows = sorted(metrics.per_class, key=lambda row: -(row.ap or 0))
    shown = rows[:MAX_CLASSES]
    width = columns_of("class", *(row.name for row in shown))
    lines = [f"  {summary}", "", f"  {padded('class', width)}     ap  prec.  recall    f1  support"]
    lines += [
        f"  {padded(row.name, width)}  {format_number(row.ap):>5}  {format_number(row.precision):>5}  "
        f"{format_number(row.recall):>6}  {format_number(row.f1):>4}  {row.support:>7}"
        for row in shown
    ]
    if len(rows) > MAX_CLASSES:
        lines.append(f"  ... and {len(rows) - MAX_CLASSES} more: --json has them all")
    return "\n".join(lines)


def columns_of(*names: str) -> int:
    """Columns of a terminal that the widest of some names takes, MAX_COLUMNS at most."""
    return min(max(sum(map(_columns, " ".join(name.split()))) for name in names), MAX_COLUMNS)


def padded(name: str, width: int) -> str:
    """A name on one line, in so many columns of a terminal; what is too long is cut."""
    name = " ".join(name.split())
    if sum(map(_columns, name)) > width:
        while sum(map(_columns, name)) > width - 1:
            name = name[:-1]
        name += "…"
    return name + " " * (width - sum(map(_columns, name)))


def _columns(character: str) -> int:
    """Chinese characters and most pictures take two, accents that stand on the letter before take none."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1


def rejection_lines(rejection: Rejection) -> str:
    """How background fares, in a few lines."""
    lines = (
        f"  background ({counted(rejection.n, 'row')}): AUC {format_number(rejection.auc)}; with "
        f"{rejection.keep:.0%} of the classes kept {rejection.accepted_at_keep:.0%} of it is taken for one of "
        f"them; at the model's own working point {rejection.kept:.0%} and {rejection.accepted:.0%}"
    )
    if 0 < rejection.n_unrelated < rejection.n:
        lines += (
            f"\n  without relatives of the classes in the ontology ({counted(rejection.n_unrelated, 'row')}): "
            f"AUC {format_number(rejection.auc_unrelated)}, {rejection.accepted_unrelated:.0%} taken for one of them"
        )
    if most := most_taken(rejection):
        lines += f"\n  it is taken for {', '.join(f'{name} ({share:.0%})' for name, share in most)}"
    if rejection.largest_share_ratio is not None:
        lines += f"; no class collects more than {rejection.largest_share_ratio:.1f} times its share"
    return lines
