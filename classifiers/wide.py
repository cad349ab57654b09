"""Learns every label of the store, then reads your classes off: rows that have none of them teach much too.

A *generalist* learns all frequent labels of the store side by side, each against the rest: patches go through one
layer, attention heads pool them. Where exactly one class is the answer ("single"), *specialists*, which learn from the
rows of the classes alone, have their say too: the scores are a blend of both. `known` is the generalist's,
1 - prod(1 - p) over the classes, for it has seen what else there is.

Sources: Caruana, "Multitask learning" (1997); multi-head attention over VGGish patches: Yu et al., "Multi-level
attention model for weakly supervised audio classification" (DCASE 2018); mixup: Zhang et al. (ICLR 2018).
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.heads import HeadRow, HeadScores, Progress, Runtime, TrainingData, make_settings
from classifiers.keras_head import InputScaling
from classifiers.wide_model import Reading, build_generalist, build_specialist, build_whole
from embeddings.embedding import Vectors
from embeddings.encoders import EncoderSpec
from embeddings.litert import open_interpreter
from embeddings.tf import import_keras, to_litert
from ingest.class_sets import Mode
from ingest.errors import FormatError, UsageError

FULL_FILE, LIGHT_FILE = "head.keras", "head.tflite"
FULL_BATCH = 512
CLEAN_STEPS = 30
SPECIALIST_RATE, SPECIALIST_DECAY, SPECIALIST_BATCH = 1e-3, 0.01, 64
SPECIALIST_STEP_COST = 20
"""So many steps of a specialist take about as long as one of the generalist: for the progress bar."""
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class WideSettings:
    """How the wide head is built and trained.

    hidden: width of the generalist's layer that each patch goes through.
    pools, pooled: its attention heads over the patches, and the width of what all of them are brought down to.
    dropout: share of pooled units that are dropped in training.
    epochs, batch: passes over the data, rows in a step.
    min_steps: of few rows more passes are made.
    learning_rate, warmup_steps, weight_decay: AdamW's, cosine; only matrices decay.
    mixup: both parameters of the beta distribution that pairs of rows are blended with, in turn as inputs and as pooled
        vectors; 0 is off.
    min_rows: labels of fewer rows are not learned.
    specialists: how many; 0 leaves the scores to the generalist.
    specialist_hidden, specialist_steps: their width and steps of 64 rows.
    blend: the generalist's part in the scores, 0 to 1.
    prior: exponent of the classes' frequency that is divided out of the scores: 0 for the most rows right, 1 for
        classes that count alike.
    """

    hidden: int = 768
    pools: int = 4
    pooled: int = 1024
    dropout: float = 0.5
    epochs: int = 12
    batch: int = 500
    min_steps: int = 300
    learning_rate: float = 2e-3
    warmup_steps: int = 50
    weight_decay: float = 0.3
    mixup: float = 1.0
    min_rows: int = 5
    specialists: int = 2
    specialist_hidden: int = 512
    specialist_steps: int = 840
    blend: float = 0.5
    prior: float = 0.7

    def __post_init__(self) -> None:
        if self.pooled % self.pools:
            raise UsageError(f"--set pooled: must be a multiple of pools ({self.pools}), got {self.pooled}")

    def steps_per_epoch(self, n: int) -> int:
        """Of `batch` rows, or of an eighth of few rows."""
        return max(1, n // max(2, min(self.batch, n // 8)))

    def epochs_for(self, n: int) -> int:
        return max(self.epochs, math.ceil(self.min_steps / self.steps_per_epoch(n)))


def lessons(data: TrainingData, min_rows: int) -> Floats:
    """What rows teach the generalist: float32 [n, classes + other labels], 1 where a row has it.

    The others are all labels of `min_rows` rows or more; one that is a class by another name is not learned twice.
    """
    counts = Counter(label for row in data.labels for label in set(row))
    frequent = sorted(label for label, n in counts.items() if min_rows <= n < len(data.labels))
    column = {label: i for i, label in enumerate(frequent)}
    others = np.zeros((len(data.labels), len(frequent)), np.float32)
    for i, labels in enumerate(data.labels):
        others[i, [column[label] for label in labels if label in column]] = 1
    twice = [j for target in data.targets.T for j in np.flatnonzero((others == target[:, None]).all(axis=0))]
    return np.hstack([data.targets, np.delete(others, twice, axis=1)])


class FittedWide:
    """A trained head: the graph that takes vectors as stored."""

    def __init__(self, model: Any, spec: EncoderSpec, settings: dict[str, Any]) -> None:
        self.model, self.spec, self.settings = model, spec, settings

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        return _FullHead(self.model).predict(vectors, mask)

    def save(self, folder: Path) -> None:
        self.model.save(folder / FULL_FILE)
        (folder / LIGHT_FILE).write_bytes(_to_tflite(self.model, self.spec))


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedWide:
    """Train on all rows of `data`, background included. Imports TensorFlow."""
    settings = make_settings(WideSettings, row, changes)
    import_keras().utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    scaling = InputScaling.of(data.vectors, data.mask)
    has_class = data.targets.any(axis=1)
    single = data.mode == "single"
    n_specialists = settings.specialists if single else 0
    labels = lessons(data, settings.min_rows)
    own_steps = settings.steps_per_epoch(len(labels)) * settings.epochs_for(len(labels))
    count = _Count(progress, own_steps + n_specialists * settings.specialist_steps // SPECIALIST_STEP_COST)
    generalist = _fit_generalist(data, labels, scaling, settings, rng, count)
    theirs = data.select(np.flatnonzero(has_class))
    specialists = [_fit_specialist(theirs, scaling, settings, rng, count) for _ in range(n_specialists)]
    log_share = np.log(np.maximum(data.targets.sum(axis=0) / max(data.targets.sum(), 1), 1e-6))
    reading = Reading(
        dim=data.spec.dim,
        dtype=data.spec.dtype,
        scale=np.reciprocal(scaling.std),
        offset=-scaling.mean / scaling.std,
        n_classes=len(data.class_names),
        single=single,
        blend=settings.blend,
        log_prior=(settings.prior * single * (log_share - log_share.mean())).astype(np.float32),
        background=single and not bool(has_class.all()),
    )
    model = build_whole(generalist, specialists, reading)
    return FittedWide(model, data.spec, asdict(settings) | {"labels_learned": labels.shape[1]})


def load(row: HeadRow, folder: Path, mode: Mode, runtime: Runtime) -> "_FullHead | _LightHead":
    """Load what `save` wrote. Mode and background are in the graph already."""
    if runtime == "light":
        return _LightHead(folder / row.light_file)
    keras = import_keras()
    return _FullHead(keras.models.load_model(folder / row.full_file))


class _FullHead:
    """Runs the Keras model, in batches."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        parts = [
            self._model({"vectors": vectors[i : i + FULL_BATCH], "mask": mask[i : i + FULL_BATCH]}, training=False)
            for i in range(0, len(vectors), FULL_BATCH)
        ]
        return HeadScores(**{name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]})


