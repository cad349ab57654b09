"""How the attention family pools patches: the branches of its graph, each of which makes one answer of many patches.

A branch pools the patches of a clip into something, and answers with logits from that. What a branch says of one patch
("votes") is its answer to that patch alone. Masked patches have weight 0 exactly. Built-in Keras layers only.

Sources: Kong et al., "Audio Set classification with attention model: a probabilistic perspective" (ICASSP 2018) for
"decision", with logits as votes, not probabilities; Kong et al., "Weakly labelled AudioSet tagging with attention
neural networks" (TASLP 2019) for "feature".
"""

from collections.abc import Callable
from typing import Any, Protocol

from classifiers.networks.attention_settings import AttentionSettings
from embeddings.runtimes.tf import import_keras

Tensor = Any


class Branch(Protocol):
    """One way to pool. pool: what `logits` takes, for a clip; alone: the same for each patch by itself."""

    mixable: bool

    def pool(self, hidden: Tensor, mask: Tensor) -> Tensor: ...
    def logits(self, pooled: Tensor) -> Tensor: ...
    def votes(self, hidden: Tensor) -> Tensor: ...
    def attention(self, hidden: Tensor, mask: Tensor) -> Tensor: ...


class Decision:
    """Every patch votes for every class, and says how much its vote counts."""

    mixable = False

    def __init__(self, n_classes: int, settings: AttentionSettings, name: str) -> None:
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

    def __init__(self, n_classes: int, settings: AttentionSettings, name: str) -> None:
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

    def __init__(self, n_classes: int, settings: AttentionSettings, name: str) -> None:
        layers = import_keras().layers
        self._n_classes = n_classes
        self._hidden = layers.Dense(settings.width, activation="relu", name=f"{name}_hidden")
        self._dropout = layers.Dropout(settings.dropout)
        self._out = _output(n_classes, settings, f"{name}_out")

    def logits(self, pooled: Tensor) -> Tensor:
        return self._out(self._dropout(self._hidden(pooled)))


class _MultiHead(_Layered):
    """A few heads, each with its own weights over the patches; their sums lie side by side."""

    def __init__(self, n_classes: int, settings: AttentionSettings, name: str) -> None:
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


BRANCHES: dict[str, Callable[[int, AttentionSettings, str], Branch]] = {
    "multihead": _MultiHead,
    "decision": Decision,
    "feature": _Feature,
    "statistics": _Statistics,
}


def _output(n_classes: int, settings: AttentionSettings, name: str) -> Any:
    keras = import_keras()
    bias = keras.initializers.Constant(settings.output_bias)
    return keras.layers.Dense(n_classes, kernel_initializer=_spread(settings), bias_initializer=bias, name=name)


def _weights(units: int, settings: AttentionSettings, name: str) -> Any:
    return import_keras().layers.Dense(units, kernel_initializer=_spread(settings), name=name)


def _spread(settings: AttentionSettings) -> Any:
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
