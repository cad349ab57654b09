"""Winograd's convolution against its definition: in exact arithmetic as matrices, in TensorFlow as `conv2d`."""

import numpy as np
import pytest

from embeddings.encoding.winograd import KERNEL, POINTS, REACH, TILE, at_points, from_inputs, to_outputs, transformed


def correlate(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Float64 [height, width, channels] and [3, 3, channels, filters], zeros outside -> [height, width, filters]."""
    height, width, _ = x.shape
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)))
    return sum(padded[i : i + height, j : j + width] @ kernel[i, j] for i in range(KERNEL) for j in range(KERNEL))


def test_points_differ() -> None:
    assert len(set(POINTS)) == REACH - 1


@pytest.mark.parametrize("seed", range(5))
def test_a_row_of_outputs(seed: int) -> None:
    rng = np.random.default_rng(seed)
    inputs, kernel = rng.standard_normal(REACH), rng.standard_normal(KERNEL)
    found = to_outputs() @ ((at_points(KERNEL) @ kernel) * (from_inputs() @ inputs))
    expected = [inputs[i : i + KERNEL] @ kernel for i in range(TILE)]
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_a_tile_takes_a_quarter_of_the_multiplications() -> None:
    kernel = transformed(np.ones((KERNEL, KERNEL, 5, 7), np.float32))
    assert kernel.shape[1:] == (5, 7)
    assert len(kernel) * 4 == TILE**2 * KERNEL**2


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("shape", [(1, 4, 4, 1, 1), (3, 8, 4, 5, 7), (2, 12, 20, 64, 32)])
def test_as_conv2d(shape: tuple[int, ...], pooled: bool) -> None:
    import tensorflow

    from embeddings.encoding.winograd import convolution

    n, height, width, channels, filters = shape
    rng = np.random.default_rng(0)
    x = rng.standard_normal((n, height, width, channels), np.float32)
    kernel = rng.standard_normal((KERNEL, KERNEL, channels, filters), np.float32)
    found = convolution(tensorflow.constant(x), transformed(kernel), pooled=pooled).numpy()
    expected = tensorflow.nn.conv2d(x, kernel, 1, "SAME")
    if pooled:
        expected = tensorflow.nn.max_pool2d(expected, 2, 2, "SAME")
    np.testing.assert_allclose(found, expected.numpy(), atol=2e-6 * 9 * channels)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_rounding_is_that_of_float32() -> None:
    """Of a layer as wide as VGGish's last two, given noise: 1.8e-6 of what comes out, where `conv2d` has 0.8e-6."""
    import tensorflow

    from embeddings.encoding.winograd import convolution

    rng = np.random.default_rng(0)
    x = np.maximum(rng.standard_normal((1, 12, 8, 512), np.float32), 0)
    kernel = rng.standard_normal((KERNEL, KERNEL, 512, 512), np.float32)
    exact = correlate(x[0].astype(np.float64), kernel.astype(np.float64))
    found = convolution(tensorflow.constant(x), transformed(kernel), pooled=False).numpy()[0]
    assert np.sqrt(np.mean((found - exact) ** 2)) < 4e-6 * exact.std()
