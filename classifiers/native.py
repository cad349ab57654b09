"""YAMNet's own 521 scores, read at the classes of a class set: no weight is trained. Touches the disk.

YAMNet's last layer is one dense layer and a sigmoid on the 1024-d embedding of a patch, so a store of `yamnet` holds
all that its scores are made of. A class's score in a patch is the highest of its labels and of what is below them in
the ontology; a clip's is the mean over its patches, which is YAMNet's own practice.

Source: `yamnet.py` (tensorflow/models, research/audioset/yamnet). Chosen on ESC-10; see docs/recipes.md.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.bundle import BundleInfo
from classifiers.decision import Decision
from classifiers.heads import HeadRow, HeadScores, Progress, Runtime, TrainingData, make_settings
from classifiers.train import recorded_versions
from embeddings.embedding import Vectors
from embeddings.encoders import encoder_row
from embeddings.encoding.yamnet import WEIGHTS_NAME
from embeddings.encoding.yamnet_model import DIM, read_keras2_weights
from embeddings.weights import find_weights, look_up
from ingest.audioset.class_sets import ClassSet, Mode, SoundClass, with_all_children
from ingest.audioset.labels import load_labels, mid_or_none
from ingest.errors import UsageError

FILE = "head.npz"
ENCODERS = ("yamnet", "yamnet-hub")
DEFAULT_THRESHOLD = 0.1
"""Where nothing was measured. YAMNet's scores are low: on ESC-10 this keeps 74 % of the clips of a set's classes and
3 % of the others; 0.5 would keep 26 %."""
TINY = np.float32(1e-7)
"""Added to each score before they are made to sum to 1: in silence all of them are 0, and then they are equal."""

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class NativeSettings:
    """What may be chosen.

    weights: a folder with a yamnet.h5 of your own; "" looks where every command looks. Not kept in the model.
    """

    weights: str = ""


@dataclass(frozen=True, slots=True)
class Columns:
    """The part of YAMNet's last layer that a class set needs.

    kernel: float32 [1024, k]; bias: float32 [k]. Columns of one class stand together.
    starts: int [classes], the first column of each class, ascending.
    """

    kernel: Floats
    bias: Floats
    starts: npt.NDArray[np.intp]


class NativeHead:
    """A `FittedHead`; see there."""

    def __init__(self, columns: Columns, mode: Mode) -> None:
        self.columns, self.mode = columns, mode
        self.settings: dict[str, Any] = {"labels_read": len(columns.bias)}

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        patch_scores = _patch_scores(vectors, mask, self.columns)
        real = mask[..., None] / mask.sum(axis=1)[:, None, None]
        attention = np.broadcast_to(real, patch_scores.shape).astype(np.float32)
        scores = (patch_scores * attention).sum(axis=1)
        if self.mode == "multi":
            return HeadScores(scores, patch_scores, attention)
        known = 1 - np.prod(1 - scores, axis=1)
        heard = scores + TINY
        shares = heard / heard.sum(axis=1, keepdims=True)
        return HeadScores(shares, patch_scores, attention, known)

    def save(self, folder: Path) -> None:
        np.savez(folder / FILE, **asdict(self.columns))


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> NativeHead:
    """Find the classes among YAMNet's. Nothing is learned from the rows.

    Raises:
        UsageError: embeddings of another encoder or of other weights, or a class that YAMNet has no score for.
        WeightsError: yamnet.h5 is not here.
    """
    settings = make_settings(NativeSettings, row, changes)
    if data.spec.encoder not in ENCODERS:
        raise UsageError(
            f"--head {row.name}: reads embeddings of {' or '.join(ENCODERS)}, got {data.spec.encoder}; "
            "embed the audio with --encoder yamnet"
        )
    path, sha256 = _weights(Path(settings.weights) if settings.weights else None)
    if data.spec.weights.get(WEIGHTS_NAME, sha256) != sha256:
        raise UsageError(
            f"--head {row.name}: {path} is another file (SHA-256 {sha256[:12]}) than the one that made the embeddings "
            f"({data.spec.weights[WEIGHTS_NAME][:12]}); name that one's folder: EARSHOT_WEIGHTS or --set weights=DIR"
        )
    classes = tuple(map(SoundClass, data.class_names, data.class_mids))
    progress(1, 1)
    return NativeHead(_columns(path, yamnet_indices(classes)), data.mode)


def load(row: HeadRow, folder: Path, mode: Mode, runtime: Runtime) -> NativeHead:
    """Load what `save` wrote; both runtimes are this one."""
    with np.load(folder / row.light_file, allow_pickle=False) as arrays:
        return NativeHead(Columns(arrays["kernel"], arrays["bias"], arrays["starts"]), mode)


def untrained(class_set: ClassSet, weights_dir: Path | None = None) -> tuple[BundleInfo, NativeHead]:
    """A model for a class set from YAMNet alone: no store, no training, nothing measured.

    Raises:
        UsageError: a class that YAMNet has no score for.
        WeightsError: yamnet.h5 is not here.
    """
    path, sha256 = find_weights(WEIGHTS_NAME, weights_dir)
    head = NativeHead(_columns(path, yamnet_indices(class_set.classes)), class_set.mode)
    neutral = Decision.neutral(class_set.mode, len(class_set.classes))
    multi = replace(neutral, thresholds=(DEFAULT_THRESHOLD,) * len(class_set.classes))
    info = BundleInfo(
        spec=encoder_row("yamnet").spec(weights={WEIGHTS_NAME: sha256}),
        class_set=class_set,
        head="yamnet-native",
        head_settings=head.settings,
        seed=0,
        background=False,
        decision=multi if class_set.mode == "multi" else replace(neutral, known_threshold=DEFAULT_THRESHOLD),
        protocol="none",
        folds=[],
        metrics=None,
        trained_on={
            "store": "none: the scores are YAMNet's own",
            "fingerprint": "",
            "rows": 0,
            "sources": 0,
            "background": 0,
            "left_out_none": 0,
            "left_out_several": 0,
            "rows_per_class": {},
            "date": datetime.now(UTC).strftime("%Y-%m-%d"),
            "versions": recorded_versions(),
        },
    )
    return info, head


def yamnet_indices(classes: tuple[SoundClass, ...]) -> list[list[int]]:
    """For each class, its places among YAMNet's 521: of its labels and what is below them, but not what is another's.

    Raises:
        UsageError: a class has none.
    """
    labels = load_labels().by_mid
    plain = tuple(replace(c, mids=_audioset_mids(c)) for c in classes)
    found = [
        sorted(index for mid in c.mids if mid in labels and (index := labels[mid].yamnet_index) is not None)
        for c in with_all_children(plain)
    ]
    unknown = [c.name for c, indices in zip(classes, found, strict=True) if not indices]
    if unknown:
        raise UsageError(
            f"--classes: YAMNet has no score for {', '.join(map(repr, unknown))}; give the class one of AudioSet's "
            "labels in a class set (mids), or leave it out"
        )
    return found


def _audioset_mids(sound_class: SoundClass) -> tuple[str, ...]:
    """The mids of a class; where it has none, those of AudioSet's labels that are named just like it."""
    known = load_labels().by_mid
    if mids := tuple(mid for mid in sound_class.mids if mid in known):
        return mids
    return tuple(mid for name in sound_class.mids if (mid := mid_or_none(name)))


def _weights(folder: Path | None) -> tuple[Path, str]:
    """Path and SHA-256; a fit happens once a fold, and whoever embedded the audio was told once what file it is."""
    found = look_up(WEIGHTS_NAME, folder)
    return (found.path, found.sha256) if found else find_weights(WEIGHTS_NAME, folder)


def _columns(path: Path, indices: list[list[int]]) -> Columns:
    stored = read_keras2_weights(path)
    used = [index for of_class in indices for index in of_class]
    starts = np.cumsum([0, *map(len, indices)])[:-1]
    return Columns(stored["dense/kernel"][:, used], stored["dense/bias"][used], starts)


def _patch_scores(vectors: Vectors, mask: Mask, columns: Columns) -> Floats:
    """Float32 [n, patches, 1024] -> [n, patches, classes], 0 outside the mask."""
    patches = vectors[mask].astype(np.float32, copy=False).reshape(-1, DIM)
    logits = np.clip(patches @ columns.kernel + columns.bias, -80, 80)
    best = np.maximum.reduceat(1 / (1 + np.exp(-logits)), columns.starts, axis=1)
    scores = np.zeros((*mask.shape, len(columns.starts)), np.float32)
    scores[mask] = best
    return scores
