"""Touches the disk: vectors that are too many for memory lie in a file that is mapped into it.

The file has no name, so nothing is left when the process ends, however it ends. The system reads and drops its pages as
it likes: they count as cache, not as memory in use.
"""

import errno
import math
import os
from pathlib import Path
from tempfile import TemporaryFile, gettempdir
from typing import Any

import numpy as np
import numpy.typing as npt

IN_MEMORY_BYTES = 1 << 29
"""Vectors up to this size lie in memory: half a gigabyte is AudioSet's balanced split twenty times over."""
COPIED_BYTES = 1 << 25
_CANNOT_CLAIM = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
"""What file systems say that do not know how."""


def zeros(shape: tuple[int, ...], dtype: npt.DTypeLike, folder: Path | None = None) -> npt.NDArray[Any]:
    """An array of zeros, in memory or, where it is too large, in a file.

    Args:
        folder: where the file is made; the system's folder for temporary files (TMPDIR) when None or not writable.
    Raises:
        OSError: it has no room for all of it. Found out later, by writing to the array, that would end the process.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= IN_MEMORY_BYTES:
        return np.zeros(shape, dtype)
    place = folder if folder and os.access(folder, os.W_OK) else Path(gettempdir())
    with TemporaryFile(dir=place) as file:
        _claim(file.fileno(), size, place)
        return np.memmap(file, dtype, "w+", shape=shape)


def _claim(descriptor: int, size: int, place: Path) -> None:
    """Have the disk set room aside, where it can."""
    if not hasattr(os, "posix_fallocate"):  # macOS, Windows
        return
    try:
        os.posix_fallocate(descriptor, 0, size)
    except OSError as error:
        if error.errno not in _CANNOT_CLAIM:
            error.filename = str(place)
            raise


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
