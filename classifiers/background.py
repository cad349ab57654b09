"""Heads that know when they know nothing: background is one more class to train, and comes back as `known`.

It works for every head of the table, because the head itself sees nothing but a problem with one class more.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.heads import (
    FittedHead,
    Head,
    HeadScores,
    Progress,
    Runtime,
    TrainingData,
    fit_head,
    head_row,
    load_head,
)
from embeddings.embedding import Vectors
from ingest.audioset.class_sets import Mode

BACKGROUND = "(background)"


class RejectingHead:
    """A head trained with background as its last class, and what it says without that class."""

    def __init__(self, head: Head) -> None:
        self.head = head

    def predict(self, vectors: Vectors, mask: npt.NDArray[np.bool_]) -> HeadScores:
        return without_background(self.head.predict(vectors, mask))


class FittedRejectingHead(RejectingHead):
    """The same, just trained."""

    def __init__(self, head: FittedHead) -> None:
        super().__init__(head)
        self.settings: dict[str, Any] = head.settings
        self.save = head.save


def has_background(data: TrainingData) -> bool:
    """Whether rows stand there to teach what is none of the classes."""
    return data.mode == "single" and bool((data.targets.sum(axis=1) == 0).any())


def fit_with_background(
    name: str, data: TrainingData, seed: int, progress: Progress, changes: Mapping[str, Any]
) -> FittedHead:
    """Train a head by name; where `data` has background, the head learns that too. Arguments as `fit_head`."""
    if not has_background(data) or head_row(name).knows_background:
        return fit_head(name, data, seed, progress, changes)
    none = 1 - data.targets.sum(axis=1, keepdims=True)
    wider = replace(data, targets=np.hstack([data.targets, none]), class_names=(*data.class_names, BACKGROUND))
    return FittedRejectingHead(fit_head(name, wider, seed, progress, changes))


def load_with_background(name: str, folder: Path, mode: Mode, runtime: Runtime, *, background: bool) -> Head:
    """Load what `fit_with_background` gave and `save` wrote."""
    head = load_head(name, folder, mode, runtime)
    return RejectingHead(head) if background and not head_row(name).knows_background else head


def without_background(said: HeadScores) -> HeadScores:
    """Take the last class, background, out of single-mode scores: the rest sums to 1 again, and `known` is its sum."""
    known = 1 - said.scores[:, -1]
    rest = said.scores[:, :-1]
    total = rest.sum(axis=1, keepdims=True)
    scores = np.where(total > 0, rest / np.maximum(total, 1e-30), 1 / rest.shape[1])
    patch_scores, attention = (v if v is None else v[..., :-1] for v in (said.patch_scores, said.attention))
    return HeadScores(scores.astype(np.float32), patch_scores, attention, known.astype(np.float32))


def known_scores(said: HeadScores, mode: Mode) -> npt.NDArray[np.float32]:
    """How likely a row has any of the classes, float32 [n] in [0, 1].

    What the head learnt of background; without that the highest score of a "single" head, and for a "multi" head
    1 - prod(1 - score), as if its classes were independent.
    """
    if said.known is not None:
        return said.known
    known = said.scores.max(axis=1) if mode == "single" else 1 - np.prod(1 - said.scores.astype(np.float64), axis=1)
    return known.astype(np.float32)