class _LightHead:
    """Runs the LiteRT model, row by row: a row has at most a window's patches."""

    def __init__(self, path: Path) -> None:
        self._runner = open_interpreter(path).get_signature_runner()
        self._patches = int(self._runner.get_input_details()["vectors"]["shape"][1])

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        given = vectors.shape[1]
        if mask[:, self._patches :].any():
            raise FormatError(
                f"wide: a row has at most {self._patches} patches, got {given}; cut the audio into windows"
            )
        width = max(self._patches, given)
        longer = ((0, 0), (0, width - given), (0, 0))
        padded, present = np.pad(vectors, longer), np.pad(mask, longer[:2])
        rows = [
            self._runner(vectors=padded[i : i + 1, : self._patches], mask=present[i : i + 1, : self._patches])
            for i in range(len(vectors))
        ]
        outputs = {name: np.concatenate([row[name] for row in rows]) for name in rows[0]}
        rest = ((0, 0), (0, width - self._patches), (0, 0))
        return HeadScores(**{name: np.pad(v, rest)[:, :given] if v.ndim == 3 else v for name, v in outputs.items()})


class _Count:
    """Steps done, told as they are done."""

    def __init__(self, progress: Progress, total: int) -> None:
        self._progress, self._total, self._done = progress, total, 0.0

    def add(self, steps: float) -> None:
        self._done += steps
        self._progress(min(round(self._done), self._total), self._total)


