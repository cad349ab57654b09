"""Touches the network: a folder in an object store (S3, Google Cloud Storage ...), through Arrow's file systems.

There are no folders there, only names that begin alike; an object is there whole once it has been written to its end.
So files are made here and sent when they are finished. Keys to the store are what Arrow finds in the environment, or
in the address; the address is never shown with them.
"""

import posixpath
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ingest.errors import UsageError
from ingest.places.object_lock import held


@dataclass(frozen=True, slots=True, repr=False)
class ArrowFolder:
    """A folder that an address names.

    address: as Arrow takes it, with options and secrets, e.g. `s3://bucket/emb?region=eu-north-1`.
    """

    address: str

    @classmethod
    def of(cls, address: str) -> "ArrowFolder":
        """Raises UsageError for an address that Arrow does not take."""
        folder = cls(address)
        folder._open()
        return folder

    def __str__(self) -> str:
        parts = urlsplit(self.address)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.rstrip('/')}"

    __repr__ = __str__

    @property
    def name(self) -> str:
        return posixpath.basename(self._open()[1])

    @property
    def scratch(self) -> Path | None:
        return None

    @property
    def readers(self) -> int:
        return 16

    def at(self, name: str) -> str:
        return f"{self}/{name}"

    def exists(self) -> bool:
        from pyarrow import fs

        filesystem, path = self._open()
        return filesystem.get_file_info(path).type == fs.FileType.Directory

    def make(self) -> None:
        from pyarrow import fs

        filesystem, path = self._open()
        if filesystem.get_file_info(path).type == fs.FileType.File:
            raise UsageError(f"{self}: a store is a folder, and this is a file; name another place")

    def names(self, prefix: str = "") -> list[str]:
        found = (posixpath.basename(info.path) for info in self._listed(recursive=False))
        return sorted(name for name in found if name.startswith(prefix))

    def has(self, name: str) -> bool:
        from pyarrow import fs

        filesystem, path = self._open()
        return filesystem.get_file_info(f"{path}/{name}").type == fs.FileType.File

    def read(self, name: str) -> bytes:
        with self.source(name) as file:
            return bytes(file.read())

    def source(self, name: str) -> Any:
        filesystem, path = self._open()
        return filesystem.open_input_file(f"{path}/{name}")

    def local(self, name: str) -> AbstractContextManager[Path]:
        return self.file(name).local()

    @contextmanager
    def write(self, name: str) -> Iterator[Path]:
        filesystem, path = self._open()
        with tempfile.TemporaryDirectory(prefix="earshot-") as scratch:
            made = Path(scratch, "made")
            yield made
            # Arrow would close, and so publish, half an object if making and sending were one.
            with made.open("rb") as data:
                out = filesystem.open_output_stream(f"{path}/{name}")
                try:
                    shutil.copyfileobj(data, out, 1 << 22)
                    out.close()
                except BaseException:  # Ctrl-C too; there is no way to let go of what was sent but to close it
                    with suppress(OSError):
                        out.close()
                    with suppress(OSError):
                        filesystem.delete_file(f"{path}/{name}")
                    raise

    def delete(self, name: str) -> None:
        filesystem, path = self._open()
        with suppress(FileNotFoundError):
            filesystem.delete_file(f"{path}/{name}")

    def lock(self) -> AbstractContextManager[None]:
        return held(self)

    def beside(self, suffix: str) -> Path:
        return Path(self.name + suffix)

    def file(self, name: str, size: int = 0) -> "ArrowFile":
        """A file at a path relative to the folder, `../` included. size: in bytes, where it is known."""
        return ArrowFile(self, name, size)

    def files(self) -> Iterator["ArrowFile"]:
        """Every file at any depth."""
        root = self._open()[1]
        for info in self._listed(recursive=True):
            yield self.file(posixpath.relpath(info.path, root), info.size)

    def modified_at(self, name: str) -> float | None:
        """When a file was last written, in seconds since 1970 by the store's clock; None where there is none."""
        filesystem, path = self._open()
        mtime = filesystem.get_file_info(f"{path}/{name}").mtime
        return mtime.timestamp() if mtime else None

    def _listed(self, *, recursive: bool) -> Iterator[Any]:
        from pyarrow import fs

        filesystem, path = self._open()
        for info in filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=recursive)):
            if info.type == fs.FileType.File:
                yield info

    def _open(self) -> tuple[Any, str]:
        return _connect(self.address, str(self))


@dataclass(frozen=True, slots=True)
class ArrowFile:
    """An audio file there: what stands in an item where a local one has its path. size: in bytes; 0 when not known."""

    folder: ArrowFolder
    name: str
    size: int = 0

    def __str__(self) -> str:
        scheme, _, rest = str(self.folder).partition("://")
        return f"{scheme}://{posixpath.normpath(posixpath.join(rest, self.name))}"

    @contextmanager
    def local(self) -> Iterator[Path]:
        """A copy on this machine, for as long as the block lasts.

        Raises:
            OSError: it is not there, or cannot be read.
        """
        filesystem, path = self.folder._open()
        with tempfile.TemporaryDirectory(prefix="earshot-") as scratch:
            copy = Path(scratch, f"copy{posixpath.splitext(self.name)[1]}")
            with (
                filesystem.open_input_stream(posixpath.normpath(posixpath.join(path, self.name))) as data,
                copy.open("wb") as file,
            ):
                shutil.copyfileobj(data, file, 1 << 22)
            yield copy


@lru_cache(maxsize=32)
def _connect(address: str, shown: str) -> tuple[Any, str]:
    """The file system and the path in it; asks for the region of a bucket whose address names none.

    Raises:
        UsageError: no such kind of address. OSError: it cannot be reached.
    """
    import pyarrow as pa
    from pyarrow import fs

    try:
        filesystem, path = fs.FileSystem.from_uri(address)
    except (pa.ArrowInvalid, ValueError) as error:
        reason = str(error).splitlines()[0].replace(address, shown)
        raise UsageError(
            f"{shown}: is no address that Arrow takes ({reason}); for example s3://bucket/folder?region=eu-north-1"
        ) from None  # Arrow's own error repeats the keys
    if not path.strip("/"):
        raise UsageError(f"{shown}: names no folder; for example s3://bucket/folder")
    return filesystem, path.rstrip("/")
