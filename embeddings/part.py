"""Touches the disk: one Parquet file of a store, written in bounded memory and read without copies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from embeddings.columns import binary_data, binary_rows, numbers, optional_integers, string_lists, strings
from embeddings.embedding import Embedding, Vectors
from embeddings.encoders import EncoderSpec
from ingest.counted import counted
from ingest.errors import FormatError

SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("source", pa.string()),
        ("path", pa.string()),
        ("start_s", pa.float64()),
        ("end_s", pa.float64()),
        ("mids", pa.list_(pa.string())),
        ("fold", pa.int32()),
        ("n_patches", pa.int32()),
        ("vectors", pa.binary()),
    ]
)
"""`vectors` holds the patches row by row, little-endian, in the dtype of the store's spec."""

_LENGTH_BYTES = 4
"""Before each row's vectors, in Parquet's plain form."""
ROW_GROUP_BYTES = 16 << 20
"""Vectors in a row group: what a writer holds before it writes, and a reader reads at a time."""


def stored_dtype(spec: EncoderSpec) -> np.dtype[Any]:
    """The dtype of a spec's vectors on disk: little-endian everywhere."""
    return np.dtype(spec.dtype).newbyteorder("<")


@dataclass(frozen=True, slots=True)
class RowColumns:
    """n rows, all but their vectors; as in `Embedding`. n_patches: integer [n], patches of each row, at least 1."""

    keys: Sequence[str]
    sources: Sequence[str]
    paths: Sequence[str]
    start_s: Sequence[float] | npt.NDArray[np.floating]
    end_s: Sequence[float] | npt.NDArray[np.floating]
    mids: Sequence[Sequence[str]]
    folds: Sequence[int | None]
    n_patches: npt.NDArray[np.integer]

    @classmethod
    def of(cls, rows: Sequence[Embedding]) -> "RowColumns":
        return cls(
            keys=[row.key for row in rows],
            sources=[row.source for row in rows],
            paths=[row.path for row in rows],
            start_s=[row.start_s for row in rows],
            end_s=[row.end_s for row in rows],
            mids=[row.mids for row in rows],
            folds=[row.fold for row in rows],
            n_patches=np.array([len(row.vectors) for row in rows]),
        )

    def to_arrow(self) -> list[Any]:
        """The columns of SCHEMA before `vectors`."""
        return [
            *(strings(column) for column in (self.keys, self.sources, self.paths)),
            *(numbers(column, np.float64) for column in (self.start_s, self.end_s)),
            string_lists(self.mids),
            optional_integers(self.folds),
            numbers(self.n_patches, np.int32),
        ]


