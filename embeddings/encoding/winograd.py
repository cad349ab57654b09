"""3x3 convolution with a quarter of the multiplications: Winograd's minimal filtering F(4x4, 3x3), in TensorFlow.

A tile of 4x4 outputs needs 6x6 inputs. Inputs and kernel are changed into values of polynomials at six points in each
direction; there the convolution is one product for each of the 36, and 16 outputs take 36 multiplications, not 144.
Between the points the products of all tiles are matrix products, which is what processors do best.

Outputs are those of `conv2d` but for rounding. Of noise in one wide layer they are twice as far from the exact ones; of
sounds on their way through VGGish's layers with random weights, they were nearer at every one (40 patches, in float64).

Sources: Winograd, "Arithmetic complexity of computations" (SIAM 1980); Lavin and Gray, "Fast algorithms for
convolutional neural networks" (CVPR 2016). The matrices follow from the points by the transposed Toom-Cook algorithm.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings.runtimes.tf import import_tensorflow

TILE, KERNEL = 4, 3
REACH = TILE + KERNEL - 1

POINTS = (0.0, 0.5**0.5, -(0.5**0.5), 2**0.5, -(2**0.5))
"""And infinity. Of those tried these err least; the usual 0, 1, -1, 2, -2 half as much again."""

Floats = npt.NDArray[np.float32]
Matrix = npt.NDArray[np.float64]


def at_points(n: int) -> Matrix:
    """[6, n]: n coefficients -> the polynomial's value at each point; at infinity its last coefficient."""
    return np.vstack([np.vander(np.array(POINTS), n, increasing=True), np.eye(n)[-1:]])


def to_outputs() -> Matrix:
    """[4, 6]: products at the points -> four outputs in a row."""
    return at_points(TILE).T


def from_inputs() -> Matrix:
    """[6, 6]: six inputs in a row -> what is multiplied at each point."""
    return np.asarray(np.linalg.inv(at_points(REACH)).T, np.float64)


def transformed(kernel: Floats) -> Floats:
    """[3, 3, channels, filters] -> [36, channels, filters]: what `convolution` takes."""
    points = at_points(KERNEL)
    both = np.kron(points, points)
    return np.asarray(np.tensordot(both, kernel.reshape(KERNEL**2, *kernel.shape[2:]), 1), np.float32)


def convolution(x: Any, kernel: Any, *, pooled: bool) -> Any:
    """`conv2d` of stride 1 with padding "SAME" and, where `pooled`, the 2x2 maximum after it.

    Args:
        x: tensor [n, height, width, channels]; height and width multiples of 4.
        kernel: [36, channels, filters], see `transformed`; products are in its type, all else is in float32.

    Returns:
        [n, height, width, filters] in the kernel's type; pooled, half of height and width.
    """
    tensorflow = import_tensorflow()
    cast, reshape, matmul, transpose = tensorflow.cast, tensorflow.reshape, tensorflow.matmul, tensorflow.transpose
    _, height, width, channels = x.shape
    rows, columns, side = height // TILE, width // TILE, TILE

    x = matmul(_over_tiles(height), reshape(cast(x, np.float32), (-1, height, width * channels)))
    x = matmul(_over_tiles(width), reshape(x, (-1, width, channels)))
    x = transpose(reshape(x, (-1, REACH, rows, REACH, columns, channels)), (1, 3, 0, 2, 4, 5))
    x = matmul(cast(reshape(x, (REACH**2, -1, channels)), kernel.dtype), kernel)
    x = matmul(np.kron(to_outputs(), to_outputs()).astype(np.float32), reshape(cast(x, np.float32), (REACH**2, -1)))
    if pooled:  # within the tiles, before they are put in their places
        side = TILE // 2
        x = reshape(x, (side, 2, side, 2, -1))
        x = tensorflow.maximum(x[:, 0], x[:, 1])
        x = tensorflow.maximum(x[:, :, 0], x[:, :, 1])
    x = transpose(reshape(x, (side, side, -1, rows, columns, kernel.shape[-1])), (2, 3, 0, 4, 1, 5))
    return cast(reshape(x, (-1, rows * side, columns * side, kernel.shape[-1])), kernel.dtype)


def _over_tiles(length: int) -> Floats:
    """[6 * tiles, length]: `from_inputs` for each tile of a row; what lies outside of the row is 0."""
    windows = np.zeros((REACH, length // TILE, length + REACH - TILE))
    for tile in range(length // TILE):
        windows[:, tile, tile * TILE : tile * TILE + REACH] = from_inputs()
    return windows[:, :, 1:-1].reshape(-1, length).astype(np.float32)
