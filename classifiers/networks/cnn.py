"""A small convolutional network on spectrograms: the encoders `logmel` and `mfcc`.

It learns from random slices of each recording and scores overlapping ones, whose probabilities are averaged. Three
convolutions of 3 x 3 with batch normalisation and pooling, L2 and dropout. Scaling stands inside the saved graph.
Frames outside the mask are cut off before the slices are; in a recording shorter than a slice the rest counts nothing.

Source: Piczak, "Environmental sound classification with convolutional neural networks" (MLSP 2015); Salamon & Bello,
"Deep convolutional neural networks and data augmentation for environmental sound classification" (2017).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.heads import HeadRow, HeadScores, Progress, Runtime, TrainingData, make_settings
from classifiers.networks.keras_head import FULL_FILE, LIGHT_FILE, Floats, Mask, activation_of, divisors, loss_of
from classifiers.networks.steps import epochs_for, steps_per_epoch
from embeddings.embedding import Vectors
from embeddings.runtimes.litert import open_interpreter
from embeddings.runtimes.tf import import_keras, to_litert
from ingest.audioset.class_sets import Mode
from ingest.errors import UsageError

FULL_BATCH = 64
POOLINGS = ((4, 2), (2, 2), (2, 2))
"""Behind each convolution, in frames and bands: frames of 10 ms are finer than three convolutions have use for."""
SHRINK = 16
"""Frames of a slice that become one step."""


@dataclass(frozen=True, slots=True)
class CnnSettings:
    """How the network is built and trained.

    frames: of a slice, a multiple of 16; scored slices overlap by half.
    filters: of the three convolutions. hidden: width of the layer behind them.
    l2, dropout: of the convolutions' and the hidden layer's weights; share of units dropped before and behind it.
    epochs, batch: passes over the recordings, one slice of each; slices in a step.
    min_steps, max_steps: bounds on the steps in all, see `steps.Paced`.
    learning_rate: peak of the cosine schedule.
    mixup: both parameters of the beta distribution that pairs of slices are mixed with; 0 is off.
    """

    frames: int = 256
    filters: tuple[int, ...] = (16, 32, 64)
    hidden: int = 128
    l2: float = 1e-4
    dropout: float = 0.4
    epochs: int = 50
    batch: int = 32
    min_steps: int = 300
    max_steps: int = 20_000
    learning_rate: float = 2e-3
    mixup: float = 0.0


class FittedCnn:
    """A trained network and the graph around it that takes frames as stored."""

    def __init__(self, model: Any, settings: CnnSettings) -> None:
        self.model = model
        self.settings: dict[str, Any] = asdict(settings)

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        return _full_head(self.model).predict(vectors, mask)

    def save(self, folder: Path) -> None:
        keras = import_keras()
        self.model.save(folder / FULL_FILE)
        _, frames, dim = self.model.input["frames"].shape
        one = keras.Input(batch_shape=(1, frames, dim), name="frames")
        mask = keras.Input(batch_shape=(1, frames), dtype="bool", name="mask")
        light = keras.Model([one, mask], self.model({"frames": one, "mask": mask}))
        (folder / LIGHT_FILE).write_bytes(to_litert(light))


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedCnn:
    """Train on all rows of `data`. Imports TensorFlow.

    Raises:
        UsageError: the store holds no spectrograms, or a setting that makes no network.
    """
    settings = make_settings(CnnSettings, row, changes)
    _check(row.name, settings, data)
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    mean, std = _scaling(data.vectors, data.mask)
    n, dim = len(data.targets), data.spec.dim
    core = _build_core(dim, len(data.class_names), settings)
    epochs, steps, done = epochs_for(settings, n), steps_per_epoch(settings, n), 0
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, epochs * steps)
    core.compile(keras.optimizers.Adam(schedule), loss_of(data.mode))
    core.optimizer.build(core.trainable_variables)  # else made in the first step, which is then traced twice
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(n), steps):
            slices, real = _random_slices(data.vectors, data.mask, rows, settings.frames, rng)
            x = np.where(real[..., None], (slices - mean) / std, np.float32(0))
            x, real, y = _mixed(x, real, data.targets[rows], settings.mixup, rng)
            core.train_on_batch([x, real], y)
            done += 1
            progress(done, epochs * steps)
    return FittedCnn(_with_scaling(core, mean, std, data.mode), settings)


def load(row: HeadRow, folder: Path, mode: Mode, runtime: Runtime) -> "CnnHead":
    """Load what `save` wrote. The mode is in the graph already."""
    if runtime == "light":
        return _light_head(folder / row.light_file)
    return _full_head(import_keras().models.load_model(folder / row.full_file))


class CnnHead:
    """Scores recordings slice by slice.

    Args:
        score: slices [n, frames, dim] and their mask, n at most `at_once` -> scores [n, classes].
    """

    def __init__(self, score: Callable[[Floats, Mask], Floats], frames: int, at_once: int) -> None:
        self._score, self._frames, self._at_once = score, frames, at_once

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        return HeadScores(np.stack([self._row(row[real]) for row, real in zip(vectors, mask, strict=True)]))

    def _row(self, frames: Floats) -> Floats:
        slices, real = overlapping_slices(frames, self._frames)
        parts = [slice(i, i + self._at_once) for i in range(0, len(slices), self._at_once)]
        return np.concatenate([self._score(slices[part], real[part]) for part in parts]).mean(axis=0)


def _full_head(model: Any) -> CnnHead:
    """Of the Keras model, in batches."""

    def score(slices: Floats, real: Mask) -> Floats:
        return np.asarray(model({"frames": slices, "mask": real}))

    return CnnHead(score, int(model.input["frames"].shape[1]), FULL_BATCH)


def _light_head(path: Path) -> CnnHead:
    """Of the LiteRT model, which takes one slice."""
    runner = open_interpreter(path).get_signature_runner()

    def score(slices: Floats, real: Mask) -> Floats:
        scores: Floats = next(iter(runner(frames=slices, mask=real).values()))
        return scores

    return CnnHead(score, int(runner.get_input_details()["frames"]["shape"][1]), 1)


def overlapping_slices(frames: Floats, length: int) -> tuple[Floats, Mask]:
    """Slices that overlap by half or a little more, so that the last one ends where the recording does.

    Args:
        frames: [n, dim], n >= 1; length: of a slice, even.
    Returns:
        float32 [slices, length, dim], zeros where the recording is shorter, and a mask bool [slices, length].
    """
    spare = len(frames) - length
    count = 1 + math.ceil(max(0, spare) / (length // 2))
    starts = np.round(np.linspace(0, max(0, spare), count)).astype(int)
    cut = [_cut(frames, start, length) for start in starts]
    return np.stack([values for values, _ in cut]), np.stack([real for _, real in cut])


def _cut(frames: Floats, start: int, length: int) -> tuple[Floats, Mask]:
    values = frames[start : start + length]
    slice_ = np.zeros((length, frames.shape[1]), np.float32)
    slice_[: len(values)] = values
    return slice_, np.arange(length) < len(values)


def _random_slices(
    vectors: Vectors, mask: Mask, rows: npt.NDArray[np.intp], length: int, rng: np.random.Generator
) -> tuple[Floats, Mask]:
    """One slice of each row, anywhere in its real frames."""
    cut = []
    for row in rows:
        frames = vectors[row][mask[row]]
        cut.append(_cut(frames, int(rng.integers(max(0, len(frames) - length) + 1)), length))
    return np.stack([values for values, _ in cut]), np.stack([real for _, real in cut])


def _mixed(x: Floats, real: Mask, y: Floats, alpha: float, rng: np.random.Generator) -> tuple[Floats, Mask, Floats]:
    """Mixup (Zhang et al. 2018) of slices and of their targets."""
    if not alpha:
        return x, real, y
    other = rng.permutation(len(x))
    share = rng.beta(alpha, alpha, (len(x), 1)).astype(np.float32)
    mixed = share[..., None] * x + (1 - share[..., None]) * x[other]
    return mixed, real | real[other], share * y + (1 - share) * y[other]


def _scaling(vectors: Vectors, mask: Mask) -> tuple[Floats, Floats]:
    """Mean and standard deviation of each band over the real frames; row by row, as a copy of all may be gigabytes."""
    count = float(mask.sum())
    rows: Sequence[tuple[Any, Any]] = list(zip(vectors, mask, strict=True))
    mean = sum(row[real].sum(axis=0, dtype=np.float64) for row, real in rows) / count
    square = sum(((row[real] - mean) ** 2).sum(axis=0) for row, real in rows) / count
    std = np.sqrt(square)
    return mean.astype(np.float32), divisors(std)


def _check(name: str, settings: CnnSettings, data: TrainingData) -> None:
    if data.spec.vector_of != "frame":
        raise UsageError(
            f"--head {name}: looks at spectrograms, and a vector of {data.spec.encoder} stands for "
            f"{data.spec.patch_s:g} s; embed with --encoder logmel or mfcc, or use --head attention"
        )
    if settings.frames % SHRINK:
        raise UsageError(f"--set frames: must be a multiple of {SHRINK}, got {settings.frames}; give 256, say")
    if len(settings.filters) != 3 or min(settings.filters) < 1:
        raise UsageError(
            f"--set filters: takes three numbers above 0, got {list(settings.filters)}; give [16, 32, 64], say"
        )


def _build_core(dim: int, n_classes: int, settings: CnnSettings) -> Any:
    """Scaled slices and mask -> logits. Built-in layers only: it loads anywhere."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops
    l2 = keras.regularizers.L2(settings.l2)

    scaled = layers.Input((settings.frames, dim), name="scaled")
    mask = layers.Input((settings.frames,), dtype="bool", name="mask")
    x = ops.expand_dims(scaled, -1)
    for i, (filters, size) in enumerate(zip(settings.filters, POOLINGS, strict=True)):
        x = layers.Conv2D(filters, 3, padding="same", use_bias=False, kernel_regularizer=l2, name=f"conv{i + 1}")(x)
        x = layers.BatchNormalization(name=f"norm{i + 1}")(x)
        x = layers.MaxPooling2D(size, padding="same")(ops.relu(x))
    steps = settings.frames // SHRINK
    x = ops.reshape(x, (-1, steps, x.shape[2] * x.shape[3]))
    real = ops.any(ops.reshape(mask, (-1, steps, SHRINK)), axis=2, keepdims=True)
    weight = ops.cast(real, "float32")
    mean = ops.sum(x * weight, axis=1) / ops.maximum(ops.sum(weight, axis=1), 1.0)
    loudest = ops.max(x * weight, axis=1)  # behind a ReLU nothing is below 0
    x = layers.Dropout(settings.dropout)(ops.concatenate([mean, loudest], axis=1))
    x = layers.Dense(settings.hidden, activation="relu", kernel_regularizer=l2, name="hidden")(x)
    x = layers.Dropout(settings.dropout)(x)
    return keras.Model([scaled, mask], layers.Dense(n_classes, name="logits")(x), name="cnn")


def _with_scaling(core: Any, mean: Floats, std: Floats, mode: Mode) -> Any:
    """The trained network between its scaling and the activation of its mode: slices as stored -> scores."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    _, length, dim = core.inputs[0].shape
    frames = layers.Input((length, dim), name="frames")
    mask = layers.Input((length,), dtype="bool", name="mask")
    x = layers.Rescaling((1 / std).tolist(), offset=(-mean / std).tolist(), name="standardise")(frames)
    logits = core([ops.where(ops.expand_dims(mask, -1), x, 0.0), mask])
    return keras.Model({"frames": frames, "mask": mask}, activation_of(mode)(logits), name="head")
