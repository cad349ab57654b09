"""Arrow columns from lists and arrays and back, through buffers. Pure.

`pyarrow.array` and `to_numpy` would do, but their first call imports pandas: a second that no command needs to spend.
"""

from collections.abc import Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa


def strings(values: Sequence[str]) -> Any:
    """A string column. What is no text (a byte of a file name that is not UTF-8) is written out: `\\udcff`."""
    encoded = [value.encode(errors="backslashreplace") for value in values]
    data = np.frombuffer(b"".join(encoded), np.uint8)
    return _variable(pa.string(), np.fromiter(map(len, encoded), np.int64, len(encoded)), data)


def string_lists(rows: Sequence[Sequence[str]]) -> Any:
    """A list<string> column."""
    return _lists(np.fromiter(map(len, rows), np.int64, len(rows)), strings(list(chain.from_iterable(rows))))


def numbers(values: Sequence[float] | npt.NDArray[Any], dtype: npt.DTypeLike) -> Any:
    """A column of one of NumPy's numeric types, without nulls."""
    array = np.ascontiguousarray(values, dtype)
    return pa.Array.from_buffers(pa.from_numpy_dtype(array.dtype), len(array), [None, pa.py_buffer(array)])


def optional_integers(values: Sequence[int | None]) -> Any:
    """An int32 column; None becomes null."""
    present = np.array([value is not None for value in values], bool)
    array = np.array([0 if value is None else value for value in values], np.int32)
    buffers = [pa.py_buffer(np.packbits(present, bitorder="little")), pa.py_buffer(array)]
    return pa.Array.from_buffers(pa.int32(), len(array), buffers)


def binary_rows(rows: npt.NDArray[Any], counts: npt.NDArray[np.integer]) -> Any:
    """A binary column over `rows` [sum(counts), dim], its bytes not copied: `counts[i]` rows in element i."""
    data = np.ascontiguousarray(rows)
    return _variable(pa.binary(), counts.astype(np.int64) * (data.shape[1] * data.itemsize), data)


def nested_lists(rows: npt.NDArray[Any], counts: npt.NDArray[np.integer]) -> Any:
    """A list<list<number>> column over `rows` [sum(counts), dim]: `counts[i]` rows in element i."""
    inner = _lists(np.full(len(rows), rows.shape[1]), numbers(rows.reshape(-1), rows.dtype))
    return _lists(counts, inner)


def binary_data(chunk: Any) -> tuple[npt.NDArray[np.int32], Any]:
    """Offsets int32 [rows + 1] and the bytes they point into, of a binary chunk that has rows."""
    _, offsets, data = chunk.buffers()
    return np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1], data


def to_numbers(column: Any, missing: int = 0) -> npt.NDArray[Any]:
    """A column of numbers as one array, with `missing` where it is null."""
    dtype = column.type.to_pandas_dtype()
    chunks = [_chunk_numbers(chunk, dtype, missing) for chunk in column.chunks if len(chunk)]
    return np.concatenate(chunks) if chunks else np.zeros(0, dtype)


def to_tuples(column: Any) -> list[tuple[str, ...]]:
    """A list<string> column as tuples."""
    rows: list[tuple[str, ...]] = []
    for chunk in column.chunks:
        values = chunk.flatten().to_pylist()
        edges = to_numbers(pa.chunked_array([chunk.offsets]))
        edges = (edges - edges[0]).tolist()
        rows += [tuple(values[begin:end]) for begin, end in pairwise(edges)]
    return rows


def _chunk_numbers(chunk: Any, dtype: npt.DTypeLike, missing: int) -> npt.NDArray[Any]:
    rows = slice(chunk.offset, chunk.offset + len(chunk))
    validity, data = chunk.buffers()
    numbers = np.frombuffer(data, dtype)[rows]
    if not chunk.null_count:
        return numbers
    valid = np.unpackbits(np.frombuffer(validity, np.uint8), bitorder="little")[rows]
    return np.where(valid, numbers, numbers.dtype.type(missing))


def _lists(lengths: npt.NDArray[np.integer], values: Any) -> Any:
    buffers = [None, pa.py_buffer(_offsets(lengths))]
    return pa.Array.from_buffers(pa.list_(values.type), len(lengths), buffers, children=[values])


def _variable(kind: Any, lengths: npt.NDArray[np.int64], data: npt.NDArray[Any]) -> Any:
    return pa.Array.from_buffers(kind, len(lengths), [None, pa.py_buffer(_offsets(lengths)), pa.py_buffer(data)])


def _offsets(lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.int32]:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
