"""Attention pooling over patches: every patch votes for every class, and says how much its vote should count.

Each patch x_p gives logits v_pc and, through a softmax over the patches, weights a_pc; the clip's logit of class c is
sum_p a_pc v_pc. Masked patches have weight 0 exactly. Scaling stands inside the saved graph, so it travels with it.

Source: Kong et al., "Audio Set classification with attention model: a probabilistic perspective" (ICASSP 2018); here
the votes are logits, not probabilities, which trains better on few clips.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.heads import HeadRow, HeadScores, Progress, Runtime, TrainingData, make_settings
from embeddings.embedding import Vectors
from embeddings.encoders import EncoderSpec
from embeddings.litert import open_interpreter
from embeddings.tf import import_keras, to_litert
from ingest.class_sets import Mode
from ingest.errors import FormatError

FULL_FILE, LIGHT_FILE = "head.keras", "head.tflite"
FULL_BATCH = 512
Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class AttentionSettings:
    """How the attention head is built and trained.

    hidden: width of the layer that each patch goes through.
    dropout: share of inputs and of hidden units that are dropped in training.
    epochs, batch: passes over the data, rows in a step.
    min_steps, max_steps: bounds on the steps in all: few rows are passed over more often, very many less.
    learning_rate, warmup: peak of the cosine schedule, and share of the steps that lead up to it.
    weight_decay: AdamW's.
    mixup: both parameters of the beta distribution that pairs of rows are mixed with; 0 is off.
    """

    hidden: int = 512
    dropout: float = 0.5
    epochs: int = 60
    batch: int = 64
    min_steps: int = 300
    max_steps: int = 6000
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    mixup: float = 1.0

    def steps_per_epoch(self, n: int) -> int:
        return math.ceil(n / self.batch)

    def epochs_for(self, n: int) -> int:
        """Passes over n rows: `epochs`, or what keeps the steps within their bounds."""
        steps = min(max(self.epochs * self.steps_per_epoch(n), self.min_steps), self.max_steps)
        return math.ceil(steps / self.steps_per_epoch(n))


@dataclass(frozen=True, slots=True)
class InputScaling:
    """How stored vectors become a layer's input: mean 0 and variance 1 in each dimension.

    Bytes are standardised as they are: (x - 128) / 128 first would come to the same.

    mean, std: float32 [dim], of the real patches of the training rows.
    """

    mean: Floats
    std: Floats

    @classmethod
    def of(cls, vectors: Vectors, mask: Mask) -> "InputScaling":
        """The scaling that standardises these rows; a dimension that never changes is only shifted."""
        patches = vectors[mask].astype(np.float32)
        std = patches.std(axis=0)
        return cls(patches.mean(axis=0), np.where(std < 1e-6, 1, std).astype(np.float32))

    def apply(self, vectors: Vectors, mask: Mask) -> Floats:
        """Scaled vectors, 0 outside the mask."""
        scaled = (vectors.astype(np.float32) - self.mean) / self.std
        return np.where(mask[..., None], scaled, np.float32(0))


class FittedAttention:
    """A trained head and the graph around it that takes vectors as stored."""

    def __init__(self, model: Any, spec: EncoderSpec, settings: AttentionSettings) -> None:
        self.model, self.spec = model, spec
        self.settings: dict[str, Any] = asdict(settings)

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        return _FullHead(self.model).predict(vectors, mask)

    def save(self, folder: Path) -> None:
        self.model.save(folder / FULL_FILE)
        (folder / LIGHT_FILE).write_bytes(_to_tflite(self.model, self.spec))


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedAttention:
    """Train on all rows of `data`. Imports TensorFlow."""
    settings = make_settings(AttentionSettings, row, changes)
    keras = import_keras()
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    scaling = InputScaling.of(data.vectors, data.mask)
    core = _build_core(data.spec.dim, len(data.class_names), settings)
    logits = keras.Model(core.inputs, core.outputs[0])
    logits.compile(_optimizer(len(data.targets), settings), _loss(data.mode))
    n = len(data.targets)
    epochs, done = settings.epochs_for(n), 0
    for _ in range(epochs):
        for rows in np.array_split(rng.permutation(n), settings.steps_per_epoch(n)):
            x = scaling.apply(data.vectors[rows], data.mask[rows])
            x, mask, y = _mixed(x, data.mask[rows], data.targets[rows], settings.mixup, rng)
            logits.train_on_batch([x, mask], y)
            done += 1
            progress(done, epochs * settings.steps_per_epoch(n))
    return FittedAttention(_with_scaling(core, scaling, data), data.spec, settings)


def load(row: HeadRow, folder: Path, mode: Mode, runtime: Runtime) -> "_FullHead | _LightHead":
    """Load what `save` wrote. The mode is in the graph already."""
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
        return HeadScores(*(np.concatenate([np.asarray(part[name]) for part in parts]) for name in OUTPUTS))


class _LightHead:
    """Runs the LiteRT model, row by row: a row has at most a window's patches."""

    def __init__(self, path: Path) -> None:
        self._runner = open_interpreter(path).get_signature_runner()
        self._patches = int(self._runner.get_input_details()["vectors"]["shape"][1])

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        given = vectors.shape[1]
        if mask[:, self._patches :].any():
            raise FormatError(
                f"attention: a row has at most {self._patches} patches, got {given}; cut the audio into windows"
            )
        width = max(self._patches, given)
        padded = np.zeros((len(vectors), width, vectors.shape[2]), vectors.dtype)
        padded[:, :given] = vectors
        present = np.zeros((len(vectors), width), np.bool_)
        present[:, :given] = mask
        outputs = [
            self._runner(vectors=padded[i : i + 1, : self._patches], mask=present[i : i + 1, : self._patches])
            for i in range(len(vectors))
        ]
        scores, *by_patch = (np.concatenate([out[name] for out in outputs]) for name in OUTPUTS)
        longer = ((0, 0), (0, width - self._patches), (0, 0))
        return HeadScores(scores, *(np.pad(values, longer)[:, :given] for values in by_patch))


