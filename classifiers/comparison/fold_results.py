"""Touches the disk: scores of one head on one split, kept so that a comparison that was stopped goes on where it was.

A file is named by all that its scores depend on, so that nothing is taken for what it is not; it is there whole or
not at all. Files of other data or settings may lie beside it.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.heads import HEADS, HeadScores, TrainingData
from classifiers.protocol import Split
from classifiers.shallow.search import SPACES
from ingest.foreign import DAMAGED_NPZ
from ingest.places.files import atomic_path

FORMAT_VERSION = 1


@dataclass(frozen=True, slots=True)
class FoldResult:
    """What one head said of one split's test rows.

    said: `scores` and `known`, not calibrated.
    fit_s, predict_s: seconds of wall clock. chosen: what the head chose inside its training part, or None.
    """

    said: HeadScores
    fit_s: float
    predict_s: float
    chosen: dict[str, Any] | None


def problem_digest(data: TrainingData, fingerprint: str, version: str) -> str:
    """What all results on these rows have in common, as a hash.

    Args:
        data: with it go the search spaces, which are the user's to edit.
        fingerprint: of the rows of `data`, see `train.fingerprint`. version: of Earshot.
    """
    digest = hashlib.sha256(json.dumps([FORMAT_VERSION, version, fingerprint, data.mode, data.class_names]).encode())
    digest.update("\0".join(data.sources).encode())
    digest.update(repr(data.class_mids).encode())
    digest.update(SPACES.read_bytes())
    digest.update(np.ascontiguousarray(data.targets).data)
    return digest.hexdigest()


def result_name(head: str, changes: dict[str, Any], seed: int, split: Split, *, problem: str) -> str:
    """The file's name: head, seed and split for people, and a hash of all that the scores depend on.

    Args:
        problem: see `problem_digest`.
    """
    row = HEADS[head]
    content = json.dumps([problem, row.name, row.module, dict(row.settings), changes, seed], default=str)
    digest = hashlib.sha256(content.encode())
    for rows in (split.train, split.test):
        digest.update(rows.astype(np.int64).tobytes())
    return f"{head}-seed{seed}-{re.sub('[^a-z0-9]+', '', split.name)}-{digest.hexdigest()[:16]}.npz"


def read_result(path: Path, n: int, n_classes: int) -> FoldResult | None:
    """A finished result of n rows; None where there is none, or one that is damaged and has to be made again."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            facts = json.loads(str(arrays["facts"]))
            said = HeadScores(arrays["scores"], known=arrays.get("known"))
    except DAMAGED_NPZ:  # a file that is not there among them
        return None
    if said.scores.shape != (n, n_classes):
        return None
    return FoldResult(said, facts["fit_s"], facts["predict_s"], facts["chosen"])


def write_result(path: Path, result: FoldResult) -> None:
    """Write a result whole or not at all."""
    facts = json.dumps({"fit_s": result.fit_s, "predict_s": result.predict_s, "chosen": result.chosen}, default=str)
    arrays = {"scores": result.said.scores, "facts": np.array(facts)}
    if result.said.known is not None:
        arrays["known"] = result.said.known
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
