"""The graphs of the wide head: those that are trained, and around them one that takes vectors as stored."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings.tf import import_keras

Floats = npt.NDArray[np.float32]
MASKED = -1e9


@dataclass(frozen=True, slots=True)
class Generalist:
    """Two models that share their weights.

    trained: [scaled, mask, share] -> logits of all labels. Each row's pooled vectors are blended with those of the row
        at the other end of the batch: share [n, 1] is the row's own part, 1 for all of it.
    used: [scaled, mask] -> logits of all labels.
    """

    trained: Any
    used: Any


def build_generalist(
    dim: int, log_odds: Floats, n_classes: int, *, hidden: int, pools: int, pooled: int, dropout: float
) -> Generalist:
    """Attention heads over patches, each brought down by a layer of its own, side by side under all labels.

    For the classes, the first labels, patches vote too, and say how much their votes count: the mean of both counts.

    Args:
        log_odds: [labels], what the logits start from. Starting from 0 spends most of the training on learning that
            labels are rare.
    """
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    x = layers.Input((None, dim), name="scaled")
    mask = layers.Input((None,), dtype="bool", name="mask")
    share = layers.Input((1,), name="share")
    seen = layers.Dense(hidden, activation="relu", kernel_initializer="he_normal", name="patch")(x)
    focus = _over_patches(layers.Dense(pools, name="focus")(seen), mask)
    vectors = ops.concatenate([ops.sum(focus[..., i : i + 1] * seen, axis=1) for i in range(pools)], axis=-1)

    voting = layers.SpatialDropout1D(dropout)(seen)
    vote = layers.Dense(n_classes, name="votes")
    weights = _over_patches(layers.Dense(n_classes, name="weights")(voting), mask)
    ballot = ops.sum(weights * vote(voting), axis=1)

    normalise = layers.BatchNormalization(momentum=0.9, name="pooled")
    normalise_late = layers.BatchNormalization(momentum=0.9, name="projected")
    drop, drop_late = layers.Dropout(dropout), layers.Dropout(dropout)
    project = [layers.Dense(pooled // pools, use_bias=False, name=f"project_{i}") for i in range(pools)]
    labels = layers.Dense(len(log_odds), name="labels")

    def finish(vectors: Any, ballot: Any) -> Any:
        ready = drop(normalise(vectors))
        parts = [layer(ready[:, i * hidden : (i + 1) * hidden]) for i, layer in enumerate(project)]
        logits = labels(drop_late(ops.relu(normalise_late(ops.concatenate(parts, axis=-1)))))
        return ops.concatenate([(logits[:, :n_classes] + ballot) / 2, logits[:, n_classes:]], axis=-1)

    def blended(values: Any) -> Any:
        return share * values + (1 - share) * ops.flip(values, axis=0)

    trained = keras.Model([x, mask, share], finish(blended(vectors), blended(ballot)))
    labels.bias.assign(log_odds)
    vote.bias.assign(log_odds[:n_classes])
    return Generalist(trained, keras.Model([x, mask], finish(vectors, ballot), name="generalist"))


def build_specialist(dim: int, n_classes: int, *, hidden: int, dropout: float) -> Any:
    """[scaled, mask] -> clip logits, patch votes, attention: each patch votes, and says how much its vote counts."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    x = layers.Input((None, dim), name="scaled")
    mask = layers.Input((None,), dtype="bool", name="mask")
    seen = layers.Dense(hidden, activation="relu", name="patch")(layers.Dropout(dropout)(x))
    seen = layers.Dropout(dropout)(seen)
    votes = layers.Dense(n_classes, name="votes")(seen)
    attention = _over_patches(layers.Dense(n_classes, name="weights")(seen), mask)
    return keras.Model([x, mask], [ops.sum(attention * votes, axis=1), votes, attention])


@dataclass(frozen=True, slots=True)
class Reading:
    """How the classes are read off.

    scale, offset: [dim], x * scale + offset is what the models take.
    n_classes: the first so many labels of the generalist are the classes.
    blend: the generalist's part in the scores, where there are specialists.
    log_prior: [classes], taken off the logits.
    background: whether `known` is given.
    """

    dim: int
    dtype: str
    scale: Floats
    offset: Floats
    n_classes: int
    single: bool
    blend: float
    log_prior: Floats
    background: bool


def build_whole(generalist: Any, specialists: list[Any], reading: Reading) -> Any:
    """Vectors as stored and mask -> scores; known; patch scores and attention, where there are specialists."""
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    vectors = layers.Input((None, reading.dim), dtype=reading.dtype, name="vectors")
    mask = layers.Input((None,), dtype="bool", name="mask")
    present = ops.expand_dims(mask, -1)
    standardise = layers.Rescaling(reading.scale.tolist(), offset=reading.offset.tolist(), name="standardise")
    x = ops.where(present, standardise(ops.cast(vectors, "float32")), 0.0)
    alone = generalist([x, mask])[:, : reading.n_classes]
    activation = ops.softmax if reading.single else ops.sigmoid
    outputs, logits = {}, alone
    if specialists:
        clips, votes, attention = ([out[i] for out in (s([x, mask]) for s in specialists)] for i in range(3))
        logits = (1 - reading.blend) * _log_softmax(_mean(clips)) + reading.blend * _log_softmax(alone)
        outputs["patch_scores"] = ops.where(present, activation(_mean(votes)), 0.0)
        outputs["attention"] = _mean(attention)
    outputs["scores"] = activation(logits - ops.convert_to_tensor(reading.log_prior))
    if reading.background:
        outputs["known"] = 1 - ops.exp(-ops.sum(ops.softplus(alone), axis=1))
    return keras.Model({"vectors": vectors, "mask": mask}, outputs, name="head")


def _over_patches(logits: Any, mask: Any) -> Any:
    ops = import_keras().ops
    return ops.softmax(ops.where(ops.expand_dims(mask, -1), logits, MASKED), axis=1)


def _log_softmax(logits: Any) -> Any:
    ops = import_keras().ops
    return ops.log(ops.maximum(ops.softmax(logits), 1e-9))


def _mean(values: list[Any]) -> Any:
    return sum(values[1:], values[0]) / len(values)