class PartWriter:
    """Appends rows to one Parquet file; holds at most one row group in memory. Not thread-safe.

    Rows taken back with `rollback` after they were written are left out by a second pass in `close`.
    """

    def __init__(self, path: Path, spec: EncoderSpec, row_group_bytes: int = ROW_GROUP_BYTES) -> None:
        self._path, self._spec, self._row_group_bytes = path, spec, row_group_bytes
        self._dtype = stored_dtype(spec)
        self._file = _open_writer(path)
        self._pending: list[Embedding] = []
        self._pending_bytes = 0
        self._written = 0
        self._dropped: list[tuple[int, int]] = []

    @property
    def rows(self) -> int:
        """Rows appended so far, rolled-back ones that were written already included: a mark for `rollback`."""
        return self._written + len(self._pending)

    @property
    def kept_rows(self) -> int:
        """Rows that the finished part will have."""
        return self.rows - sum(end - begin for begin, end in self._dropped)

    def append(self, embedding: Embedding) -> None:
        """Add one row.

        Raises:
            FormatError: vectors of another dtype or dim than the spec's, or no patch at all.
        """
        self._check(embedding.key, embedding.vectors)
        self._pending.append(embedding)
        self._pending_bytes += embedding.vectors.nbytes
        if self._pending_bytes >= self._row_group_bytes:
            self._flush()

    def append_columns(self, columns: RowColumns, vectors: Vectors) -> None:
        """Add n rows at once, without a Python object a row for the vectors.

        Args:
            vectors: [sum(n_patches), dim] in the spec's dtype: the rows' patches one after another.
        Raises:
            FormatError: vectors of another dtype or dim than the spec's, a row without patches, or a sum that is
                not the number of vectors.
        """
        self._flush()
        n, n_patches = len(columns.keys), columns.n_patches
        if not n:
            return
        self._check(f"{columns.keys[0]} and {n - 1} more", vectors)
        if n_patches.min() < 1 or n_patches.sum() != len(vectors):
            raise FormatError(
                f"n_patches must be at least 1 and sum to {counted(len(vectors), 'vector')}, "
                f"got a minimum of {n_patches.min()} and a sum of {n_patches.sum()}; count the patches of each row"
            )
        small = columns.to_arrow()
        ends = np.cumsum(n_patches)
        patches_a_group = max(1, self._row_group_bytes // (self._spec.dim * self._dtype.itemsize))
        begin = 0
        while begin < n:
            first = int(ends[begin] - n_patches[begin])
            end = max(begin + 1, int(np.searchsorted(ends, first + patches_a_group, side="right")))
            binary = binary_rows(
                vectors[first : int(ends[end - 1])].astype(self._dtype, copy=False), n_patches[begin:end]
            )
            self._write([*(column.slice(begin, end - begin) for column in small), binary])
            begin = end

    def rollback(self, mark: int) -> None:
        """Take back every row appended since `rows` was `mark`."""
        if self.rows > mark >= self._written:
            del self._pending[mark - self._written :]
            self._pending_bytes = sum(row.vectors.nbytes for row in self._pending)
        elif mark < self._written:
            self._pending.clear()
            self._pending_bytes = 0
            self._dropped.append((mark, self._written))

    def close(self) -> None:
        """Write what is pending and the footer; then leave out what was rolled back."""
        self._flush()
        self._file.close()
        if self._dropped:
            _without_rows(self._path, self._dropped)

    def abandon(self) -> None:
        """Let go of the file; what it holds is of no use."""
        self._file.close()

    def _check(self, key: str, vectors: Vectors) -> None:
        spec = self._spec
        if (
            vectors.dtype != np.dtype(spec.dtype)
            or vectors.ndim != 2
            or vectors.shape[1] != spec.dim
            or not len(vectors)
        ):
            raise FormatError(
                f"{key}: vectors must be {spec.dtype} [at least 1, {spec.dim}] like the store's, "
                f"got {vectors.dtype} {list(vectors.shape)}; check the encoder"
            )

    def _flush(self) -> None:
        rows, self._pending, self._pending_bytes = self._pending, [], 0
        if not rows:
            return
        vectors = np.concatenate([row.vectors for row in rows]).astype(self._dtype, copy=False)
        columns = RowColumns.of(rows)
        self._write([*columns.to_arrow(), binary_rows(vectors, columns.n_patches)])

    def _write(self, columns: list[Any]) -> None:
        table = pa.table(columns, schema=SCHEMA)
        self._file.write_table(table, row_group_size=max(1, len(table)))
        self._written += len(table)


def vectors_of(group: Any) -> Any:
    """The metadata of the column `vectors`, from those of its row group."""
    return group.column(group.num_columns - 1)


def require_room(group: Any, n_patches: npt.NDArray[np.int32], dtype: np.dtype[Any], dim: int) -> None:
    """Refuse rows that tell of more patches than their bytes can hold, before memory is made for them.

    Args:
        group: the metadata of their row group.
    Raises:
        FormatError: so it is, or a row has no patch.
    """
    column = vectors_of(group)
    if not len(n_patches) or any("DICTIONARY" in encoding for encoding in column.encodings):
        return  # the latter is not as we write it, and its bytes do not tell of its rows
    plain = column.compression == "UNCOMPRESSED"
    held = column.total_compressed_size if plain else column.total_uncompressed_size
    told = int(n_patches.sum(dtype=np.int64)) * dim * dtype.itemsize
    if n_patches.min() < 1 or told > held - _LENGTH_BYTES * len(n_patches):
        raise FormatError(
            f"{len(n_patches)} rows tell of {n_patches.min()} to {n_patches.max()} patches of {dim} {dtype.name} "
            f"values, and have {held} bytes in all"
        )


def read_patches(chunk: Any, n_patches: npt.NDArray[np.int32], dtype: np.dtype[Any], dim: int) -> npt.NDArray[Any]:
    """The vectors of a chunk of the `vectors` column, [sum(n_patches), dim]: a view of Arrow's own memory.

    Raises:
        FormatError: a row's bytes are not n_patches x dim values.
    """
    if not len(chunk):
        return np.zeros((0, dim), dtype)
    offsets, data = binary_data(chunk)
    expected = n_patches.astype(np.int64) * dim * dtype.itemsize
    wrong = np.flatnonzero((np.diff(offsets) != expected) | (n_patches < 1))
    if len(wrong):
        row = wrong[0]
        raise FormatError(
            f"a row has {n_patches[row]} patches of {dim} {dtype.name} values, but {np.diff(offsets)[row]} bytes"
        )
    count = (int(offsets[-1]) - int(offsets[0])) // dtype.itemsize
    return np.frombuffer(data, dtype, count, int(offsets[0])).reshape(-1, dim)


def _open_writer(path: Path) -> Any:
    # Vectors hardly compress and are most of the bytes: stored plain, they load at the speed of memory.
    compression = {name: "NONE" if name == "vectors" else "ZSTD" for name in _leaf_names()}
    return pq.ParquetWriter(path, SCHEMA, compression=compression, use_dictionary=["source", "mids.list.element"])


def _leaf_names() -> list[str]:
    return ["mids.list.element" if name == "mids" else name for name in SCHEMA.names]


def _without_rows(path: Path, dropped: list[tuple[int, int]]) -> None:
    """Rewrite a part without the given ranges of rows, one row group at a time."""
    rewritten = path.with_name(path.name + ".kept.tmp")
    try:
        with pq.ParquetFile(path) as old, _open_writer(rewritten) as new:
            first = 0
            for group in range(old.num_row_groups):
                table = old.read_row_group(group)
                for begin, end in _gaps(dropped, first, first + len(table)):
                    new.write_table(table.slice(begin - first, end - begin))
                first += len(table)
        rewritten.replace(path)
    finally:
        rewritten.unlink(missing_ok=True)


def _gaps(dropped: list[tuple[int, int]], first: int, last: int) -> Iterator[tuple[int, int]]:
    """What is left of [first, last) between the dropped ranges, which are in order."""
    for begin, end in dropped:
        if first < min(begin, last):
            yield first, min(begin, last)
        first = max(first, end)
    if first < last:
        yield first, last