def _fit_generalist(  # noqa: PLR0917 - all of one fit
    data: TrainingData,
    labels: Floats,
    scaling: InputScaling,
    settings: WideSettings,
    rng: np.random.Generator,
    count: _Count,
) -> Any:
    """Learn all labels; gives the model to use."""
    keras = import_keras()
    n, positives = len(labels), labels.sum(axis=0)
    log_odds = np.log((positives + 1) / (n - positives + 1)).astype(np.float32)
    built = build_generalist(
        data.spec.dim,
        log_odds,
        len(data.class_names),
        hidden=settings.hidden,
        pools=settings.pools,
        pooled=settings.pooled,
        dropout=settings.dropout,
    )
    per_epoch, epochs = settings.steps_per_epoch(n), settings.epochs_for(n)
    rate = _schedule(settings.learning_rate, per_epoch * epochs, settings.warmup_steps)
    optimizer = keras.optimizers.AdamW(rate, weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(var_list=[v for v in built.trained.trainable_variables if len(v.shape) < 2])
    each = keras.losses.BinaryCrossentropy(from_logits=True)
    built.trained.compile(optimizer, each, loss_weights=float(labels.shape[1]))
    for step in range(per_epoch * epochs):
        if step % per_epoch == 0:
            batches = np.array_split(rng.permutation(n), per_epoch)
        rows = batches[step % per_epoch]
        x, mask = scaling.apply(data.vectors[rows], data.mask[rows]), data.mask[rows]
        share = in_graph = _shares(len(rows), settings.mixup, rng)
        if step % 2:
            x, mask, in_graph = _blended(x, share), mask | mask[::-1], np.ones_like(share)
        built.trained.train_on_batch([x, mask, in_graph], _blended(labels[rows], share))
        count.add(1)
    for _ in range(CLEAN_STEPS):  # batch normalisation saw blends, whose spread is smaller: let it see clean rows
        rows = rng.permutation(n)[: len(batches[0])]
        x = scaling.apply(data.vectors[rows], data.mask[rows])
        built.trained([x, data.mask[rows], np.ones((len(rows), 1), np.float32)], training=True)
    return built.used


def _fit_specialist(
    data: TrainingData, scaling: InputScaling, settings: WideSettings, rng: np.random.Generator, count: _Count
) -> Any:
    """Learn the classes from their own rows."""
    keras = import_keras()
    n, steps = len(data.targets), settings.specialist_steps
    core = build_specialist(
        data.spec.dim, len(data.class_names), hidden=settings.specialist_hidden, dropout=settings.dropout
    )
    model = keras.Model(core.inputs, core.outputs[0])
    rate = _schedule(SPECIALIST_RATE, steps, steps // 20)
    loss = keras.losses.CategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.AdamW(rate, weight_decay=SPECIALIST_DECAY), loss)
    per_epoch = max(1, round(n / SPECIALIST_BATCH))
    for step in range(steps):
        if step % per_epoch == 0:
            batches = np.array_split(rng.permutation(n), per_epoch)
        rows = batches[step % per_epoch]
        x, mask = scaling.apply(data.vectors[rows], data.mask[rows]), data.mask[rows]
        share = _shares(len(rows), settings.mixup, rng)
        model.train_on_batch([_blended(x, share), mask | mask[::-1]], _blended(data.targets[rows], share))
        count.add(1 / SPECIALIST_STEP_COST)
    return core


def _shares(n: int, alpha: float, rng: np.random.Generator) -> Floats:
    """Each row's own part in its blend, float32 [n, 1], the larger one; 1 where nothing is blended."""
    drawn = rng.beta(alpha, alpha, (n, 1)) if alpha else np.ones((n, 1))
    return np.maximum(drawn, 1 - drawn).astype(np.float32)


def _blended(values: Floats, share: Floats) -> Floats:
    """Each row blended with the one at the other end of the batch."""
    part = share.reshape(len(share), *[1] * (values.ndim - 1))
    return part * values + (1 - part) * values[::-1]


def _schedule(peak: float, steps: int, warmup: int) -> Any:
    warmup = max(1, min(warmup, steps // 4))
    return import_keras().optimizers.schedules.CosineDecay(
        peak / 20, max(1, steps - warmup), warmup_target=peak, warmup_steps=warmup
    )


def _to_tflite(model: Any, spec: EncoderSpec) -> bytes:
    """The model for LiteRT: one row at a time, as many patches as a window can hold, the rest masked."""
    keras = import_keras()
    patches = math.ceil(spec.window_s / spec.hop_s)
    vectors = keras.Input(batch_shape=(1, patches, spec.dim), dtype=spec.dtype, name="vectors")
    mask = keras.Input(batch_shape=(1, patches), dtype="bool", name="mask")
    return to_litert(keras.Model([vectors, mask], model({"vectors": vectors, "mask": mask})))
