"""How the attention family looks at patches: a trunk that each patch goes through, and branches that pool them.

The clip's logits are the mean of those of its branches (`attention_pooling`). The core, which is kept and used, is of
built-in Keras layers only: it loads anywhere. The graph that is trained shares its weights, and has layers of ours.

Source: Yu et al., "Multi-level attention model for weakly supervised audio classification" (DCASE 2018) for several
depths.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from classifiers.networks.attention_pooling import BRANCHES, Branch, Decision
from classifiers.networks.attention_settings import AttentionSettings
from classifiers.networks.keras_head import Floats
from classifiers.networks.training_layers import coarse_dropout, normalised_dense
from embeddings.runtimes.tf import import_keras
from ingest.errors import UsageError

Tensor = Any

SELF_ATTENTION_UNITS = 32
"""Of a head in which patches look at each other, at most."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A network, once to train and once to use; both share their layers.

    trained: [scaled, mask] or, where pooled vectors can be mixed, [scaled, mask, partner, share] -> clip logits, one
        output or more, as many as `weights`.
        partner: int [batch], the row that each row is mixed with; share: float32 [batch, 1], of the row itself.
    weights: what the outputs of `trained` count for in the loss; their sum is 1.
    core: [scaled, mask] -> clip logits [batch, classes], votes and attention [batch, patches, classes].
    """

    trained: Any
    weights: tuple[float, ...]
    core: Any

    def settle(self, correlation: Floats) -> None:
        """Give batch normalisation the variance of clean patches: in training it saw mixed ones, whose spread is less.

        Its layer is linear and has no bias, its inputs have mean 0 and this correlation: [dim, dim].
        """
        for layer in self.core.layers:
            if layer.name == "normalise":
                kernel = np.asarray(self.core.get_layer("patch").kernel)
                layer.moving_mean.assign(np.zeros(kernel.shape[1], np.float32))
                layer.moving_variance.assign(np.einsum("ij,ik,kj->j", kernel, correlation, kernel, optimize=True))


def build_graph(dim: int, n_classes: int, settings: AttentionSettings) -> Graph:
    """A new network. Imports TensorFlow.

    Raises:
        UsageError: a branch that does not exist, one that is named twice, or none.
    """
    if not settings.branches or (unknown := sorted(set(settings.branches) - set(BRANCHES))):
        what = repr(unknown[0]) if settings.branches else "none"
        raise UsageError(f"--set branches: takes some of {', '.join(BRANCHES)}, got {what}; correct it")
    if len(set(settings.branches)) < len(settings.branches):
        raise UsageError(f"--set branches: takes each once, got {', '.join(settings.branches)}; leave one out")
    layers, trunk = import_keras().layers, _Trunk(settings)
    inputs = [layers.Input((None, dim), name="scaled"), layers.Input((None,), dtype="bool", name="mask")]
    placed = [
        (BRANCHES[name](n_classes, settings, f"{name}_{depth}"), depth)
        for depth in range(trunk.levels)
        for name in settings.branches
    ]
    core = _core(trunk, placed, inputs)
    return Graph(*_trained(trunk, placed, inputs, settings), core)


Placed = list[tuple[Branch, int]]
"""Branches, each with the level of the trunk that it looks at."""


def _core(trunk: "_Trunk", placed: Placed, inputs: list[Tensor]) -> Any:
    x, mask = inputs
    levels = trunk(x, mask)
    clip = _mean([branch.logits(branch.pool(levels[depth], mask)) for branch, depth in placed])
    seen = [(branch, depth) for branch, depth in placed if isinstance(branch, Decision)] or placed
    votes = _mean([branch.votes(levels[depth]) for branch, depth in seen])
    attention = _mean([branch.attention(levels[depth], mask) for branch, depth in seen])
    return import_keras().Model(inputs, [clip, votes, attention], name="attention")


def _trained(
    trunk: "_Trunk", placed: Placed, inputs: list[Tensor], settings: AttentionSettings
) -> tuple[Any, tuple[float, ...]]:
    """The model of `Graph.trained` and its `weights`."""
    keras = import_keras()
    (x, mask), branches = inputs, [branch for branch, _ in placed]
    levels = trunk(x, mask, in_training=True)
    pooled = [branch.pool(levels[depth], mask) for branch, depth in placed]
    if settings.mix_pooled and settings.mixup:
        partner = keras.layers.Input((), dtype="int32", name="partner")
        share = keras.layers.Input((1,), name="share")
        inputs = [*inputs, partner, share]
        pooled = [
            share * value + (1 - share) * keras.ops.take(value, partner, axis=0) if branch.mixable else value
            for branch, value in zip(branches, pooled, strict=True)
        ]
    logits = [branch.logits(value) for branch, value in zip(branches, pooled, strict=True)]
    if settings.apart and len(branches) > 1:
        weights = (1 - settings.apart, *[settings.apart / len(branches)] * len(branches))
        return keras.Model(inputs, [_mean(logits), *logits]), weights
    return keras.Model(inputs, _mean(logits)), (1.0,)


def average(cores: list[Any], dim: int) -> Any:
    """The core whose outputs are the means of these cores' outputs."""
    keras = import_keras()
    x = keras.layers.Input((None, dim), name="scaled")
    mask = keras.layers.Input((None,), dtype="bool", name="mask")
    for number, core in enumerate(cores):
        core.name = f"member_{number}"  # names in a graph must differ
    outputs = [core([x, mask]) for core in cores]
    return keras.Model([x, mask], [_mean(list(same)) for same in zip(*outputs, strict=True)], name="average")


