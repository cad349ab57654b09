"""What people read of a head: one HTML file that opens offline, and a card in Markdown. Pure: data in, text out."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.bundle import BundleInfo
from classifiers.heads import HEADS
from classifiers.metrics import Metrics, precision_recall_curve
from classifiers.train import Measured

TEMPLATE = Path(__file__).with_name("report.html.jinja")
MAX_MATRIX = 40
"""Classes in a confusion matrix that can still be read."""
MAX_CURVES = 60
CURVE_POINTS = 60
CURVE_BOX = (120.0, 90.0)
"""Width and height of a precision-recall plot, in SVG units."""

HOW_MEASURED = {
    "folds": "the data set's own {n} folds, each scored by a head trained on the others",
    "cv5": "{n}-fold cross-validation: each row scored by a head that saw nothing of its recording",
    "split": "one fifth of the recordings, held out",
}


@dataclass(frozen=True, slots=True)
class Curve:
    """A class's precision-recall curve: SVG points in CURVE_BOX, recall to the right, precision upwards."""

    name: str
    ap: float
    support: int
    points: str


def render_report(info: BundleInfo, measured: Measured | None, measured_on: str | None = None) -> str:
    """The report.

    Args:
        measured: out-of-fold scores, or those on another store; None when nothing was measured.
        measured_on: the other store; None for out-of-fold scores.
    Returns:
        HTML with everything in it: no scripts, no fonts, nothing from the network.
    """
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["number"] = format_number
    metrics = measured.metrics if measured else None
    return environment.from_string(TEMPLATE.read_text()).render(
        info=info,
        head=HEADS[info.head],
        metrics=metrics,
        how_measured=measured_on or how_measured(info),
        elsewhere=measured_on is not None,
        headline=headline(metrics) if metrics else [],
        classes=sorted(metrics.per_class, key=lambda row: -(row.ap or 0)) if metrics else [],
        matrix=_matrix(metrics) if metrics else None,
        confused=_most_confused(metrics) if metrics else [],
        curves=_curves(measured) if measured else [],
        box=CURVE_BOX,
        facts=_facts(info),
    )


def render_card(info: BundleInfo) -> str:
    """The card: what the model is, how good, on what, and what it is not for."""
    metrics = info.metrics
    numbers = [f"| {label} | {value} |" for label, value, _ in headline(metrics)] if metrics else []
    table = ["| measure | |", "|---|---|", *numbers] if numbers else ["Nothing was measured (protocol none)."]
    lines = [
        f"# {info.class_set.title}: {info.head} on {info.spec.encoder}",
        "",
        f"Classes: {'; '.join(info.class_set.names)}.",
        "",
        "## Measured" + (f" on {how_measured(info)}" if metrics else ""),
        "",
        *table,
        "",
        "## Made from",
        "",
        *(f"- {label}: {value}" for label, value in _facts(info)),
        "",
        "## Limits",
        "",
        f"- It knows its classes only: {_of_other_sounds(info)}.",
        f"- It takes vectors of the encoder {info.spec.encoder} and refuses others.",
        "- The measures hold for sounds like those it was trained on.",
    ]
    return "\n".join(lines) + "\n"


def _of_other_sounds(info: BundleInfo) -> str:
    """What becomes of sounds that are none of the classes."""
    if info.class_set.mode == "multi":
        return "of other sounds it says none when all scores are low"
    if info.background:
        return (
            f"it learned other sounds as background, and rejects those that are not known well enough to keep "
            f"{info.decision.keep:.0%} of its classes"
        )
    return "other sounds are given to one of them (scores sum to 1), as nothing taught it background: --background"


def headline(metrics: Metrics) -> list[tuple[str, str, str]]:
    """Name, value and meaning of the measures, the most telling first."""
    single = metrics.mode == "single"
    return [
        ("accuracy", format_number(metrics.accuracy), "rows named right" if single else "rows with every class right"),
        ("balanced accuracy", format_number(metrics.balanced_accuracy), "mean over classes, rare ones count as much"),
        ("mAP", format_number(metrics.mAP), f"mean average precision of {metrics.classes_scored} classes"),
        ("AUC", format_number(metrics.auc), "a sound of the class scores above another"),
        ("d′", format_number(metrics.d_prime, 2), "the same in standard deviations"),
        *_calibration_line(metrics),
        ("rows", f"{metrics.n:,}", "that were scored"),
    ]