OUTPUTS = ("scores", "patch_scores", "attention")
"""Names of the graph's outputs, in the order of HeadScores."""


def _build_core(dim: int, n_classes: int, settings: AttentionSettings) -> Any:
    """Scaled vectors and mask -> clip logits, patch logits, attention. Built-in layers only: it loads anywhere."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    x = layers.Input((None, dim), name="scaled")
    mask = layers.Input((None,), dtype="bool", name="mask")
    hidden = layers.Dropout(settings.dropout)(x)
    hidden = layers.Dense(settings.hidden, activation="relu", name="patch")(hidden)
    hidden = layers.Dropout(settings.dropout)(hidden)
    votes = layers.Dense(n_classes, name="votes")(hidden)
    weights = layers.Dense(n_classes, name="weights")(hidden)
    attention = ops.softmax(ops.where(ops.expand_dims(mask, -1), weights, -1e9), axis=1)
    return keras.Model([x, mask], [ops.sum(attention * votes, axis=1), votes, attention], name="attention")


def _with_scaling(core: Any, scaling: InputScaling, data: TrainingData) -> Any:
    """The trained core between its scaling and the activation of its mode: vectors as stored -> scores."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    vectors = layers.Input((None, data.spec.dim), dtype=data.spec.dtype, name="vectors")
    mask = layers.Input((None,), dtype="bool", name="mask")
    present = ops.expand_dims(mask, -1)
    scale, offset = 1 / scaling.std, -scaling.mean / scaling.std
    x = layers.Rescaling(scale.tolist(), offset=offset.tolist(), name="standardise")(ops.cast(vectors, "float32"))
    clip_logits, votes, attention = core([ops.where(present, x, 0.0), mask])
    activation = ops.softmax if data.mode == "single" else ops.sigmoid
    outputs = {
        "scores": activation(clip_logits),
        "patch_scores": ops.where(present, activation(votes), 0.0),
        "attention": attention,
    }
    return keras.Model({"vectors": vectors, "mask": mask}, outputs, name="head")


def _optimizer(n: int, settings: AttentionSettings) -> Any:
    keras = import_keras()
    steps = settings.epochs_for(n) * settings.steps_per_epoch(n)
    warmup = max(1, round(settings.warmup * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 20, max(1, steps - warmup), warmup_target=settings.learning_rate, warmup_steps=warmup
    )
    return keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay)


def _loss(mode: Mode) -> Any:
    keras = import_keras()
    single, multi = keras.losses.CategoricalCrossentropy, keras.losses.BinaryCrossentropy
    return single(from_logits=True) if mode == "single" else multi(from_logits=True)


def _mixed(x: Floats, mask: Mask, y: Floats, alpha: float, rng: np.random.Generator) -> tuple[Floats, Mask, Floats]:
    """Mixup (Zhang et al. 2018): each row blended with another one of the batch, and so its targets."""
    if not alpha:
        return x, mask, y
    other = rng.permutation(len(x))
    share = rng.beta(alpha, alpha, (len(x), 1)).astype(np.float32)
    mixed = share[..., None] * x + (1 - share[..., None]) * x[other]
    return mixed, mask | mask[other], share * y + (1 - share) * y[other]


def _to_tflite(model: Any, spec: EncoderSpec) -> bytes:
    """The model for LiteRT: one row at a time, as many patches as a window can hold, the rest masked."""
    keras = import_keras()
    patches = math.ceil(spec.window_s / spec.hop_s)
    vectors = keras.Input(batch_shape=(1, patches, spec.dim), dtype=spec.dtype, name="vectors")
    mask = keras.Input(batch_shape=(1, patches), dtype="bool", name="mask")
    return to_litert(keras.Model([vectors, mask], model({"vectors": vectors, "mask": mask})))
