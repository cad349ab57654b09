"""Touches the disk: a Keras head as it is kept and run, whatever its core looks like.

A core takes scaled vectors and a mask and gives clip logits, patch logits and attention. The saved graph has the
scaling before it and the activation of its mode behind it, so it takes vectors as stored, and its outputs are named as
the fields of HeadScores. Built-in layers only: `head.keras` loads with `keras.models.load_model` alone, and
`head.tflite` is the same graph for one row at a time.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.heads import HeadRow, HeadScores, Runtime
from embeddings.embedding import Vectors
from embeddings.encoders import EncoderSpec
from embeddings.runtimes.litert import open_interpreter
from embeddings.runtimes.tf import import_keras, to_litert
from ingest.audioset.class_sets import Mode
from ingest.errors import FormatError

FULL_FILE, LIGHT_FILE = "head.keras", "head.tflite"
FULL_BATCH = 512
PATCHES_AT_ONCE = FULL_BATCH * 20
"""Of rows that are scored at once: full batches of ten seconds of any encoder but spectrograms, of which a row has a
thousand patches, and hidden units for each take gigabytes."""
ROWS_AT_ONCE = 1 << 13
"""Rows that are read at once where all rows are looked at: of ten VGGish patches 10 MB as stored, 42 MB scaled."""

Floats = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]


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
        mean = sum(part.sum(axis=0, dtype=np.float64) for part in _real_patches(vectors, mask)) / mask.sum()
        squares = sum(np.square(part - mean).sum(axis=0) for part in _real_patches(vectors, mask))
        std = np.sqrt(squares / mask.sum())
        return cls(np.asarray(mean, np.float32), divisors(std))

    def apply(self, vectors: Vectors, mask: Mask) -> Floats:
        """Scaled vectors, 0 outside the mask."""
        scaled = (vectors.astype(np.float32) - self.mean) / self.std
        return np.where(mask[..., None], scaled, np.float32(0))

    def correlation(self, vectors: Vectors, mask: Mask) -> Floats:
        """Mean of x x^T over the real patches, scaled: float32 [dim, dim]."""
        total = np.zeros((len(self.mean),) * 2)
        for part in _real_patches(vectors, mask):
            scaled = (part - self.mean) / self.std
            total += scaled.T @ scaled
        return (total / mask.sum()).astype(np.float32)


class FittedKeras:
    """A trained graph that takes vectors as stored."""

    def __init__(self, model: Any, spec: EncoderSpec, settings: dict[str, Any]) -> None:
        self.model, self.spec, self.settings = model, spec, settings

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        return FullHead(self.model).predict(vectors, mask)

    def save(self, folder: Path) -> None:
        self.model.save(folder / FULL_FILE)
        (folder / LIGHT_FILE).write_bytes(_to_tflite(self.model, self.spec))


def load(row: HeadRow, folder: Path, mode: Mode, runtime: Runtime) -> "FullHead | LightHead":
    """Load what `save` wrote. The mode is in the graph already."""
    if runtime == "light":
        return LightHead(folder / row.light_file)
    keras = import_keras()
    return FullHead(keras.models.load_model(folder / row.full_file))


class FullHead:
    """Runs the Keras model, in batches."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        parts = [
            self._model({"vectors": vectors[rows], "mask": mask[rows]}, training=False)
            for rows in batches(len(vectors), vectors.shape[1])
        ]
        return HeadScores(**{name: np.concatenate([np.asarray(part[name]) for part in parts]) for name in parts[0]})


class LightHead:
    """Runs the LiteRT model, row by row: a row has at most a window's patches."""

    def __init__(self, path: Path) -> None:
        self._runner = open_interpreter(path).get_signature_runner()
        self._patches = int(self._runner.get_input_details()["vectors"]["shape"][1])

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        given = vectors.shape[1]
        if mask[:, self._patches :].any():
            raise FormatError(
                f"a row of this head has at most {self._patches} patches, got {given}; cut the audio into windows"
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


def scaled_inputs(scaling: InputScaling, spec: EncoderSpec) -> tuple[dict[str, Any], Any]:
    """A graph's inputs, vectors as stored and their mask, and the scaled vectors, 0 outside the mask."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    vectors = layers.Input((None, spec.dim), dtype=spec.dtype, name="vectors")
    mask = layers.Input((None,), dtype="bool", name="mask")
    scale, offset = 1 / scaling.std, -scaling.mean / scaling.std
    x = layers.Rescaling(scale.tolist(), offset=offset.tolist(), name="standardise")(ops.cast(vectors, "float32"))
    return {"vectors": vectors, "mask": mask}, ops.where(ops.expand_dims(mask, -1), x, 0.0)


def with_scaling(core: Any, scaling: InputScaling, spec: EncoderSpec, mode: Mode) -> Any:
    """The trained core between its scaling and the activation of its mode: vectors as stored -> scores."""
    keras = import_keras()
    inputs, x = scaled_inputs(scaling, spec)
    clip_logits, votes, attention = core([x, inputs["mask"]])
    activation = activation_of(mode)
    outputs = {
        "scores": activation(clip_logits),
        "patch_scores": keras.ops.where(keras.ops.expand_dims(inputs["mask"], -1), activation(votes), 0.0),
        "attention": attention,
    }
    return keras.Model(inputs, outputs, name="head")


def activation_of(mode: Mode) -> Any:
    """What makes scores of logits."""
    ops = import_keras().ops
    return ops.softmax if mode == "single" else ops.sigmoid


def loss_of(mode: Mode) -> Any:
    """What logits are trained by."""
    losses = import_keras().losses
    loss = losses.CategoricalCrossentropy if mode == "single" else losses.BinaryCrossentropy
    return loss(from_logits=True)


def divisors(std: npt.NDArray[np.float64]) -> Floats:
    """Standard deviations [dim] to divide by, float32: 1 for dimensions that never change, or hardly.

    Hardly is below 1e-6, or, where all vectors are tiny, below a millionth of the dimension that changes most.
    """
    least = np.clip(1e-6 * std.max(), 1e-30, 1e-6)  # below it 1 / std leaves float32
    return np.where(std <= least, 1, std).astype(np.float32)


def _to_tflite(model: Any, spec: EncoderSpec) -> bytes:
    """The model for LiteRT: one row at a time, as many patches as a window can hold, the rest masked."""
    keras = import_keras()
    patches = math.ceil(spec.window_s / spec.hop_s)
    vectors = keras.Input(batch_shape=(1, patches, spec.dim), dtype=spec.dtype, name="vectors")
    mask = keras.Input(batch_shape=(1, patches), dtype="bool", name="mask")
    return to_litert(keras.Model([vectors, mask], model({"vectors": vectors, "mask": mask})))


def batches(rows: int, patches: int) -> list[slice]:
    """Rows that are scored together, so many that neither they nor their patches are too many."""
    step = max(1, min(FULL_BATCH, PATCHES_AT_ONCE // max(1, patches)))
    return [slice(i, i + step) for i in range(0, rows, step)]


def _real_patches(vectors: Vectors, mask: Mask) -> Iterator[Floats]:
    """The patches inside the mask, float32 [k, dim], some rows at a time."""
    for i in range(0, len(vectors), ROWS_AT_ONCE):
        yield vectors[i : i + ROWS_AT_ONCE][mask[i : i + ROWS_AT_ONCE]].astype(np.float32)