class _Trunk:
    """What branches look at: the last layer's output, or each one's.

    With `batch_norm`, inputs must be 0 outside the mask.
    """

    def __init__(self, settings: AttentionSettings) -> None:
        layers = import_keras().layers
        self._settings = settings
        self.levels = settings.depth if settings.every_depth else 1
        names = ["patch", *(f"patch_{depth}" for depth in range(1, settings.depth))]
        biased = [depth > 0 or not settings.batch_norm for depth in range(settings.depth)]
        self._input_dropout = layers.Dropout(settings.input_dropout)
        self._dense = [
            layers.Dense(settings.hidden, use_bias=bias, name=name) for name, bias in zip(names, biased, strict=True)
        ]
        self._normalise = layers.BatchNormalization(name="normalise") if settings.batch_norm else None
        self._dropout = [layers.Dropout(settings.dropout) for _ in names]
        self._drop = [coarse_dropout(settings.dropout) for _ in names] if settings.coarse_dropout else self._dropout
        if settings.self_attention:
            self._look = _SelfAttention(settings)
            self._look_dropout = layers.Dropout(settings.dropout / 5)
            self._look_norm = layers.LayerNormalization()

    def __call__(self, x: Tensor, mask: Tensor, *, in_training: bool = False) -> list[Tensor]:
        """Each level's output, float32 [batch, patches, hidden]: the last one's, or all."""
        keras = import_keras()
        hidden, levels = self._input_dropout(x), []
        drops = self._drop if in_training else self._dropout
        for depth, (dense, dropout) in enumerate(zip(self._dense, drops, strict=True)):
            if depth == 0 and self._normalise and in_training:
                hidden = normalised_dense(dense, self._normalise)(hidden, mask)
            elif depth == 0 and self._normalise:
                hidden = self._normalise(dense(hidden))
            else:
                hidden = dense(hidden)
            hidden = dropout(keras.layers.ReLU()(hidden))
            levels.append(hidden)
        if self._settings.self_attention:
            levels[-1] = self._look_norm(hidden + self._look_dropout(self._look(hidden, mask)))
        return levels if self._settings.every_depth else levels[-1:]


class _SelfAttention:
    """Each patch takes from the others what it asks for (Vaswani et al., 2017).

    Written in dense layers of few units a head: at 527 classes a step of training takes an eighth of what it took with
    Keras's own layer, whose heads had `hidden / heads` units.
    """

    def __init__(self, settings: AttentionSettings) -> None:
        layers = import_keras().layers
        heads = settings.self_attention
        self._units = min(SELF_ATTENTION_UNITS, max(1, settings.hidden // heads))
        self._asks, self._offers, self._gives = (
            layers.Dense(heads * self._units, name=f"look_{name}") for name in ("query", "key", "value")
        )
        self._split = layers.Reshape((-1, heads, self._units))
        self._join = layers.Reshape((-1, heads * self._units))
        self._dropout = layers.Dropout(settings.dropout / 5)
        self._out = layers.Dense(settings.hidden, name="look_out")

    def __call__(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """[batch, patches, hidden] -> the same shape; masked patches give nothing."""
        ops = import_keras().ops
        query, key, value = (self._split(dense(hidden)) for dense in (self._asks, self._offers, self._gives))
        fit = ops.matmul(ops.transpose(query, (0, 2, 1, 3)), ops.transpose(key, (0, 2, 3, 1))) / self._units**0.5
        shares = ops.softmax(ops.where(ops.expand_dims(mask, (1, 2)), fit, -1e9))
        taken = ops.matmul(self._dropout(shares), ops.transpose(value, (0, 2, 1, 3)))
        return self._out(self._join(ops.transpose(taken, (0, 2, 1, 3))))


def _mean(values: list[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else sum(values[1:], values[0]) / len(values)
