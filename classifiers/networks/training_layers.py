"""Keras layers that stand in a graph only while it is trained, and do in less time what built-in ones do in use."""

from typing import Any

from embeddings.runtimes.tf import import_keras, import_tensorflow

Tensor = Any


def coarse_dropout(rate: float) -> Any:
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


def normalised_dense(dense: Any, normalise: Any) -> Any:
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
