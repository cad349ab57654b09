"""Touches the disk: files and folders that appear whole or not at all, and the checksums that vouch for them."""

import errno
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`, renamed to it when the block ends well and removed when it does not.

    Synced to disk before the rename, so that not even a power cut leaves half a file under the final name. Two writers
    on different machines do not share the temporary name, though they may have the same process number.
    """
    temporary = _beside(path, "tmp")
    try:
        with _naming(path, temporary):
            yield temporary
            _sync(temporary)
            temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """An empty folder beside `folder`, which takes its place when the block ends well and is removed when it does not.

    Its files are synced to disk first. What stood at `folder` stays until then, and is back when the last step fails or
    is interrupted; `kill -9` between two renames leaves it as `.<name>.<process>-<token>.old`.
    """
    folder = folder.absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary, old = _beside(folder, "tmp"), _beside(folder, "old")
    try:
        with _naming(folder, temporary):
            temporary.mkdir()
            yield temporary
            for path in temporary.rglob("*"):
                if path.is_file():
                    _sync(path)
            if folder.exists():
                folder.rename(old)
            temporary.rename(folder)
    finally:
        if old.exists() and not folder.exists():
            old.rename(folder)
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file by `atomic_path`, its folder too where there is none; text is UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, read now."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _beside(path: Path, suffix: str) -> Path:
    """A name of its own in the same folder. Of a long name its beginning, since names end at 255 bytes."""
    return path.with_name(f".{path.name[:48]}.{os.getpid()}-{secrets.token_hex(4)}.{suffix}")


def _sync(path: Path) -> None:
    with path.open("rb+") as file:
        os.fsync(file.fileno())


@contextmanager
def _naming(path: Path, temporary: Path) -> Iterator[None]:
    """The system's error of a full disk does not say which, or names what was copied to it, and others name what the
    user never named: the message should name what is to be written."""
    try:
        yield
    except OSError as error:
        no_room = error.errno in _NO_ROOM and (error.filename is None or error.filename2 is not None)
        in_text = str(temporary) in str(error.strerror)  # Arrow's way
        if no_room or in_text or error.filename in (temporary, str(temporary)):
            error.filename, error.filename2 = str(path), None
        if in_text and error.errno:
            error.strerror = os.strerror(error.errno)
        raise


def require_writable(place: Path) -> None:
    """Raise the OSError that making `place` would raise, as far as that can be known: before the work, not after it."""
    above = next(parent for parent in place.absolute().parents if parent.exists())
    if not above.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(above))
    if not os.access(above, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(above))