def _calibration_line(metrics: Metrics) -> list[tuple[str, str, str]]:
    if metrics.calibration_error is None:
        return []
    before = format_number(metrics.calibration_error_before)
    meaning = f"between a score and how often it is right; before calibration {before}"
    return [("calibration error", format_number(metrics.calibration_error), meaning)]


def how_measured(info: BundleInfo) -> str:
    """The protocol in words."""
    return HOW_MEASURED.get(info.protocol, "nothing").format(n=len(info.folds))


def format_number(value: float | None, places: int = 3) -> str:
    """0.8125 -> '.813', None -> '–'."""
    if value is None:
        return "–"
    text = f"{value:.{places}f}"
    return text[1:] if text.startswith("0.") else text


def _matrix(metrics: Metrics) -> list[dict[str, Any]] | None:
    """Rows of the confusion matrix with counts and shares of the true class; None where it would not be readable."""
    if metrics.mode != "single" or len(metrics.class_names) > MAX_MATRIX:
        return None
    counts = np.array(metrics.confusion)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [
        {"name": name, "cells": list(zip(counts[i].tolist(), shares[i].tolist(), strict=True))}
        for i, name in enumerate(metrics.class_names)
    ]


def _most_confused(metrics: Metrics, most: int = 6) -> list[tuple[str, str, int, float]]:
    """True class, what it was taken for, how often, and the share of the true class."""
    if metrics.mode != "single":
        return []
    counts = np.array(metrics.confusion)
    support = counts.sum(axis=1)
    np.fill_diagonal(counts, 0)
    pairs = [np.unravel_index(i, counts.shape) for i in np.argsort(-counts, axis=None, kind="stable")[:most]]
    names = metrics.class_names
    return [(names[t], names[p], int(counts[t, p]), float(counts[t, p] / support[t])) for t, p in pairs if counts[t, p]]


def _curves(measured: Measured) -> list[Curve]:
    """Curves of the classes with positives, largest first, at most MAX_CURVES."""
    truth = measured.truth > 0.5
    rows = sorted(enumerate(measured.metrics.per_class), key=lambda item: -item[1].support)
    return [
        Curve(row.name, row.ap, row.support, _svg_points(*precision_recall_curve(truth[:, c], measured.scores[:, c])))
        for c, row in rows[:MAX_CURVES]
        if row.ap is not None
    ]


def _svg_points(precision: npt.NDArray[np.floating], recall: npt.NDArray[np.floating]) -> str:
    """The curve at CURVE_POINTS recalls; at each the precision is the best that still reaches it."""
    width, height = CURVE_BOX
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.linspace(0, 1, CURVE_POINTS)
    y = best[np.minimum(np.searchsorted(recall, at), len(best) - 1)]
    return " ".join(f"{r * width:.1f},{(1 - p) * height:.1f}" for r, p in zip(at, y, strict=True))


def _facts(info: BundleInfo) -> list[tuple[str, str]]:
    """What it was trained on and with, as label and text."""
    made = info.trained_on
    left_out = f"{made['left_out_none']:,} with none of the classes, {made['left_out_several']:,} with several"
    chosen = info.head_settings.get("chosen")
    facts = [
        ("rows", f"{made['rows']:,} of {made['sources']:,} recordings"),
        ("left out", left_out if made["left_out_none"] or made["left_out_several"] else "no rows"),
        ("store", made["store"] or "in memory"),
        ("fingerprint", made["fingerprint"][:16]),
        ("encoder", f"{info.spec.encoder}: {info.spec.dim} x {info.spec.dtype} every {info.spec.hop_s:g} s"),
        ("encoder's weights", ", ".join(f"{k} {v[:12]}" for k, v in info.spec.weights.items()) or "not published"),
        ("head", f"{info.head}: {HEADS[info.head].summary}"),
        ("settings", ", ".join(f"{k} {_plain(v)}" for k, v in info.head_settings.items() if k != "chosen")),
        ("chosen by search", ", ".join(f"{k} {_plain(v)}" for k, v in chosen.items()) if chosen else ""),
        ("seed", str(info.seed)),
        ("date", made["date"]),
        ("versions", ", ".join(f"{k} {v}" for k, v in made["versions"].items() if v)),
    ]
    return [(label, text) for label, text in facts if text]


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "/".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)
