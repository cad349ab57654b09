"""Touches the network: a folder in an object store (S3, Google Cloud Storage ...), through Arrow's file systems.

There are no folders there, only names that begin alike; an object is there whole once it has been written to its end.
So files are made here and sent when they are finished. Keys to the store are what Arrow finds in the environment, or
in the address; the address is never shown with them. What the store refuses is an OSError that names the place.
"""

import posixpath
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from ingest.errors import UsageError
from ingest.places.object_lock import held

_BLOCK_BYTES = 1 << 22
_GOOGLE = ("gs", "gcs")
_GOOGLE_PATIENCE_S = 30
"""Google's client tries for a quarter of an hour before it says that a store is out of reach, and hears no Ctrl-C
meanwhile; the one for S3 tries for a few seconds."""
_GOOGLE_STATUS = re.compile(
    r"google::cloud::Status\(\w+: (?:[^,]+, with a last message of )?(.*?)(?: error_info=.*)?\)(?:\. Detail: .*)?$"
)


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

        return self._info().type == fs.FileType.Directory

    def make(self) -> None:
        from pyarrow import fs

        if self._info().type == fs.FileType.File:
            raise UsageError(f"{self}: a store is a folder, and this is a file; name another place")

    def names(self, prefix: str = "") -> list[str]:
        found = (posixpath.basename(info.path) for info in self._listed(recursive=False))
        return sorted(name for name in found if name.startswith(prefix))

    def has(self, name: str) -> bool:
        from pyarrow import fs

        return self._info(name).type == fs.FileType.File

    def read(self, name: str) -> bytes:
        return b"".join(self.file(name)._blocks())

    def source(self, name: str) -> Any:
        filesystem, path = self._open()
        with _naming(self.at(name)):
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
            with made.open("rb") as data, _naming(self.at(name)):
                out = filesystem.open_output_stream(f"{path}/{name}")
                try:
                    shutil.copyfileobj(data, out, _BLOCK_BYTES)
                    out.close()
                except BaseException:  # Ctrl-C too; there is no way to let go of what was sent but to close it
                    with suppress(OSError):
                        out.close()
                    with suppress(OSError):
                        filesystem.delete_file(f"{path}/{name}")
                    raise

    def delete(self, name: str) -> None:
        filesystem, path = self._open()
        with suppress(FileNotFoundError), _naming(self.at(name)):
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
        mtime = self._info(name).mtime
        return mtime.timestamp() if mtime else None

    def _listed(self, *, recursive: bool) -> Iterator[Any]:
        from pyarrow import fs

        filesystem, path = self._open()
        with _naming(str(self)):
            found = filesystem.get_file_info(fs.FileSelector(path, allow_not_found=True, recursive=recursive))
        return (info for info in found if info.type == fs.FileType.File)

    def _info(self, name: str = "") -> Any:
        """Of a file, or of the folder itself."""
        filesystem, path = self._open()
        with _naming(self.at(name) if name else str(self)):
            return filesystem.get_file_info(f"{path}/{name}" if name else path)

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
        with tempfile.TemporaryDirectory(prefix="earshot-") as scratch:
            copy = Path(scratch, f"copy{posixpath.splitext(self.name)[1]}")
            with copy.open("wb") as file:
                file.writelines(self._blocks())
            yield copy

    def _blocks(self) -> Iterator[bytes]:
        filesystem, path = self.folder._open()
        with (
            _naming(str(self)),
            filesystem.open_input_stream(posixpath.normpath(posixpath.join(path, self.name))) as data,
        ):
            while block := data.read(_BLOCK_BYTES):
                yield block


@lru_cache(maxsize=32)
def _connect(address: str, shown: str) -> tuple[Any, str]:
    """The file system and the path in it; asks for the region of a bucket whose address names none.

    Raises:
        UsageError: no such kind of address. OSError: it cannot be reached.
    """
    import pyarrow as pa
    from pyarrow import fs

    try:
        filesystem, path = fs.FileSystem.from_uri(_with_patience(address))
    except (pa.ArrowInvalid, ValueError) as error:
        reason = str(error).splitlines()[0].replace(_with_patience(address), shown)
        raise UsageError(
            f"{shown}: is no address that Arrow takes ({reason}); for example gs://bucket/folder, or "
            "s3://bucket/folder?region=eu-north-1"
        ) from None  # Arrow's own error repeats the keys
    if not path.strip("/"):
        raise UsageError(f"{shown}: names no folder; for example s3://bucket/folder")
    return filesystem, path.rstrip("/")


def _with_patience(address: str) -> str:
    parts = urlsplit(address)
    if parts.scheme not in _GOOGLE or "retry_limit_seconds" in parse_qs(parts.query):
        return address
    return f"{address}{'&' if parts.query else '?'}retry_limit_seconds={_GOOGLE_PATIENCE_S}"


@contextmanager
def _naming(place: str) -> Iterator[None]:
    """Arrow's errors of a store name no place, or an inner part of it, and of Google's not all are OSErrors.

    Raises:
        OSError: of the kind that Arrow raised, FileNotFoundError among them.
    """
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{place}: there is no such object, or no such bucket") from error
    except (OSError, pa.ArrowException) as error:
        kind = type(error) if isinstance(error, OSError) else OSError
        raise kind(f"{place}: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """The first line of an error, without what Google's client tells of itself."""
    told = (str(error).splitlines() or [type(error).__name__])[0]
    found = _GOOGLE_STATUS.search(told)
    return found[1] if found else told
