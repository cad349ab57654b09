"""What a head is trained to tell apart, and which rows of a store teach it."""

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import numpy.typing as npt

from classifiers.protocol import sources_of_classes
from embeddings.mapped import take, zeros
from ingest.audioset.choose import relatives
from ingest.audioset.class_sets import NONE_OF_THESE, ClassSet, Mode, SoundClass, class_set_names, find_class_set
from ingest.audioset.labels import display_name, load_labels, mid_of, mid_or_none
from ingest.counted import counted
from ingest.errors import UsageError

ALL_BACKGROUND = -1
"""In place of a number of rows of background: all there are."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What a class set makes of a table.

    rows: int [k], the rows that are used, ascending.
    values: float32 [k, classes], 1 where the row has the class, else 0; very many lie in a file (`embeddings.mapped`).
    left_out_none, left_out_several: rows not used because they have none of the classes, or more than one.
    background: how many of the rows are there for having none of the classes: their values are all 0.
    """

    rows: npt.NDArray[np.intp]
    values: npt.NDArray[np.float32]
    left_out_none: int
    left_out_several: int
    background: int = 0


def resolve_class_set(text: str | None, labels: Sequence[tuple[str, ...]]) -> ClassSet:
    """The class set that `--classes` means.

    Args:
        text: the name of a file in data/class_sets, a path to a .toml file, or class names separated by ';'.
            None: every label of the store is a class.
        labels: the labels of each row of the store; they decide what a name means, and the mode of None.
    Raises:
        UsageError: a name that is none of these, a .toml file that is not a class set, or a store without labels.
    """
    known = sorted({label for row in labels for label in row} - {NONE_OF_THESE})
    if text is None:
        return _all_labels(labels, known)
    if class_set := find_class_set(text):
        return class_set
    names = [name.strip() for name in text.split(";") if name.strip()]
    classes = tuple(SoundClass(name, (_label_named(name, known),)) for name in dict.fromkeys(names))
    if not classes:
        raise UsageError("--classes: needs at least one class, got none; name classes separated by ';'")
    return ClassSet(_title(classes), "single" if len(classes) > 1 else "multi", classes)


def without_rare(
    class_set: ClassSet, labels: Sequence[tuple[str, ...]], sources: Sequence[str], least: int
) -> ClassSet:
    """The class set without the classes that fewer than `least` sources have sounds of.

    Raises:
        UsageError: no class is left, or a single one of those of which each row has exactly one.
    """
    targets = make_targets(labels, class_set, need_all=False)
    per_class, _ = sources_of_classes(targets.values, [sources[i] for i in targets.rows])
    kept = tuple(c for c, n in zip(class_set.classes, per_class, strict=True) if n >= least)
    if len(kept) < (2 if class_set.mode == "single" else 1):
        raise UsageError(
            f"--min-sources {least}: leaves {len(kept)} of {counted(len(class_set.classes), 'class')}, the most "
            f"frequent with sounds of {counted(int(per_class.max()), 'source')}; ask for fewer, or add sounds"
        )
    return replace(class_set, classes=kept)


def require_some_row(labels: Sequence[tuple[str, ...]], class_set: ClassSet) -> None:
    """Raise UsageError where a store has nothing to measure a model on: no row has any of its classes."""
    if not label_columns(labels, class_set):
        raise UsageError(
            f"EMB: no row has a class of this model, {some_of(class_set.names)} (of {counted(len(labels), 'row')}, "
            f"{_labels_in_words(labels)}); name a store with such labels, or use `earshot predict`"
        )


def label_columns(labels: Sequence[tuple[str, ...]], class_set: ClassSet) -> dict[str, int]:
    """The labels of a store that mean a class -> its number. The others are left out.

    A label is a class's by itself, or else by its name: a folder "dog" is AudioSet's Dog, "/m/0bt9lr".
    """
    exact = {mid: i for i, c in enumerate(class_set.classes) for mid in c.mids}
    named: dict[str, int] = {}
    for mid, i in exact.items():
        named.setdefault(display_name(mid).casefold(), i)
    found = {}
    for label in {label for row in labels for label in row}:
        column = exact.get(label, named.get(display_name(label).casefold()))
        if column is not None:
            found[label] = column
    return found


