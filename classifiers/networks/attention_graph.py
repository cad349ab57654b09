"""How the attention family looks at patches: a trunk that each patch goes through, and branches that pool them.

A branch pools the patches of a clip into something, and answers with logits from that; the clip's logits are the mean
of its branches'. What a branch says of one patch ("votes") is its answer to that patch alone. Masked patches have
weight 0 exactly. Built-in Keras layers only: the graph loads anywhere.

Sources: Kong et al., "Audio Set classification with attention model: a probabilistic perspective" (ICASSP 2018) for
"decision", with logits as votes, not probabilities; Yu et al., "Multi-level attention model for weakly supervised audio
classification" (DCASE 2018) for several depths; Kong et al., "Weakly labelled AudioSet tagging with attention neural
networks" (TASLP 2019) for "feature".
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from classifiers.networks.keras_head import Floats
from embeddings.tf import import_keras, import_tensorflow
from ingest.errors import UsageError

Tensor = Any

SELF_ATTENTION_UNITS = 32
"""Of a head in which patches look at each other, at most."""


@dataclass(frozen=True, slots=True)
class GraphSettings:
    """What the graph looks like.

    branches: names of BRANCHES.
    hidden, depth: width and number of the layers that each patch goes through.
    every_depth: branches at each of the layers, not at the last one alone.
    apart: share of the loss that is what each branch says by itself, where there are several; the rest is their mean.
        At 0 they come to lean on each other, and err together.
    batch_norm: the first layer's outputs are normalised.
    self_attention: heads of a layer in which patches look at each other; 0 for none.
    input_dropout, dropout: share of inputs and of hidden units that are dropped in training.
    coarse_dropout: which of a patch's hidden units are dropped is drawn by the byte, to the nearest 256th of `dropout`.
    heads, width: attention heads of the branch "multihead", and of its layer behind them.
    narrow: units that the branch "decision" squeezes a patch into before it weighs it; 0 weighs it as it is.
    output_bias: what logits start from; below 0 where most classes are absent.
    output_spread: of the first weights of outputs and attention, as a share of the usual (Glorot's): with hundreds of
        classes and few passes, much of what was drawn is still there when training ends.
    """

    branches: tuple[str, ...] = ("decision",)
    hidden: int = 512
    depth: int = 1
    every_depth: bool = False
    apart: float = 0.0
    batch_norm: bool = False
    self_attention: int = 0
    input_dropout: float = 0.5
    dropout: float = 0.5
    coarse_dropout: bool = False
    heads: int = 4
    width: int = 1024
    narrow: int = 0
    output_bias: float = 0.0
    output_spread: float = 1.0


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


class Branch(Protocol):
    """One way to pool. pool: what `logits` takes, for a clip; alone: the same for each patch by itself."""

    mixable: bool

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor: ...
    def logits(self, pooled: Tensor) -> Tensor: ...
    def votes(self, hidden: Tensor) -> Tensor: ...
    def attention(self, hidden: Tensor, mask: Tensor) -> Tensor: ...


def build_graph(dim: int, n_classes: int, settings: GraphSettings, *, mix_pooled: bool) -> Graph:
    """A new network. Imports TensorFlow.

    Raises:
        UsageError: a branch that does not exist, one that is named twice, or none.
    """
    if not settings.branches or (unknown := sorted(set(settings.branches) - set(BRANCHES))):
        what = repr(unknown[0]) if settings.branches else "none"
        raise UsageError(f"--set branches: takes some of {', '.join(BRANCHES)}, got {what}; correct it")
    if len(set(settings.branches)) < len(settings.branches):
        raise UsageError(f"--set branches: takes each once, got {', '.join(settings.branches)}; leave one out")
    keras = import_keras()
    layers, ops = keras.layers, keras.ops

    x = layers.Input((None, dim), name="scaled")
    mask = layers.Input((None,), dtype="bool", name="mask")
    trunk = _Trunk(settings)
    pairs = [
        (BRANCHES[name](n_classes, settings, f"{name}_{depth}"), depth)
        for depth in range(trunk.levels)
        for name in settings.branches
    ]
    branches = [branch for branch, _ in pairs]
    levels = trunk(x, mask)
    clip = _mean([branch.logits(branch.pool(levels[depth], mask)) for branch, depth in pairs])
    seen = [pair for pair in pairs if isinstance(pair[0], _Decision)] or pairs
    votes = _mean([branch.votes(levels[depth]) for branch, depth in seen])
    attention = _mean([branch.attention(levels[depth], mask) for branch, depth in seen])
    core = keras.Model([x, mask], [clip, votes, attention], name="attention")

    levels, inputs = trunk(x, mask, in_training=True), [x, mask]
    pooled = [branch.pool(levels[depth], mask) for branch, depth in pairs]
    if mix_pooled:
        partner = layers.Input((), dtype="int32", name="partner")
        share = layers.Input((1,), name="share")
        inputs += [partner, share]
        pooled = [
            share * value + (1 - share) * ops.take(value, partner, axis=0) if branch.mixable else value
            for branch, value in zip(branches, pooled, strict=True)
        ]
    logits = [branch.logits(value) for branch, value in zip(branches, pooled, strict=True)]
    if settings.apart and len(branches) > 1:
        weights = (1 - settings.apart, *[settings.apart / len(branches)] * len(branches))
        return Graph(keras.Model(inputs, [_mean(logits), *logits]), weights, core)
    return Graph(keras.Model(inputs, _mean(logits)), (1.0,), core)


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

    def __init__(self, settings: GraphSettings) -> None:
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
        self._drop = [_coarse_dropout(settings.dropout) for _ in names] if settings.coarse_dropout else self._dropout
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
                hidden = _normalised_dense(dense, self._normalise)(hidden, mask)
            elif depth == 0 and self._normalise:
                hidden = self._normalise(dense(hidden))
            else:
                hidden = dense(hidden)
            hidden = dropout(keras.layers.ReLU()(hidden))
            levels.append(hidden)
        if self._settings.self_attention:
            levels[-1] = self._look_norm(hidden + self._look_dropout(self._look(hidden, mask)))
        return levels if self._settings.every_depth else levels[-1:]


def _coarse_dropout(rate: float) -> Any:
    """Dropout that draws a byte for each unit, where Keras draws a float32: that took a twentieth of a step."""
    keras, tensorflow = import_keras(), import_tensorflow()

    class CoarseDropout(keras.layers.Layer):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.seed_generator = keras.random.SeedGenerator()
            self.dropped = min(round(256 * rate), 255)

        def call(self, x: Tensor, training: bool = False) -> Tensor:
            if not training:
                return x
            shape = tensorflow.shape(x)
            n = tensorflow.reduce_prod(shape)
            words = tensorflow.random.stateless_uniform(
                [(n + 3) // 4], self.seed_generator.next(), None, None, tensorflow.int32
            )
            drawn = tensorflow.reshape(tensorflow.bitcast(words, tensorflow.uint8), [-1])[:n]
            stays = tensorflow.reshape(drawn >= self.dropped, shape)
            return tensorflow.where(stays, x * (256 / (256 - self.dropped)), 0.0)

    return CoarseDropout()


def _normalised_dense(dense: Any, normalise: Any) -> Any:
    """Both layers as one, in training: the moments of what a linear layer gives follow from those of its inputs, which
    are few, so that no pass over its outputs is needed; nor for the bias, which is the weight of an input that is
    always 1. Moving moments are left alone: `Graph.settle` sets them.
    """
    keras = import_keras()
    ops = keras.ops

    class NormalisedDense(keras.layers.Layer):  # type: ignore[name-defined]
        def __init__(self) -> None:
            super().__init__(name="normalised_patch")
            self.dense, self.normalise = dense, normalise

        def call(self, x: Tensor, mask: Tensor) -> Tensor:
            count = ops.maximum(ops.sum(ops.cast(mask, x.dtype)), 1)
            flat = ops.reshape(x, (-1, x.shape[-1]))
            mean = ops.sum(flat, axis=0, keepdims=True) / count
            covariance = ops.matmul(ops.transpose(flat), flat) / count - ops.transpose(mean) * mean
            kernel = self.dense.kernel
            variance = ops.sum(kernel * ops.matmul(covariance, kernel), axis=0)
            scale = self.normalise.gamma * ops.rsqrt(variance + self.normalise.epsilon)
            bias = self.normalise.beta - ops.matmul(mean, kernel * scale)
            x = ops.concatenate([x, ops.ones_like(x[..., :1])], axis=-1)
            return ops.matmul(x, ops.concatenate([kernel * scale, bias], axis=0))

    return NormalisedDense()


class _SelfAttention:
    """Each patch takes from the others what it asks for (Vaswani et al., 2017).

    Written in dense layers of few units a head: at 527 classes a step of training takes an eighth of what it took with
    Keras's own layer, whose heads had `hidden / heads` units.
    """

    def __init__(self, settings: GraphSettings) -> None:
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


class _Decision:
    """Every patch votes for every class, and says how much its vote counts."""

    mixable = False

    def __init__(self, n_classes: int, settings: GraphSettings, name: str) -> None:
        self._votes = _output(n_classes, settings, f"{name}_votes")
        self._weights = _weights(n_classes, settings, f"{name}_weights")
        narrow = import_keras().layers.Dense(settings.narrow, name=f"{name}_narrow") if settings.narrow else None
        self._narrow = narrow or (lambda hidden: hidden)

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return import_keras().ops.sum(self.attention(hidden, mask) * self.votes(hidden), axis=1)

    def logits(self, pooled: Tensor) -> Tensor:
        return pooled

    def votes(self, hidden: Tensor) -> Tensor:
        return self._votes(hidden)

    def attention(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return _over_patches(self._weights(self._narrow(hidden)), mask)


class _Feature:
    """Every patch says for each hidden unit how much it counts; classes are read off the pooled units."""

    mixable = True

    def __init__(self, n_classes: int, settings: GraphSettings, name: str) -> None:
        self._n_classes = n_classes
        self._weights = _weights(settings.hidden, settings, f"{name}_weights")
        self._out = _output(n_classes, settings, f"{name}_out")

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return import_keras().ops.sum(_over_patches(self._weights(hidden), mask) * hidden, axis=1)

    def logits(self, pooled: Tensor) -> Tensor:
        return self._out(pooled)

    def votes(self, hidden: Tensor) -> Tensor:
        return self._out(hidden)

    def attention(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return _for_each_class(_over_patches(self._weights(hidden), mask), self._n_classes)


class _Layered:
    """What is pooled goes through one more layer before classes are read off."""

    mixable = True

    def __init__(self, n_classes: int, settings: GraphSettings, name: str) -> None:
        layers = import_keras().layers
        self._n_classes = n_classes
        self._hidden = layers.Dense(settings.width, activation="relu", name=f"{name}_hidden")
        self._dropout = layers.Dropout(settings.dropout)
        self._out = _output(n_classes, settings, f"{name}_out")

    def logits(self, pooled: Tensor) -> Tensor:
        return self._out(self._dropout(self._hidden(pooled)))


class _MultiHead(_Layered):
    """A few heads, each with its own weights over the patches; their sums lie side by side."""

    def __init__(self, n_classes: int, settings: GraphSettings, name: str) -> None:
        super().__init__(n_classes, settings, name)
        self._heads = settings.heads
        self._weights = _weights(settings.heads, settings, f"{name}_weights")

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        ops = import_keras().ops
        weights = _over_patches(self._weights(hidden), mask)
        sums = ops.matmul(ops.transpose(weights, (0, 2, 1)), hidden)
        return ops.reshape(sums, (-1, self._heads * hidden.shape[-1]))

    def votes(self, hidden: Tensor) -> Tensor:
        return self.logits(import_keras().ops.concatenate([hidden] * self._heads, axis=-1))

    def attention(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return _for_each_class(_over_patches(self._weights(hidden), mask), self._n_classes)


class _Statistics(_Layered):
    """Mean, spread and largest value of each hidden unit over the patches: no patch counts more than another."""

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor:
        ops = import_keras().ops
        there = ops.expand_dims(mask, -1)
        share = _over_patches(ops.zeros_like(hidden[..., :1]), mask)
        mean = ops.sum(share * hidden, axis=1)
        variance = ops.sum(share * ops.square(hidden), axis=1) - ops.square(mean)
        largest = ops.max(ops.where(there, hidden, -1e9), axis=1)
        return ops.concatenate([mean, ops.sqrt(ops.maximum(variance, 1e-6)), largest], axis=-1)

    def votes(self, hidden: Tensor) -> Tensor:
        ops = import_keras().ops
        return self.logits(ops.concatenate([hidden, ops.zeros_like(hidden), hidden], axis=-1))

    def attention(self, hidden: Tensor, mask: Tensor) -> Tensor:
        return _for_each_class(_over_patches(import_keras().ops.zeros_like(hidden[..., :1]), mask), self._n_classes)


BRANCHES: dict[str, Callable[[int, GraphSettings, str], Branch]] = {
    "multihead": _MultiHead,
    "decision": _Decision,
    "feature": _Feature,
    "statistics": _Statistics,
}


def _output(n_classes: int, settings: GraphSettings, name: str) -> Any:
    keras = import_keras()
    bias = keras.initializers.Constant(settings.output_bias)
    return keras.layers.Dense(n_classes, kernel_initializer=_spread(settings), bias_initializer=bias, name=name)


def _weights(units: int, settings: GraphSettings, name: str) -> Any:
    return import_keras().layers.Dense(units, kernel_initializer=_spread(settings), name=name)


def _spread(settings: GraphSettings) -> Any:
    return import_keras().initializers.VarianceScaling(settings.output_spread**2, "fan_avg", "uniform")


def _over_patches(logits: Tensor, mask: Tensor) -> Tensor:
    """Softmax over the patches that are there; exactly 0 for the others.

    Written out: TensorFlow's softmax turns the whole tensor round for an axis that is not the last, which costs more
    than the exponentials.
    """
    ops = import_keras().ops
    logits = ops.where(ops.expand_dims(mask, -1), logits, -1e9)
    shares = ops.exp(logits - ops.stop_gradient(ops.max(logits, axis=1, keepdims=True)))
    return shares / ops.sum(shares, axis=1, keepdims=True)


def _for_each_class(weights: Tensor, n_classes: int) -> Tensor:
    """Weights that no class has to itself: their mean, the same for all classes.

    `ops.repeat` would do too, but TensorFlow complains of its graph, aloud, whenever such a head is saved.
    """
    ops = import_keras().ops
    return ops.tile(ops.mean(weights, axis=-1, keepdims=True), (1, 1, n_classes))


def _mean(values: list[Tensor]) -> Tensor:
    return values[0] if len(values) == 1 else sum(values[1:], values[0]) / len(values)
