"""Touches the disk: a folder, by the few things that a store does with one, so that it need not be on this machine.

A folder on this machine is a `LocalFolder`; one that an address names (`s3://bucket/emb`) is an `ArrowFolder`.
"""

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from ingest.errors import UsageError
from ingest.places.arrow_folder import ArrowFile, ArrowFolder
from ingest.places.files import atomic_path

AudioPath = Path | ArrowFile
"""Where an audio file is: here, or in an object store."""


class Folder(Protocol):
    """Files by name, each of which is there whole or not at all. May be sent to another process.

    str(folder): for people; tells no secrets.
    """

    @property
    def name(self) -> str: ...

    @property
    def scratch(self) -> Path | None:
        """Where large temporary files had best lie; None for the system's own folder."""
        ...

    @property
    def readers(self) -> int:
        """How many files are best read at once: one, where that does not wait for a network."""
        ...

    def at(self, name: str) -> str:
        """A file's full name, for people."""
        ...

    def exists(self) -> bool: ...

    def make(self) -> None:
        """Make the folder, and those above it.

        Raises:
            UsageError: there is a file of that name.
        """
        ...

    def names(self, prefix: str = "") -> list[str]:
        """The names of its files that begin so, sorted; none when there is no such folder."""
        ...

    def has(self, name: str) -> bool: ...

    def read(self, name: str) -> bytes: ...

    def source(self, name: str) -> Any:
        """What Arrow's readers read a file from."""
        ...

    def local(self, name: str) -> AbstractContextManager[Path]:
        """A file on this machine with these bytes: itself, or a copy for as long as the block lasts."""
        ...

    def write(self, name: str) -> AbstractContextManager[Path]:
        """A local path to write to: the file `name` is there, in place of an older one, when the block ends well."""
        ...

    def delete(self, name: str) -> None:
        """Remove a file, if it is there."""
        ...

    def lock(self) -> AbstractContextManager[None]:
        """Be the only one that writes here.

        Raises:
            UsageError: somebody else is.
        """
        ...

    def beside(self, suffix: str) -> Path:
        """Where on this machine to put what is made of it."""
        ...


@dataclass(frozen=True, slots=True)
class LocalFolder:
    """A folder of this machine's file system, shared with others or not."""

    path: Path

    def __str__(self) -> str:
        return str(self.path)

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def scratch(self) -> Path | None:
        return self.path

    @property
    def readers(self) -> int:
        return 1

    def at(self, name: str) -> str:
        return str(self.path / name)

    def exists(self) -> bool:
        return self.path.is_dir()

    def make(self) -> None:
        if self.path.exists() and not self.path.is_dir():
            raise UsageError(f"{self.path}: a store is a folder, and this is a file; name another place")
        self.path.mkdir(parents=True, exist_ok=True)

    def names(self, prefix: str = "") -> list[str]:
        if not self.path.is_dir():
            return []
        return sorted(name for name in os.listdir(self.path) if name.startswith(prefix))  # noqa: PTH208 - speed

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def read(self, name: str) -> bytes:
        return (self.path / name).read_bytes()

    def source(self, name: str) -> Any:
        import pyarrow as pa

        return pa.memory_map(str(self.path / name))

    @contextmanager
    def local(self, name: str) -> Iterator[Path]:
        yield self.path / name

    def write(self, name: str) -> AbstractContextManager[Path]:
        return atomic_path(self.path / name)

    def delete(self, name: str) -> None:
        (self.path / name).unlink(missing_ok=True)

    @contextmanager
    def lock(self) -> Iterator[None]:
        """The system lets go of it even after kill -9."""
        with (self.path / ".lock").open("a") as file:
            if not _lock(file):
                raise UsageError(f"{self.path}: another process is writing to this store; wait for it, or stop it")
            yield

    def beside(self, suffix: str) -> Path:
        return self.path.with_name(self.path.name + suffix)


def folder_at(place: str | Path | LocalFolder | ArrowFolder) -> LocalFolder | ArrowFolder:
    """The folder that a path or an address (`s3://`, `gs://`, whatever Arrow knows) names.

    Raises:
        UsageError: an address that Arrow does not know, or nothing at all: a script's variable that is not set would
            else mean the folder one is in.
    """
    if place == "":
        raise UsageError("'': names no file and no folder; write . for the folder you are in")
    if isinstance(place, str) and "://" in place:
        if place.startswith("file://"):
            return LocalFolder(Path(place.removeprefix("file://")))
        return ArrowFolder.of(place)
    return LocalFolder(Path(place)) if isinstance(place, str | Path) else place


def file_bytes(path: AudioPath) -> int:
    """The size of a file in bytes; 0 where it cannot be told: who reads it will say what is wrong."""
    if isinstance(path, ArrowFile):
        return path.size
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _lock(file: Any) -> bool:
    try:
        import fcntl
    except ImportError:  # Windows
        import msvcrt

        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
        except OSError:
            return False
        return True
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
