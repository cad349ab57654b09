"""Chooses segments: by class, quota, quality, and lot. Pure: lists in, lists out.

Lots are drawn from the seed and the segment's own key, never from its place in a list. So the same seed chooses the
same segments from a list in any order, a smaller `--limit` is a part of a larger one, and what is chosen comes in the
order of the lots: a run that is stopped halfway holds a fair sample of the whole.
"""

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ingest.audioset.class_sets import SoundClass, with_children
from ingest.audioset.labels import ancestors, descendants, display_name
from ingest.audioset.quality import Quality
from ingest.audioset.segments import Segment
from ingest.errors import UsageError


@dataclass(frozen=True, slots=True)
class Choice:
    """What to choose. The defaults choose everything.

    classes: segments with at least one of these; none given: all segments.
    exclude: segments with any of these are left out, whatever else they have.
    with_children: the classes, and the excluded ones, take in what is below them in the ontology.
    per_class: choose so many segments of each class, or as many as there are; see `balanced`.
    background: choose so many segments beside, with none of the classes nor their relatives in the ontology.
    min_quality: a label counts as a sign of its class only when raters found at least this share of it right.
    limit: at most so many in all, by lot.
    """

    classes: tuple[SoundClass, ...] = ()
    exclude: tuple[SoundClass, ...] = ()
    with_children: bool = False
    per_class: int | None = None
    background: int = 0
    min_quality: float | None = None
    limit: int | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.background and not self.classes:
            raise UsageError("--background: is what holds none of the classes; name them with --classes")
        if both := {m for c in self.classes for m in c.mids} & {m for c in self.exclude for m in c.mids}:
            raise UsageError(f"--exclude: {display_name(min(both))!r} is among --classes too; take it out of one")


@dataclass(frozen=True, slots=True)
class ClassCount:
    """available: segments in the list that could be chosen for the class. chosen: segments chosen that have it."""

    name: str
    available: int
    chosen: int


@dataclass(frozen=True, slots=True)
class Chosen:
    """The segments in the order of their lots, and how they came about.

    classes: one count for each class asked for, or for each label of the list.
    background: the count of what was chosen as background; None when none was asked for.
    distrusted: mids that did not count, as their quality is unknown or too low.
    """

    segments: list[Segment]
    classes: tuple[ClassCount, ...]
    background: ClassCount | None
    distrusted: tuple[str, ...]


def choose(segments: Iterable[Segment], choice: Choice, quality: Mapping[str, Quality] | None = None) -> Chosen:
    """Choose from a list.

    Args:
        segments: with different keys.
        quality: of each label; a label that it does not hold is unrated. Needed for `min_quality` only.
    """
    excluded = _mids(_expanded(choice.exclude, choice.with_children))
    allowed = [s for s in segments if excluded.isdisjoint(s.mids)]
    asked = _expanded(choice.classes, choice.with_children) or _every_label(allowed)
    distrusted = _distrusted(asked, choice.min_quality, quality or {})
    classes_of = _ClassesOf([set(c.mids).difference(distrusted) for c in asked])
    related = relatives(_mids(asked)) if choice.background else frozenset()

    def stranger(segment: Segment) -> bool:
        return bool(choice.background and segment.mids) and related.isdisjoint(segment.mids)

    anything = not choice.classes and choice.per_class is None and choice.min_quality is None
    pool = [s for s in allowed if anything or classes_of[s.mids] or stranger(s)]
    pool.sort(key=lambda s: lot(choice.seed, s.key))
    rows = [classes_of[s.mids] for s in pool]
    background = [i for i, s in enumerate(pool) if stranger(s)]
    kept = {i for i, row in enumerate(rows) if anything or row}
    if choice.per_class is not None:
        kept = set(balanced(rows, choice.per_class))
    final = sorted(kept.union(background[: choice.background]))[: choice.limit]
    available = Counter(c for row in rows for c in row)
    chosen = Counter(c for i in final for c in rows[i])
    return Chosen(
        segments=[pool[i] for i in final],
        classes=tuple(ClassCount(c.name, available[n], chosen[n]) for n, c in enumerate(asked)),
        background=_background_count(background, final) if choice.background else None,
        distrusted=distrusted,
    )


def balanced(rows: Sequence[tuple[int, ...]], per_class: int) -> list[int]:
    """Choose rows so that each class has `per_class` of them, or all there are; the places of the chosen, ascending.

    A row has any number of classes, so no choice gives every class the same count. Classes are filled from the rarest
    to the commonest, each counting what the ones before have brought along; of the rows that would do, those go first
    that spill least into classes already full, then those that stand first. So a class exceeds `per_class` only
    through rows that a rarer class needed.

    Args:
        rows: the classes of each row, as numbers.
    """
    places: dict[int, list[int]] = {}
    for place, row in enumerate(rows):
        for c in row:
            places.setdefault(c, []).append(place)
    chosen: set[int] = set()
    have: Counter[int] = Counter()
    for c in sorted(places, key=lambda c: (len(places[c]), c)):
        free = [place for place in places[c] if place not in chosen]
        free.sort(key=lambda place: sum(have[other] >= per_class for other in rows[place]))
        for place in free[: max(0, per_class - have[c])]:
            chosen.add(place)
            have.update(rows[place])
    return sorted(chosen)


def relatives(mids: Iterable[str]) -> frozenset[str]:
    """The labels with everything above and below them in the ontology: whatever may hold their sound."""
    asked = frozenset(mids)
    return asked.union(*(ancestors(mid) | descendants(mid) for mid in asked))


def lot(seed: int, key: str) -> bytes:
    """What a segment draws: the same for the same seed and key, whatever else is in the list."""
    return hashlib.blake2b(f"{seed} {key}".encode(), digest_size=8).digest()


class _ClassesOf(dict[tuple[str, ...], tuple[int, ...]]):
    """The labels of a segment -> the numbers of its classes. Few sets of labels make up millions of segments."""

    def __init__(self, classes: Sequence[set[str]]) -> None:
        super().__init__()
        self._of_mid: dict[str, list[int]] = {}
        for number, mids in enumerate(classes):
            for mid in mids:
                self._of_mid.setdefault(mid, []).append(number)

    def __missing__(self, mids: tuple[str, ...]) -> tuple[int, ...]:
        found = self[mids] = tuple(sorted({number for mid in mids for number in self._of_mid.get(mid, ())}))
        return found


def _expanded(classes: tuple[SoundClass, ...], children: bool) -> tuple[SoundClass, ...]:
    return tuple(map(with_children, classes)) if children else classes


def _every_label(segments: Iterable[Segment]) -> tuple[SoundClass, ...]:
    mids = sorted({mid for labels in {s.mids for s in segments} for mid in labels})
    return tuple(SoundClass(display_name(mid), (mid,)) for mid in mids)


def _mids(classes: Iterable[SoundClass]) -> frozenset[str]:
    return frozenset(mid for c in classes for mid in c.mids)


def _distrusted(classes: Iterable[SoundClass], least: float | None, quality: Mapping[str, Quality]) -> tuple[str, ...]:
    if least is None:
        return ()
    return tuple(sorted(mid for mid in _mids(classes) if mid not in quality or not quality[mid].reaches(least)))


def _background_count(background: Sequence[int], final: Iterable[int]) -> ClassCount:
    return ClassCount("background", len(background), len(set(background).intersection(final)))
