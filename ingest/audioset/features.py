"""Touches the disk: AudioSet's released features, from a folder of tfrecords or straight from the tar."""

import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from ingest.audioset.tfrecord import SegmentFeatures, parse_example, raise_damage, read_records
from ingest.errors import FormatError, UsageError

SUFFIX = ".tfrecord"


def read_features(
    source: Path, split: str | None = None, on_damage: Callable[[FormatError], None] = raise_damage
) -> Iterator[SegmentFeatures]:
    """Every segment of the released features, file by file.

    The tar is read as a stream and never extracted: some of its names differ in case only.

    Args:
        source: a folder of .tfrecord files, at any depth, or a .tar or .tar.gz of one.
        split: only the files in a folder of this name: 'bal_train', 'eval' or 'unbal_train'.
        on_damage: called with a FormatError for each damaged record, which is then left out.
    Raises:
        UsageError: `source` is no such thing, or holds no tfrecords (of this split), or `split` is no folder's name.
    """
    if split is not None and not re.fullmatch(r"\w[\w.-]*", split):  # it becomes a part of a file's name
        raise UsageError(f"--split: must be the name of one folder of the features, such as bal_train, got {split!r}")
    files = _folder_files(source, split) if source.is_dir() else _tar_files(source, split, on_damage)
    found = False
    for name, file in files:
        found = True
        for record in read_records(file, name, on_damage):
            try:
                yield parse_example(record)
            except FormatError as error:
                on_damage(FormatError(f"{name}: a record is not as released: {error}"))
    if not found:
        wanted = f"{split}/*{SUFFIX}" if split else f"*{SUFFIX}"
        raise UsageError(f"{source}: holds no {wanted}; name the folder or tar of AudioSet's released features")


_DAMAGE = (OSError, tarfile.TarError, EOFError, zlib.error, TypeError, ValueError)
"""What tarfile raises for a damaged archive; the last two where it trips over a header that ends too early."""


def _folder_files(folder: Path, split: str | None) -> Iterator[tuple[str, BinaryIO]]:
    for path in sorted(folder.rglob(f"*{SUFFIX}"), key=str):
        if split is None or path.parent.name == split:
            with path.open("rb") as file:
                yield str(path), file


def _tar_files(
    path: Path, split: str | None, on_damage: Callable[[FormatError], None]
) -> Iterator[tuple[str, BinaryIO]]:
    try:
        archive = tarfile.open(path, "r|*")  # noqa: SIM115 - closed below
    except _DAMAGE as error:
        raise UsageError(f"{path}: neither a folder nor a tar that can be read; check the path") from error
    with archive:
        try:
            for member in archive:
                name = PurePosixPath(member.name)
                if name.suffix == SUFFIX and (split is None or name.parent.name == split):
                    content = archive.extractfile(member)
                    if content is not None:
                        yield f"{path}:{name}", BytesIO(content.read())
        except _DAMAGE as error:
            on_damage(FormatError(f"{path}: the archive is cut or damaged ({error}); fetch it again"))
