"""Touches the disk: whether a file still is the one that was embedded.

As git's index does it: a mark is kept of each file's size, of when it was written, and of its bytes. Where size and
time are the mark's, the file is the same, and only those two are asked for. Where the time alone is another, as of a
fresh copy, the bytes are read once.
"""

import base64
import hashlib
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from ingest.places.folder import AudioPath, file_bytes

_DTYPE = np.dtype([("size", "<i8"), ("written_ns", "<i8"), ("digest", "<u8")])
_63_BITS = (1 << 63) - 1
"""A date may be before 1970 or after 2262. It is only held against itself."""


class Mark(NamedTuple):
    """Of one file.

    size: in bytes, 0 where nothing could be told. written_ns: since 1970. digest: BLAKE2b of its bytes, 64 bits. A
    file in an object store has a size alone.
    """

    size: int
    written_ns: int = 0
    digest: int = 0


UNKNOWN = Mark(0)


def mark_of(path: AudioPath) -> Mark:
    """Read a file from beginning to end."""
    mark = glance(path)
    if not (isinstance(path, Path) and mark.size):
        return mark
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=8)).digest()
    except OSError:
        return UNKNOWN
    return mark._replace(digest=int.from_bytes(digest, "little"))


def glance(path: AudioPath) -> Mark:
    """What can be told of a file without reading it; nothing of what is none, such as a pipe."""
    if not isinstance(path, Path):
        return Mark(file_bytes(path))
    try:
        told = path.stat()
    except OSError:
        return UNKNOWN
    return Mark(told.st_size, told.st_mtime_ns & _63_BITS) if stat.S_ISREG(told.st_mode) else UNKNOWN


def needs_reading(now: Mark, then: Mark) -> bool:
    """Whether only its bytes can tell if a file is the same."""
    return now.size == then.size > 0 and now.written_ns != then.written_ns


def differs(now: Mark, then: Mark) -> bool:
    """Whether it is another file for sure, by all that is known of both."""
    known = now.size > 0 and then.size > 0
    return known and (now.size != then.size or (now.digest != then.digest and now.digest > 0 and then.digest > 0))


def pack(marks: Iterable[Mark]) -> str:
    """As text, 32 letters each."""
    return base64.b64encode(np.array([tuple(mark) for mark in marks], _DTYPE).tobytes()).decode()


def unpack(text: str) -> list[Mark]:
    """Raises ValueError for text that `pack` did not make."""
    return [Mark(*row) for row in np.frombuffer(base64.b64decode(text, validate=True), _DTYPE).tolist()]