def make_targets(labels: Sequence[tuple[str, ...]], class_set: ClassSet, *, need_all: bool = True) -> Targets:
    """Choose the rows that a class set can use, and say which classes each of them has.

    Args:
        need_all: every class needs a row (to train); else one class with a row is enough (to measure).
    Raises:
        UsageError: a class that is needed has no row (the message names all such classes), or has every row, so that
            nothing teaches what it is not.
    """
    column = label_columns(labels, class_set)
    values = zeros((len(labels), len(class_set.classes)), np.float32)
    for row, mids in enumerate(labels):
        values[row, [column[mid] for mid in mids if mid in column]] = 1
    counts = values.sum(axis=1)
    used = counts == 1 if class_set.mode == "single" else np.ones(len(labels), bool)
    if class_set.balanced:
        used = _balanced(counts > 0, labels, class_set)
    targets = Targets(
        rows=np.flatnonzero(used),
        values=take(values, np.flatnonzero(used)),
        left_out_none=int((~used & (counts == 0)).sum()),
        left_out_several=int((~used & (counts > 1)).sum()),
    )
    support = targets.values.sum(axis=0)
    empty = [name for name, n in zip(class_set.names, support, strict=True) if n == 0]
    if empty and (need_all or len(empty) == len(support)):
        _refuse_never_alone(class_set, values)
        missing = f"any of the {len(empty)} classes" if len(empty) == len(support) > 3 else some_of(empty)
        raise UsageError(
            f"--classes: no row has {missing} (of {counted(len(labels), 'row')}, {_labels_in_words(labels)}); "
            "leave the class out, or embed sounds of it"
        )
    everywhere = [name for name, n in zip(class_set.names, support, strict=True) if n == len(targets.values)]
    if everywhere and need_all:
        raise UsageError(
            f"--classes: every row has {some_of(everywhere)} (of {counted(len(targets.values), 'row')}), and nothing "
            "teaches what it is not; embed sounds without it, or leave the class out"
        )
    return targets


def add_background(
    targets: Targets, labels: Sequence[tuple[str, ...]], class_set: ClassSet, n: int, rng: np.random.Generator
) -> Targets:
    """`targets` with n more rows, drawn from those that have labels but neither a class nor a relative of one.

    Args:
        n: ALL_BACKGROUND takes every row with labels and without a class, relatives too: a bark that nobody called
            "Dog" then teaches what is no dog, which is what measures on AudioSet's labels will ask for.

    Raises:
        UsageError: a class set of mode "multi", which learns from such rows anyway; or there are none.
    """
    if class_set.mode == "multi":
        raise UsageError(
            "--background: a class set of mode multi learns from every row of the store already; leave --background out"
        )
    strangers = rows_of_strangers(labels, class_set, relatives_too=n == ALL_BACKGROUND)
    if not len(strangers):
        raise UsageError(
            f"--background: of {counted(len(labels), 'row')} none is without a class and its relatives in the "
            "ontology; add sounds of other classes to the store, or leave --background out"
        )
    chosen = rng.permutation(strangers)[: None if n == ALL_BACKGROUND else n]
    rows = np.concatenate([targets.rows, chosen])
    values = np.concatenate([targets.values, np.zeros((len(chosen), targets.values.shape[1]), np.float32)])
    order = np.argsort(rows)
    return Targets(
        rows=rows[order],
        values=values[order],
        left_out_none=targets.left_out_none - len(chosen),
        left_out_several=targets.left_out_several,
        background=len(chosen),
    )


def rows_of_strangers(
    labels: Sequence[tuple[str, ...]], class_set: ClassSet, *, relatives_too: bool = False
) -> npt.NDArray[np.intp]:
    """Rows that have labels, but no class; nor a relative of one in the ontology, unless these are wanted too."""
    known = set(label_columns(labels, class_set))
    stranger = np.array([bool(mids) and known.isdisjoint(mids) for mids in labels], bool)
    return np.flatnonzero(stranger if relatives_too else stranger & ~rows_with_relatives(labels, class_set))


def rows_with_relatives(labels: Sequence[tuple[str, ...]], class_set: ClassSet) -> npt.NDArray[np.bool_]:
    """Bool [n]: the row has a label that is a class's, or above or below one in the ontology."""
    family = relatives(_in_ontology(mid) for c in class_set.classes for mid in c.mids)
    related = {label for row in labels for label in row if _in_ontology(label) in family}
    return np.array([not related.isdisjoint(mids) for mids in labels], bool)


