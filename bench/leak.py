"""What a leak does to a number: the same head on the same rows, shuffled against grouped by recording.

AudioSet's released features, city10's classes, 40 recordings a class. Each recording is cut in two ways that data sets
are cut in: slices side by side, and windows that overlap. `earshot` itself refuses splits that part the pieces of a
recording, so they are made here, by hand. Value: accuracy of shuffled rows. Floor: of the same rows grouped.

Expected before measuring: .95 shuffled, .70 grouped. Slices side by side turned out less alike than that.
"""

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.clips import shared_folder
from bench.result import LeftOutError, Result
from classifiers.heads import TrainingData, fit_head
from classifiers.protocol import grouped_folds
from classifiers.train import TrainSettings, prepare
from embeddings.features import features_spec, store_features
from embeddings.store import EmbeddingStore
from embeddings.table import EmbeddingTable
from ingest.audioset.features import read_features
from ingest.audioset.tfrecord import SegmentFeatures

PER_CLASS, FOLDS = 40, 5
CUTS = {"2 s side by side": (2, 2), "5 s every second": (5, 1)}
"""Name -> seconds of a piece, and from one piece to the next; a patch is about a second."""
SVC = {"costs": (10.0,), "gammas": (0.1,)}


def run() -> list[Result]:
    shared = shared_folder()
    if not shared:
        raise LeftOutError("needs AudioSet's balanced features in EARSHOT_SHARED")
    spec = features_spec()
    table = _table(read_features(shared / "audioset" / "audioset_v1_embeddings" / "bal_train"))
    data = prepare(table, spec, TrainSettings(classes="city10", protocol="none")).data
    some = data.select(_some(data))
    return [_result(name, _cut(some, length, step)) for name, (length, step) in CUTS.items()]


def _result(name: str, pieces: TrainingData) -> Result:
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(pieces.targets)) % FOLDS
    grouped = grouped_folds(pieces.targets, pieces.sources, FOLDS, rng)
    value, floor = (_accuracy(pieces, folds) for folds in (shuffled, grouped))
    note = f"{len(pieces.targets)} pieces of {len(set(pieces.sources))} recordings"
    return Result(f"shuffled, {name}", value, floor, "acc.", "grouped is lower", floor < value, note)


def _accuracy(data: TrainingData, folds: npt.NDArray[np.intp]) -> float:
    """Accuracy of all rows, each answered by a head that did not learn from it."""
    right = 0
    for k in range(FOLDS):
        test = np.flatnonzero(folds == k)
        head = fit_head("svc", data.select(np.flatnonzero(folds != k)), seed=0, changes=SVC)
        said = head.predict(data.vectors[test], data.mask[test]).scores.argmax(axis=1)
        right += int((said == data.targets[test].argmax(axis=1)).sum())
    return right / len(data.targets)


def _some(data: TrainingData) -> npt.NDArray[np.intp]:
    """PER_CLASS whole recordings of each class, by lot."""
    rng = np.random.default_rng(0)
    whole = data.mask.all(axis=1)
    return np.sort(
        np.concatenate([rng.permutation(np.flatnonzero(whole & (column > 0)))[:PER_CLASS] for column in data.targets.T])
    )


def _cut(data: TrainingData, length: int, step: int) -> TrainingData:
    """Each row as several of `length` patches, `step` patches apart, of the same source."""
    starts = range(0, data.vectors.shape[1] - length + 1, step)
    pieces = np.stack([data.vectors[:, start : start + length] for start in starts], axis=1)
    repeated = data.select(np.repeat(np.arange(len(data.targets)), len(starts)))
    vectors: Any = pieces.reshape(-1, length, data.vectors.shape[2])
    return replace(repeated, vectors=vectors, mask=np.ones(vectors.shape[:2], bool))


def _table(features: Iterable[SegmentFeatures]) -> EmbeddingTable:
    with TemporaryDirectory() as folder:
        store_features(features, Path(folder), "balanced")
        return EmbeddingStore.open(Path(folder)).load()
