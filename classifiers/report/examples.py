"""The rows of a measurement that are worth hearing: confident mistakes, hard ones, and where attention lay. Pure."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from classifiers.measures.measured import Measured
from embeddings.embedding import item_key

PER_KIND = 6
CANDIDATES = 2000
"""So many of the worst are looked at; the rest is never sorted."""
MIN_PATCHES = 3
"""Of fewer patches attention says nothing."""
_YOUTUBE_ID = re.compile(r"[A-Za-z0-9_-]{11}")


@dataclass(frozen=True, slots=True)
class Patch:
    """One patch of a row: its share of the attention in [0, 1], and its own score of the class."""

    attention: float
    score: float


@dataclass(frozen=True, slots=True)
class Example:
    """One row and one of its classes.

    said: the class that was answered, with its score. true: the classes the row has.
    asked: the one of them that scored best, or that was missed most, with its score; None where it has none.
    offset_s: where the window begins in its file. link: the second on YouTube, or None.
    patches: what the head saw over time of the class in `said`; empty where it does not look at patches.
    """

    key: str
    path: str
    offset_s: float
    duration_s: float
    link: str | None
    said: str
    said_score: float
    true: tuple[str, ...]
    asked: str | None
    asked_score: float | None
    patches: tuple[Patch, ...] = ()


@dataclass(frozen=True, slots=True)
class Examples:
    """Rows worth a look: the wrong answers of highest score, the true classes of lowest score, and right answers
    whose attention lay on one place."""

    wrong: tuple[Example, ...]
    hardest: tuple[Example, ...]
    focused: tuple[Example, ...]

    def __iter__(self) -> Iterator[Example]:
        yield from (*self.wrong, *self.hardest, *self.focused)


def choose_examples(measured: Measured, per_kind: int = PER_KIND) -> Examples:
    """The worst and the most telling rows, each at most once, no two of one source in a list."""
    truth, said, scores = measured.truth > 0.5, measured.said, measured.scores
    taken: set[int] = set()
    wrong = _pick(measured, np.where(said & ~truth, scores, -1), taken, per_kind)
    hardest = _pick(measured, np.where(truth & ~said, 1 - scores, -1), taken, per_kind)
    focused = []
    if measured.patches is not None:
        best = measured.patches.best
        right = (truth & said)[np.arange(len(truth)), best] & (measured.patches.n_patches >= MIN_PATCHES)
        focus = np.where(right, measured.patches.attention.max(axis=1, initial=0), -1)
        table = np.full(scores.shape, -1.0)
        table[np.arange(len(truth)), best] = focus
        focused = _pick(measured, table, taken, per_kind, one_a_class=True)
    return Examples(
        tuple(_example(measured, row, c) for row, c in wrong),
        tuple(_example(measured, row, int(scores[row].argmax()), true=c) for row, c in hardest),
        tuple(_example(measured, row, c) for row, c in focused),
    )


def _pick(
    measured: Measured, worth: npt.NDArray[np.floating], taken: set[int], most: int, *, one_a_class: bool = False
) -> list[tuple[int, int]]:
    """The rows and classes worth most; below 0 is worth nothing. Adds the rows to `taken`."""
    chosen: list[tuple[int, int]] = []
    sources: set[str] = set()
    classes: set[int] = set()
    flat = worth.ravel()
    few = min(len(flat), CANDIDATES)
    order = np.argpartition(-flat, few - 1)[:few]
    order = order[np.lexsort((order, -flat[order]))]
    for row, c in zip(*np.unravel_index(order, worth.shape), strict=True):
        if len(chosen) == most or worth[row, c] < 0:
            break
        source = measured.rows.sources[row]
        if row in taken or source in sources or (one_a_class and c in classes):
            continue
        chosen.append((int(row), int(c)))
        taken.add(int(row))
        sources.add(source)
        classes.add(int(c))
    return chosen


def _example(measured: Measured, row: int, c: int, true: int | None = None) -> Example:
    rows, names, scores = measured.rows, measured.metrics.class_names, measured.scores[row]
    have = np.flatnonzero(measured.truth[row] > 0.5)
    asked = true if true is not None else (int(have[scores[have].argmax()]) if len(have) else None)
    patches: tuple[Patch, ...] = ()
    seen = measured.patches
    if seen is not None and c == seen.best[row] and seen.n_patches[row] >= MIN_PATCHES:
        n = int(seen.n_patches[row])
        pairs = zip(seen.attention[row, :n], seen.scores[row, :n], strict=True)
        patches = tuple(Patch(float(attention), float(score)) for attention, score in pairs)
    return Example(
        key=rows.keys[row],
        path=rows.paths[row],
        offset_s=_offset_s(rows.keys[row]),
        duration_s=float(rows.end_s[row] - rows.start_s[row]),
        link=_link(rows.keys[row], rows.sources[row], float(rows.start_s[row])),
        said=names[c],
        said_score=float(scores[c]),
        true=tuple(names[i] for i in have),
        asked=None if asked is None else names[asked],
        asked_score=None if asked is None else float(scores[asked]),
        patches=patches,
    )


def _offset_s(key: str) -> float:
    """Where a window begins in its file, as its key tells."""
    rest = key.removeprefix(item_key(key))
    return int(rest[1:]) / 1000 if rest else 0.0


def _link(key: str, source: str, start_s: float) -> str | None:
    if not _YOUTUBE_ID.fullmatch(source) or not key.startswith(f"{source}_"):
        return None
    return f"https://www.youtube.com/watch?v={source}&t={int(start_s)}s"
