"""Tables for the terminal. Pure."""

from classifiers.metrics import Metrics
from classifiers.rejection import Rejection
from classifiers.report import format_number, headline

MAX_CLASSES = 40


def metrics_table(metrics: Metrics) -> str:
    """The measures on one line, then a line per class, best average precision first."""
    summary = "  ".join(f"{name} {value}" for name, value, _ in headline(metrics))
    rows = sorted(metrics.per_class, key=lambda row: -(row.ap or 0))
    shown = rows[:MAX_CLASSES]
    width = max(len(row.name) for row in shown)
    lines = [f"  {summary}", "", f"  {'class':<{width}}     ap  prec.  recall    f1  support"]
    lines += [
        f"  {row.name:<{width}}  {format_number(row.ap):>5}  {format_number(row.precision):>5}  "
        f"{format_number(row.recall):>6}  {format_number(row.f1):>4}  {row.support:>7}"
        for row in shown
    ]
    if len(rows) > MAX_CLASSES:
        lines.append(f"  ... and {len(rows) - MAX_CLASSES} more: --json has them all")
    return "\n".join(lines)


def rejection_lines(rejection: Rejection) -> str:
    """How background fares, in two lines."""
    lines = (
        f"  background ({rejection.n} rows): AUC {format_number(rejection.auc)}; with {rejection.keep:.0%} of the "
        f"classes kept {rejection.accepted_at_keep:.0%} of it is taken for one of them; at the model's own working "
        f"point {rejection.kept:.0%} and {rejection.accepted:.0%}"
    )
    if rejection.largest_share_ratio is None:
        return lines
    most = sorted(rejection.shares.items(), key=lambda item: -item[1])[:3]
    return lines + (
        f"\n  it is taken for {', '.join(f'{name} ({share:.0%})' for name, share in most)}; "
        f"no class collects more than {rejection.largest_share_ratio:.1f} times its share"
    )
