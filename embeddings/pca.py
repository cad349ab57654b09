"""Whitened PCA and 8-bit quantisation of vectors: the post-processing of AudioSet's embeddings. Pure but for `load`.

Projection M (x - mean), clipped to [-2, 2], mapped to 0..255 and truncated. `vggish-pca` uses the official
parameters, `yamnet-128` ones that are fitted by `fit_pca`.

Source: `vggish_postprocess.py` (tensorflow/models, research/audioset/vggish).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingest.counted import counted
from ingest.errors import UsageError, WeightsError
from ingest.foreign import DAMAGED_NPZ
from ingest.places.files import atomic_path

QUANTIZE_MIN, QUANTIZE_MAX = -2.0, 2.0

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Pca:
    """A projection from `dim_in` to `dim` values.

    eigen_vectors: float32 [dim, dim_in], one direction per row, scaled to unit variance.
    means: float32 [dim_in].
    """

    eigen_vectors: Floats
    means: Floats

    @property
    def dim(self) -> int:
        return len(self.eigen_vectors)

    def project(self, vectors: Floats) -> Floats:
        """Float32 [n, dim_in] -> float32 [n, dim]."""
        return np.asarray((vectors - self.means) @ self.eigen_vectors.T, np.float32)

    def __call__(self, vectors: Floats) -> npt.NDArray[np.uint8]:
        """Project and quantise: float32 [n, dim_in] -> uint8 [n, dim]."""
        return quantize(self.project(vectors))


def quantize(values: Floats) -> npt.NDArray[np.uint8]:
    """Clip to [-2, 2], map to 0..255 and truncate, as the reference does (it does not round)."""
    clipped = np.clip(values, QUANTIZE_MIN, QUANTIZE_MAX)
    return ((clipped - QUANTIZE_MIN) * (255.0 / (QUANTIZE_MAX - QUANTIZE_MIN))).astype(np.uint8)


def fit_pca(vectors: Floats, dim: int = 128) -> Pca:
    """Fit a whitened PCA: over `vectors`, each projected value has mean 0 and variance 1 and none correlate.

    Args:
        vectors: float32 [n, dim_in], n > dim.
    Raises:
        UsageError: too few vectors to fit `dim` directions.
    """
    rank_limit = min(len(vectors) - 1, vectors.shape[1])
    if rank_limit < dim:
        raise UsageError(
            f"--fit-pca: {counted(len(vectors), 'vector')} of {vectors.shape[1]} values cannot fit {dim} directions; "
            f"give more audio (more than {dim} patches, better thousands)"
        )
    means = vectors.mean(axis=0, dtype=np.float64)
    centred = vectors - means
    variances, directions = np.linalg.eigh(centred.T @ centred / len(vectors))  # ascending
    variances, directions = variances[::-1][:dim], directions[:, ::-1][:, :dim]
    floor = variances[0] * 1e-9  # a direction in which nothing varies stays small instead of becoming noise
    eigen_vectors = (directions / np.sqrt(np.maximum(variances, floor))).T
    return Pca(eigen_vectors.astype(np.float32), means.astype(np.float32))


def save_pca(pca: Pca, path: Path) -> None:
    """Write an npz with the official names, `pca_eigen_vectors` and `pca_means`."""
    with atomic_path(path) as temporary, temporary.open("wb") as file:
        np.savez(file, pca_eigen_vectors=pca.eigen_vectors, pca_means=pca.means)


def load_pca(path: Path, *, dim_in: int, dim: int = 128) -> Pca:
    """Read an npz of `pca_eigen_vectors` [dim, dim_in] and `pca_means` [dim_in] or [dim_in, 1].

    Raises:
        WeightsError: no such file, not an npz, an array is missing or has another shape.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            eigen_vectors = np.asarray(arrays["pca_eigen_vectors"], np.float32)
            means = np.asarray(arrays["pca_means"], np.float32).reshape(-1)
        if not (np.isfinite(eigen_vectors).all() and np.isfinite(means).all()):
            raise ValueError("values that are not finite")
    except DAMAGED_NPZ as error:
        raise WeightsError(
            f"{path}: not an npz with pca_eigen_vectors and pca_means ({error}); check the path"
        ) from error
    if eigen_vectors.shape != (dim, dim_in) or means.shape != (dim_in,):
        raise WeightsError(
            f"{path}: pca_eigen_vectors must be [{dim}, {dim_in}] and pca_means [{dim_in}], got "
            f"{list(eigen_vectors.shape)} and {list(means.shape)}; was it fitted for another encoder?"
        )
    return Pca(eigen_vectors, means)
