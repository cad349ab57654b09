"""Touches the disk: measured rows with their scores as CSV, for whoever computes something of their own from them."""

import csv
from pathlib import Path

import numpy as np

from classifiers.measures.measured import Measured
from ingest.places.files import atomic_path

COLUMNS = ("key", "source", "start_s", "end_s", "truth", "answer")
"""A column for each class follows, with the score that mAP and AUC are of. truth: the classes of the row, answer: those
that count as given, ";" between several."""


def write_rows(path: Path, measured: Measured) -> None:
    """Write every row that the measures are of, in their order; background has none of the classes and is not there."""
    names, rows = np.array(measured.metrics.class_names), measured.rows
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*COLUMNS, *names])
        for i, (key, source) in enumerate(zip(rows.keys, rows.sources, strict=True)):
            truth, answer = (";".join(names[flags]) for flags in (measured.truth[i] > 0.5, measured.said[i]))
            scores = (f"{score:.7g}" for score in measured.ranked[i])
            writer.writerow([key, source, f"{rows.start_s[i]:.3f}", f"{rows.end_s[i]:.3f}", truth, answer, *scores])
