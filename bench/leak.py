"""What a leak does to a number: the same head on the same rows, shuffled against grouped by recording.

AudioSet's released features, city10's classes, 60 recordings a class; each recording is cut into slices of two
seconds, near copies of each other, as in data sets that were cut from longer recordings. `earshot` itself refuses such
splits, so they are made here, by hand. Value: accuracy of shuffled rows. Floor: of the same rows grouped.

Expected before measuring: .95 shuffled, .70 grouped.
"""

from collections.abc import Iterable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import numpy.typing as npt

from bench.clips import shared_folder
from bench.result import Result
from classifiers.heads import TrainingData, fit_head
from classifiers.protocol import grouped_folds
from classifiers.train import TrainSettings, prepare
from embeddings.features import features_spec, store_features
from embeddings.store import EmbeddingStore
from embeddings.table import EmbeddingTable
from ingest.features import read_features
from ingest.tfrecord import SegmentFeatures

PER_CLASS, SLICE, FOLDS = 60, 2, 5
SVC = {"costs": (10.0,), "gammas": (0.1,)}


def run() -> list[Result]:
    shared = shared_folder()
    if not shared:
        raise LookupError("needs AudioSet's balanced features in EARSHOT_SHARED")
    spec = features_spec()
    table = _table(read_features(shared / "audioset" / "audioset_v1_embeddings" / "bal_train"))
    data = prepare(table, spec, TrainSettings(classes="city10", protocol="none")).data
    slices = _sliced(data.select(_some(data)))
    rng = np.random.default_rng(0)
    shuffled = rng.permutation(len(slices.targets)) % FOLDS
    grouped = grouped_folds(slices.targets, slices.sources, FOLDS, rng)
    value, floor = (_accuracy(slices, folds) for folds in (shuffled, grouped))
    note = f"{len(slices.targets)} slices of {len(set(slices.sources))} recordings"
    return [Result("city10 in slices, shuffled rows", value, floor, "acc.", "grouped is lower", floor < value, note)]


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


def _sliced(data: TrainingData) -> TrainingData:
    """Each row as rows of SLICE patches, of the same source."""
    n, patches, dim = data.vectors.shape
    times = patches // SLICE
    repeated = data.select(np.repeat(np.arange(n), times))
    vectors = data.vectors[:, : times * SLICE].reshape(n * times, SLICE, dim)
    return TrainingData(
        vectors,
        np.ones(vectors.shape[:2], bool),
        repeated.targets,
        repeated.sources,
        repeated.labels,
        data.class_names,
        data.mode,
        data.spec,
    )


def _table(features: Iterable[SegmentFeatures]) -> EmbeddingTable:
    with TemporaryDirectory() as folder:
        store_features(features, Path(folder), "balanced")
        return EmbeddingStore.open(Path(folder)).load()
