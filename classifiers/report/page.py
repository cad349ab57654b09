"""What people read of a head: one HTML file that opens offline, and a card in Markdown. Pure: data in, text out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from classifiers.bundle import BundleInfo
from classifiers.heads import HEADS
from classifiers.measures.intervals import Interval
from classifiers.measures.measured import Measured
from classifiers.measures.metrics import ClassMetrics, Metrics
from classifiers.measures.rejection import Rejection
from classifiers.report.examples import choose_examples
from classifiers.report.numbers import format_interval, format_number
from classifiers.report.plots import (
    BARS_BOX,
    CURVE_BOX,
    SQUARE,
    confidence_bars,
    known_bars,
    precision_recall_curves,
    reliability_dots,
)
from classifiers.report.templates import render
from classifiers.targets import some_of
from embeddings.encoders import ENCODERS
from ingest.counted import counted

MAX_MATRIX = 60
"""Classes in a confusion matrix that can still be read."""
MAX_LISTED = 40
"""Classes in the open table; more of them go into one that unfolds and can be searched."""
N_EXTREMES = 10
MAX_CONFUSED = 6

HOW_MEASURED = {
    "folds": "the data set's own {n} folds, each scored by a head trained on the others",
    "cv5": "{n}-fold cross-validation: each row scored by a head that saw nothing of its recording",
    "split": "one fifth of the recordings, held out",
}
INTERVAL_OF = {"accuracy": "accuracy", "balanced accuracy": "balanced_accuracy", "mAP": "mAP", "AUC": "auc"}
"""Label in `headline` -> measure that has an interval."""


@dataclass(frozen=True, slots=True)
class ClassRow:
    """A class in the table: its measures, and the interval of its average precision."""

    metrics: ClassMetrics
    interval: Interval | None


def render_report(
    info: BundleInfo,
    measured: Measured | None,
    measured_on: str | None = None,
    *,
    players: Mapping[str, str] | None = None,
    warning: str = "",
) -> str:
    """The report.

    Args:
        measured: out-of-fold scores, or those on another store; None when nothing was measured.
        measured_on: the other store; None for out-of-fold scores.
        warning: what whoever reads the measures must know, "" if nothing.
        players: audio of examples, see `players.load_players`.
    Returns:
        HTML with everything in it: no fonts, nothing from the network.
    """
    return render(
        "report.html.jinja",
        info=info,
        metrics=measured.metrics if measured else None,
        how_measured=measured_on or how_measured(info),
        elsewhere=measured_on is not None,
        warning=warning,
        facts=_facts(info),
        **(_measured_parts(info, measured, players or {}) if measured else {}),
    )


def _measured_parts(info: BundleInfo, measured: Measured, players: Mapping[str, str]) -> dict[str, Any]:
    """What the page shows of the measures."""
    metrics, intervals = measured.metrics, measured.intervals
    rows = [
        ClassRow(row, intervals.per_class[row.name]["ap"])
        for row in sorted(metrics.per_class, key=lambda row: -1 if row.ap is None else row.ap, reverse=True)
    ]
    scored = [row for row in rows if row.metrics.ap is not None]
    threshold = info.decision.known_threshold if metrics.mode == "single" else None
    return {
        "measured": measured,
        "headline": [
            (label, value, format_interval(intervals.overall.get(INTERVAL_OF.get(label, ""))), meaning)
            for label, value, meaning in headline(metrics)
            if label != "rows"
        ],
        "classes": rows,
        "extremes": (scored[:N_EXTREMES], scored[-N_EXTREMES:][::-1]) if len(rows) > MAX_LISTED else None,
        "matrix": _matrix(metrics),
        "confused": _most_confused(measured),
        "curves": precision_recall_curves(measured),
        "dots": reliability_dots(measured.calibration),
        "confidence": confidence_bars(measured),
        "known": known_bars(measured.known, threshold) if measured.known else None,
        "taken": most_taken(measured.rejection) if measured.rejection else [],
        "examples": choose_examples(measured),
        "players": players,
        "box": CURVE_BOX,
        "square": SQUARE,
        "bars": BARS_BOX,
    }


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
        *(["- The measures hold for sounds like those it was trained on."] if metrics else []),
    ]
    return "\n".join(lines) + "\n"


def _of_other_sounds(info: BundleInfo) -> str:
    """What becomes of sounds that are none of the classes."""
    if not info.decided:
        return f"of other sounds nobody measured what it says. {info.caveat[:1].upper()}{info.caveat[1:]}"
    if info.class_set.mode == "multi":
        return "of other sounds it says none when all scores are low"
    if info.background:
        return (
            f"it learned other sounds as background, and rejects those that are not known well enough to keep "
            f"{info.decision.keep:.0%} of its classes"
        )
    return (
        "nothing taught it other sounds (--background): scores sum to 1 whatever it hears, and it says none of these "
        f"only below the best score that {info.decision.keep:.0%} of its classes reach"
    )


def headline(metrics: Metrics) -> list[tuple[str, str, str]]:
    """Name, value and meaning of the measures, the most telling first."""
    single = metrics.mode == "single"
    return [
        (
            "accuracy",
            format_number(metrics.accuracy),
            "rows whose likeliest class is right" if single else "rows with every class right",
        ),
        ("balanced accuracy", format_number(metrics.balanced_accuracy), "mean over classes, rare ones count as much"),
        ("mAP", format_number(metrics.mAP), f"mean average precision of {counted(metrics.classes_scored, 'class')}"),
        ("AUC", format_number(metrics.auc), "a sound of the class scores above another"),
        ("d′", format_number(metrics.d_prime, 2), "the same in standard deviations"),
        *_calibration_line(metrics),
        ("rows", f"{metrics.n:,}", "that were scored"),
    ]


def _calibration_line(metrics: Metrics) -> list[tuple[str, str, str]]:
    if metrics.calibration_error is None:
        return []
    meaning = "between a score and how often it is right"
    if metrics.calibration_error_before != metrics.calibration_error:
        meaning += f"; before calibration {format_number(metrics.calibration_error_before)}"
    return [("calibration error", format_number(metrics.calibration_error), meaning)]


def how_measured(info: BundleInfo) -> str:
    """The protocol in words."""
    return how_measured_by(info.protocol, len(info.folds))


def how_measured_by(protocol: str, n_folds: int) -> str:
    """A protocol in words."""
    return HOW_MEASURED.get(protocol, "nothing").format(n=n_folds)


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


def _most_confused(measured: Measured, most: int = MAX_CONFUSED) -> list[tuple[str, str, int, float]]:
    """True class, what it was taken for, how often, and the share of the true class; the most frequent first."""
    metrics = measured.metrics
    if metrics.mode != "single":
        return []
    truth, said = (flags.argmax(axis=1) for flags in (measured.truth > 0.5, measured.said))
    wrong, classes = truth != said, len(metrics.class_names)
    pairs, counts = np.unique(truth[wrong] * classes + said[wrong], return_counts=True)
    rows = metrics.per_class
    return [
        (rows[t].name, rows[p].name, int(counts[i]), float(counts[i] / rows[t].support))
        for i in np.argsort(-counts, kind="stable")[:most]
        for t, p in [divmod(int(pairs[i]), classes)]
    ]


def most_taken(rejection: Rejection, most: int = 3) -> list[tuple[str, float]]:
    """The classes that most of the accepted background is taken for, with their shares of it."""
    taken = sorted(rejection.shares.items(), key=lambda item: -item[1])
    return [(name, share) for name, share in taken[:most] if share]


def _facts(info: BundleInfo) -> list[tuple[str, str]]:
    """What it was trained on and with, as label and text."""
    made = info.trained_on
    left_out = f"{made['left_out_none']:,} with none of the classes, {made['left_out_several']:,} with several"
    rare = made.get("left_out_class_names")  # which models of earlier versions do not tell
    chosen = {k: v for k, v in (info.head_settings.get("chosen") or {}).items() if v is not None}
    facts = [
        ("rows", f"{made['rows']:,} of {counted(made['sources'], 'recording')}" if made["rows"] else ""),
        (
            "left out",
            (left_out if made["left_out_none"] or made["left_out_several"] else "no rows") if made["rows"] else "",
        ),
        ("classes left out", f"{some_of(rare)}: too few recordings" if rare else ""),
        ("store", made["store"] or "in memory"),
        ("fingerprint", made["fingerprint"][:16]),
        ("encoder", f"{info.spec.encoder}: {info.spec.dim} x {info.spec.dtype} every {info.spec.hop_s:g} s"),
        ("encoder's weights", ", ".join(f"{k} {v[:12]}" for k, v in info.spec.weights.items()) or _unnamed(info)),
        ("head", f"{info.head}: {HEADS[info.head].summary}"),
        ("settings", ", ".join(f"{k} {_plain(v)}" for k, v in info.head_settings.items() if k != "chosen")),
        ("chosen by search", ", ".join(f"{k} {_plain(v)}" for k, v in chosen.items())),
        ("seed", str(info.seed)),
        ("date", made["date"]),
        ("versions", ", ".join(f"{k} {v}" for k, v in made["versions"].items() if v)),
    ]
    return [(label, text) for label, text in facts if text]


def _unnamed(info: BundleInfo) -> str:
    """Why no weights are named: AudioSet's released features keep theirs to themselves, and some encoders have none."""
    row = ENCODERS.get(info.spec.encoder)
    return "not published" if row is None or row.weights else "none needed"


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    return "/".join(map(_plain, value)) if isinstance(value, list | tuple) else str(value)
