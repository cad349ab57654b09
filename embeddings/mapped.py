"""Touches the disk: vectors that are too many for memory lie in a file that is mapped into it.

The file has no name, so nothing is left when the process ends, however it ends. The system reads and drops its pages as
it likes: they count as cache, not as memory in use.
"""

import math
import os
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import numpy.typing as npt

IN_MEMORY_BYTES = 1 << 29
"""Vectors up to this size lie in memory: half a gigabyte is AudioSet's balanced split twenty times over."""
COPIED_BYTES = 1 << 25


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path | None = None) -> npt.NDArray[Any]:
    """An array of zeros, in memory or, where it is too large, in a file.

    Args:
        folder: where the file is made; the system's folder for temporary files (TMPDIR) when None or not writable.
    """
    if math.prod(shape) * np.dtype(dtype).itemsize <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    with TemporaryFile(dir=folder if folder and os.access(folder, os.W_OK) else None) as file:
        return np.memmap(file, dtype, "w+", shape=shape)


def take(array: npt.NDArray[Any], rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    """`array[rows]`; what lies in a file is copied to another one, by parts; all rows in order are no copy."""
    if not isinstance(array, np.memmap):
        return array[rows]
    if len(rows) == len(array) and (rows == np.arange(len(array))).all():
        return array
    out = zeros((len(rows), *array.shape[1:]), array.dtype)
    step = max(1, COPIED_BYTES // max(1, array[:1].nbytes))
    for i in range(0, len(rows), step):
        out[i : i + step] = array[rows[i : i + step]]
    return out
