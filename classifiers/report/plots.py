"""The geometry of the report's pictures: measures in, SVG points and bars out. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from classifiers.measures.measured import KnownScores, Measured
from classifiers.measures.metrics import precision_recall_curve
from classifiers.measures.reliability import Calibration

MAX_CURVES = 30
CURVE_POINTS = 60
CURVE_BOX = (120.0, 90.0)
"""Width and height of a precision-recall plot, in SVG units."""
SQUARE = 200.0
"""Width and height of the reliability plot."""
BARS_BOX = (300.0, 75.0)
"""Width of a histogram, and height of each of its two halves."""
KNOWN_BINS = 25


@dataclass(frozen=True, slots=True)
class Curve:
    """A class's precision-recall curve: SVG points in CURVE_BOX, recall to the right, precision upwards."""

    name: str
    ap: float
    support: int
    points: str


@dataclass(frozen=True, slots=True)
class Dot:
    """A bin of the reliability plot: its place and radius in SVG units, and what it says."""

    x: float
    y: float
    r: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar of a histogram: its place and size in SVG units, and what it says."""

    x: float
    y: float
    width: float
    height: float
    text: str


@dataclass(frozen=True, slots=True)
class Mirror:
    """Two histograms over scores from 0 to 1, one upwards, one downwards; each is of its own total.

    up, down: bars in a box of BARS_BOX wide and twice as high. mark: x of a threshold, or None.
    """

    up: list[Bar]
    down: list[Bar]
    mark: float | None


def precision_recall_curves(measured: Measured) -> list[Curve]:
    """Curves of the classes with positives, largest first, at most MAX_CURVES."""
    truth = measured.truth > 0.5
    rows = sorted(enumerate(measured.metrics.per_class), key=lambda item: -item[1].support)
    return [
        Curve(row.name, row.ap, row.support, _curve_points(*precision_recall_curve(truth[:, c], measured.ranked[:, c])))
        for c, row in rows[:MAX_CURVES]
        if row.ap is not None
    ]


def reliability_dots(calibration: Calibration) -> list[Dot]:
    """A dot for each bin with scores, as large as it has scores."""
    most = max(calibration.count)
    dots = []
    for count, confidence, right in zip(calibration.count, calibration.confidence, calibration.right, strict=True):
        if confidence is None or right is None:
            continue
        text = f"{count:,} scores near {confidence:.2f}: {100 * right:.0f} % right"
        dots.append(Dot(confidence * SQUARE, (1 - right) * SQUARE, 2.5 + 6 * (count / most) ** 0.5, text))
    return dots


def confidence_bars(measured: Measured) -> Mirror:
    """Scores of right answers upwards, of wrong ones downwards."""
    both = measured.confidence
    return Mirror(_bars(both.right_bins, "right answers"), _bars(both.wrong_bins, "wrong answers", down=True), None)


def known_bars(known: KnownScores, threshold: float | None) -> Mirror:
    """Scores that any class is there: rows of the classes upwards, background downwards, and the working point."""
    up, down = (np.histogram(values, KNOWN_BINS, (0, 1))[0] for values in (known.classes, known.background))
    mark = None if threshold is None else threshold * BARS_BOX[0]
    return Mirror(_bars(up, "rows with a class"), _bars(down, "rows of background", down=True), mark)


def _bars(counts: Sequence[int] | npt.NDArray[np.integer], what: str, *, down: bool = False) -> list[Bar]:
    width, height = BARS_BOX
    step, most, total = width / len(counts), max(*counts, 1), max(sum(counts), 1)
    bars = []
    for i, count in enumerate(counts):
        if not count:
            continue
        tall = max(float(count) / most * (height - 4), 0.8)
        text = (
            f"{count:,} {what} ({100 * count / total:.0f} %) with a score of "
            f"{i / len(counts):.2f} to {(i + 1) / len(counts):.2f}"
        )
        bars.append(Bar(i * step + 0.8, height if down else height - tall, step - 1.6, tall, text))
    return bars


def _curve_points(precision: npt.NDArray[np.floating], recall: npt.NDArray[np.floating]) -> str:
    """The curve at CURVE_POINTS recalls; at each the precision is the best that still reaches it."""
    width, height = CURVE_BOX
    best = np.maximum.accumulate(precision[::-1])[::-1]
    at = np.linspace(0, 1, CURVE_POINTS)
    y = best[np.minimum(np.searchsorted(recall, at), len(best) - 1)]
    return " ".join(f"{r * width:.1f},{(1 - p) * height:.1f}" for r, p in zip(at, y, strict=True))