@cache
def _in_ontology(label: str) -> str:
    """The mid of a label, by itself or by its name; the label where AudioSet has none such."""
    return label if label in load_labels().by_mid else mid_or_none(label) or label


def _refuse_never_alone(class_set: ClassSet, values: npt.NDArray[np.float32]) -> None:
    """Raise UsageError where a row should have one class, and some class has rows, but never without another.

    Args:
        values: [n, classes], of all rows.
    """
    if class_set.mode == "multi":
        return
    alone = np.flatnonzero(values[values.sum(axis=1) == 1].any(axis=0))
    together = np.setdiff1d(np.flatnonzero(values.any(axis=0)), alone)
    if len(together):
        named = some_of([class_set.names[int(c)] for c in together])
        raise UsageError(
            f"--classes: rows with {named} all have another of the classes too, and here a row has exactly one; leave "
            'the class out, or name a .toml file of the classes with mode = "multi"'
        )


def _balanced(
    has_class: npt.NDArray[np.bool_], labels: Sequence[tuple[str, ...]], class_set: ClassSet
) -> npt.NDArray[np.bool_]:
    """Which rows a balanced class set uses: as many with a class as strangers. The lots are always the same."""
    sides = np.flatnonzero(has_class), rows_of_strangers(labels, class_set)
    if len(sides[0]) and not len(sides[1]):
        raise UsageError(
            f"--classes: {class_set.title!r} wants as many rows without {' or '.join(class_set.names)} as with it, and "
            f"of {counted(len(labels), 'row')} none is without it and its relatives in the ontology; embed other "
            "sounds too"
        )
    fewest, lots = min(map(len, sides)), np.random.default_rng(0)
    used = np.zeros(len(labels), bool)
    for rows in sides:
        used[lots.permutation(rows)[:fewest]] = True
    return used


def _all_labels(labels: Sequence[tuple[str, ...]], known: list[str]) -> ClassSet:
    """Every label is a class; two that people call the same, a name and AudioSet's mid for it, are one."""
    if not known:
        raise UsageError(
            "--classes: the store's rows have no labels; embed audio with labels: `earshot ingest folder` makes them"
        )
    mids: dict[str, list[str]] = {}
    for label in known:
        mids.setdefault(display_name(label), []).append(label)
    name_of = {label: name for name, of_class in mids.items() for label in of_class}
    several = any(len({name_of[label] for label in row if label in name_of}) > 1 for row in labels)
    mode: Mode = "multi" if several or len(mids) == 1 else "single"
    return ClassSet("All labels", mode, tuple(SoundClass(name, tuple(of_class)) for name, of_class in mids.items()))


def _title(classes: Sequence[SoundClass], most: int = 3) -> str:
    """What a problem is called that was given by the names of its classes."""
    named = ", ".join(c.name for c in classes[:most])
    return named if len(classes) <= most else f"{named} and {len(classes) - most} more"


def some_of(names: Sequence[str], most: int = 5) -> str:
    """Names for a message: the first of them, and how many more there are."""
    return ", ".join(map(repr, names[:most])) + f" and {len(names) - most:,} more" * (len(names) > most)


def _labels_in_words(labels: Sequence[tuple[str, ...]], most: int = 5) -> str:
    """What the rows of a store have: "labelled Dog, Siren and 3 more"."""
    found = [display_name(mid) for mid, _ in Counter(mid for row in labels for mid in row).most_common()]
    if not found:
        return "none with a label"
    more = f" and {len(found) - most} more" if len(found) > most else ""
    return f"labelled {', '.join(found[:most])}{more}"


def _label_named(name: str, known: Sequence[str]) -> str:
    """The label behind a class name: one that the store has, by its own or by AudioSet's name, else AudioSet's."""
    own = {display_name(label).casefold(): label for label in known} | {label.casefold(): label for label in known}
    for label in (name, mid_or_none(name), own.get(name.casefold())):
        if label and label in known:
            return label
    try:
        return mid_of(name)
    except UsageError as error:
        if close := difflib.get_close_matches(name.casefold(), own, n=3):
            in_words = " or ".join(dict.fromkeys(repr(display_name(own[label])) for label in close))
            raise UsageError(f"--classes: no row has the label {name!r}; did you mean {in_words}?") from error
        raise UsageError(
            f"--classes: {error}; give a class set ({', '.join(class_set_names())}), a .toml file, or names of labels "
            "separated by ';'"
        ) from error
