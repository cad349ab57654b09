"""Rows of a store: columns side by side, vectors padded and masked (very many lie in a file, see `mapped`)."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from embeddings.embedding import Vectors
from embeddings.mapped import take
from ingest.counted import counted
from ingest.errors import FormatError


@dataclass(frozen=True, slots=True)
class EmbeddingTable:
    """n windows, embedded; row i of every field belongs to window i.

    keys, sources, paths: as in `Embedding`.
    start_s, end_s: float64 [n], the window in its source, in seconds.
    mids: labels of each window.
    folds: int32 [n]; -1 where the data set has none.
    vectors: float32 or uint8 [n, max_patches, dim], as stored; zeros where `mask` is False.
    mask: bool [n, max_patches]; True where a patch is real. Every row has at least one.
    """

    keys: list[str]
    sources: list[str]
    paths: list[str]
    start_s: npt.NDArray[np.float64]
    end_s: npt.NDArray[np.float64]
    mids: list[tuple[str, ...]]
    folds: npt.NDArray[np.int32]
    vectors: Vectors
    mask: npt.NDArray[np.bool_]

    def __post_init__(self) -> None:
        n = len(self.keys)
        columns = (self.sources, self.paths, self.start_s, self.end_s, self.mids, self.folds, self.vectors, self.mask)
        if any(len(column) != n for column in columns) or self.vectors.shape[:2] != self.mask.shape:
            lengths = [len(column) for column in columns]
            raise FormatError(
                f"EmbeddingTable: columns must have {counted(n, 'row')} like keys, got {lengths}; pass whole columns"
            )

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def n_patches(self) -> npt.NDArray[np.int32]:
        """int32 [n], real patches in each row."""
        return self.mask.sum(axis=1, dtype=np.int32)

    def require_finite(self) -> None:
        """Raise FormatError, in plain words, where a vector is not finite."""
        if np.issubdtype(self.vectors.dtype, np.integer):
            return
        finite = np.isfinite(self.vectors).all(axis=(1, 2))
        if not finite.all():
            others = int(np.count_nonzero(~finite)) - 1
            also = f" (so do those of {counted(others, 'other row')})" if others else ""
            raise FormatError(
                f"{self.keys[int(np.argmin(finite))]}: its vectors hold NaN or infinite values{also}; embed this audio "
                "again, or take the rows out"
            )

    def select(self, indices: npt.ArrayLike) -> "EmbeddingTable":
        """The rows at `indices` (integers, or one bool a row), in that order; vectors are copied."""
        rows = np.arange(len(self))[np.asarray(indices)] if len(self) else np.zeros(0, np.intp)
        return EmbeddingTable(
            keys=[self.keys[i] for i in rows],
            sources=[self.sources[i] for i in rows],
            paths=[self.paths[i] for i in rows],
            start_s=self.start_s[rows],
            end_s=self.end_s[rows],
            mids=[self.mids[i] for i in rows],
            folds=self.folds[rows],
            vectors=take(self.vectors, rows),
            mask=self.mask[rows],
        )
