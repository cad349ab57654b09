"""From the patches of a row to one vector: what the shallow heads learn from. Pure."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from embeddings.embedding import Vectors

Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
ROWS_AT_ONCE = 512
"""Rows of a spectrogram have a thousand patches: a few hundred MB in float64."""


def pool(vectors: Vectors, mask: Mask, how: str = "mean") -> Floats:
    """Statistics of the real patches, in stored units; what stands outside the mask has no influence.

    Args:
        vectors: [n, patches, dim]; mask: bool [n, patches], at least one True in each row.
        how: one of POOLINGS.
    Returns:
        float64 [n, dim x number of statistics].
    """
    parts = [
        np.concatenate([statistic(values, real) for statistic in POOLINGS[how]], axis=1)
        for values, real in (
            (vectors[i : i + ROWS_AT_ONCE], mask[i : i + ROWS_AT_ONCE, :, None])
            for i in range(0, len(vectors), ROWS_AT_ONCE)
        )
    ]
    width = vectors.shape[2] * len(POOLINGS[how])
    return np.concatenate(parts) if parts else np.zeros((0, width))


def _mean(vectors: Vectors, real: Mask) -> Floats:
    total: Floats = np.where(real, vectors, 0).sum(axis=1, dtype=np.float64)
    return total / real.sum(axis=1)


def _std(vectors: Vectors, real: Mask) -> Floats:
    distances = np.where(real, vectors - _mean(vectors, real)[:, None], 0)
    return np.sqrt((distances**2).sum(axis=1) / real.sum(axis=1))


def _max(vectors: Vectors, real: Mask) -> Floats:
    return np.where(real, vectors, -np.inf).max(axis=1)


POOLINGS: dict[str, tuple[Callable[[Vectors, Mask], Floats], ...]] = {
    "mean": (_mean,),
    "mean+std": (_mean, _std),
    "mean+std+max": (_mean, _std, _max),
}
"""Name -> the statistics, side by side in this order."""
