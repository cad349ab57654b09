"""Reads data/audioset_labels.csv: the names, indices and kinship of AudioSet's labels."""

import csv
import difflib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ingest.errors import UsageError

LABELS_CSV = Path(__file__).resolve().parents[2] / "data" / "audioset_labels.csv"


@dataclass(frozen=True, slots=True)
class Label:
    """One node of the AudioSet ontology.

    audioset_index: among the 527 labels of the released data, or None.
    yamnet_index: among YAMNet's 521 scores, or None.
    parents: mids of the nodes right above it; a node may have several.
    """

    mid: str
    name: str
    audioset_index: int | None
    yamnet_index: int | None
    parents: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Labels:
    """All nodes of the ontology, by what they may be looked up with.

    by_mid: every label.
    audioset, yamnet: the mids in the order of their index, 527 and 521.
    children: mid -> the mids right below it; only for those that have any.
    """

    by_mid: dict[str, Label]
    audioset: tuple[str, ...]
    yamnet: tuple[str, ...]
    children: dict[str, tuple[str, ...]]


@cache
def load_labels() -> Labels:
    """The table, read once."""
    with LABELS_CSV.open(encoding="utf-8", newline="") as file:
        labels = [_label(row) for row in csv.DictReader(file)]
    children: dict[str, tuple[str, ...]] = {}
    for label in labels:
        for parent in label.parents:
            children[parent] = (*children.get(parent, ()), label.mid)
    audioset = {label.audioset_index: label.mid for label in labels if label.audioset_index is not None}
    yamnet = {label.yamnet_index: label.mid for label in labels if label.yamnet_index is not None}
    return Labels(
        by_mid={label.mid: label for label in labels},
        audioset=tuple(audioset[index] for index in range(len(audioset))),
        yamnet=tuple(yamnet[index] for index in range(len(yamnet))),
        children=children,
    )


def _label(row: dict[str, str]) -> Label:
    def index(column: str) -> int | None:
        return int(row[column]) if row[column] else None

    return Label(row["mid"], row["name"], index("audioset_index"), index("yamnet_index"), tuple(row["parents"].split()))


def display_name(mid: str) -> str:
    """The label's name; what is no AudioSet mid (a data set's own class name) is its own name."""
    label = load_labels().by_mid.get(mid)
    return label.name if label else mid


def mid_of(name: str) -> str:
    """The mid of a display name, in any letter case; a mid is its own.

    Raises:
        UsageError: no label has this name; the message holds those that come close.
    """
    labels = load_labels()
    if name in labels.by_mid:
        return name
    if found := mid_or_none(name):
        return found
    names = _mids_by_name()
    close = [display_name(names[match]) for match in difflib.get_close_matches(name.casefold(), names, n=3, cutoff=0.5)]
    remedy = f"did you mean {' or '.join(map(repr, close))}?" if close else "see data/audioset_labels.csv"
    raise UsageError(f"no AudioSet label is named {name!r}; {remedy}")


def mid_or_none(name: str) -> str | None:
    """The mid of a display name, in any letter case, or None."""
    return _mids_by_name().get(name.strip().casefold())


@cache
def _mids_by_name() -> dict[str, str]:
    return {label.name.casefold(): label.mid for label in load_labels().by_mid.values()}


def descendants(mid: str) -> frozenset[str]:
    """The mids of everything below a label in the ontology, the label itself left out."""
    children = load_labels().children
    found: set[str] = set()
    pending = list(children.get(mid, ()))
    while pending:
        if (child := pending.pop()) not in found:
            found.add(child)
            pending += children.get(child, ())
    return frozenset(found)


def ancestors(mid: str) -> frozenset[str]:
    """The mids of everything above a label in the ontology, the label itself left out."""
    labels = load_labels().by_mid
    found: set[str] = set()
    pending = [mid]
    while pending:
        label = labels.get(pending.pop())
        new = set(label.parents if label else ()) - found
        found |= new
        pending += new
    return frozenset(found)
