"""Touches the disk: an embedding store, a folder of `part-*.parquet`, `spec.json` and perhaps `about.parquet`.

A part appears whole or not at all. A store holds rows of one encoder, and refuses those of another.
"""

import importlib.metadata
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from embeddings.columns import to_numbers, to_tuples
from embeddings.encoders import EncoderSpec
from embeddings.mapped import zeros
from embeddings.part import SCHEMA, PartWriter, read_patches, stored_dtype
from embeddings.table import EmbeddingTable
from ingest.errors import FormatError, SpecMismatchError, UsageError
from ingest.files import atomic_path

__all__ = ["EmbeddingStore", "EmbeddingTable", "PartWriter"]

SPEC_FILE = "spec.json"
ABOUT_FILE = "about.parquet"
"""What the manifest told of each item beside its labels (see `ingest.manifest.keep_columns`); may be missing."""
_RECORDED_VERSIONS = ("earshot", "numpy", "pyarrow", "soxr", "tensorflow", "ai-edge-litert", "librosa")


class EmbeddingStore:
    """A store that exists: `create` makes or continues one, `open` reads one."""

    def __init__(self, folder: Path, spec: EncoderSpec) -> None:
        self.folder, self.spec = folder, spec

    @classmethod
    def create(cls, folder: Path, spec: EncoderSpec) -> "EmbeddingStore":
        """Make a store for rows of `spec`, or continue the one that is there.

        Raises:
            SpecMismatchError: the folder holds rows made by another spec.
            UsageError: the path is a file.
            FormatError: there are parts but no `spec.json`, or it is damaged.
        """
        folder = Path(folder)
        if folder.exists() and not folder.is_dir():
            raise UsageError(f"{folder}: a store is a folder, and this is a file; name another place")
        if (folder / SPEC_FILE).exists():
            store = cls.open(folder)
            store.require(spec)
            return store
        if any(folder.glob("part-*.parquet")):
            raise _missing_spec(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_path(folder / SPEC_FILE) as temporary:
            temporary.write_text(json.dumps({"spec": spec.to_json(), "versions": _versions()}, indent=2) + "\n")
        return cls(folder, spec)

    @classmethod
    def open(cls, folder: Path) -> "EmbeddingStore":
        """Open a store and check that its parts are whole.

        Raises:
            UsageError: no such folder.
            FormatError: no `spec.json`, or a file that is damaged.
        """
        folder = Path(folder)
        if not folder.is_dir():
            raise UsageError(
                f"{folder}: no such folder; make a store with `earshot embed` or `earshot ingest features`"
            )
        store = cls(folder, _read_spec(folder))
        for part in store.parts():
            with _opened(part):
                pass
        return store

    def parts(self) -> list[Path]:
        """The finished parts, in the order of their rows."""
        return sorted(self.folder.glob("part-*.parquet"))

    def require(self, spec: EncoderSpec) -> None:
        """Raise SpecMismatchError, in plain words, unless rows of `spec` may stand here."""
        wrong = self.spec.mismatch(spec)
        if wrong:
            raise SpecMismatchError(
                f"{self.folder}: its rows were made differently ({'; '.join(wrong)}); "
                f"use the same settings, or another folder"
            )

    @contextmanager
    def writer(self, part_name: str) -> Iterator[PartWriter]:
        """Write the part `part-<part_name>.parquet`: there when the block ends well, else not."""
        with atomic_path(self.folder / f"part-{part_name}.parquet") as temporary:
            writer = PartWriter(temporary, self.spec)
            try:
                yield writer
            except BaseException:
                writer.abandon()
                raise
            writer.close()

    def load(self) -> EmbeddingTable:
        """All rows: about the size of the data, plus one row group.

        Vectors of more than half a gigabyte lie in a file without a name beside the parts, mapped into memory.

        Raises:
            FormatError: a part is damaged, a row's bytes do not fit the spec, or a key stands twice.
        """
        return self._fill(self._row_groups(), to_numbers(self._column("n_patches", self.parts())))

    def tables(self) -> Iterator[EmbeddingTable]:
        """The rows of `load`, one row group at a time: for stores larger than memory."""
        for part, group in self._row_groups():
            yield self._fill(iter([(part, group)]), to_numbers(group.column("n_patches")))

    def keys(self, parts: Sequence[Path] | None = None) -> list[str]:
        """The keys of all rows, or of those in `parts`, without reading the vectors."""
        keys: list[str] = self._column("key", self.parts() if parts is None else parts).to_pylist()
        return keys

    def __len__(self) -> int:
        rows = 0
        for part in self.parts():
            with _opened(part) as file:
                rows += file.metadata.num_rows
        return rows

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Be the only process that writes here. The system lets go of it even after kill -9.

        Raises:
            UsageError: another process is writing.
        """
        with (self.folder / ".lock").open("a") as file:
            if not _lock(file):
                raise UsageError(f"{self.folder}: another process is writing to this store; wait for it, or stop it")
            yield

    def _row_groups(self) -> Iterator[tuple[Path, Any]]:
        for part in self.parts():
            with _opened(part) as file, _as_format_error(part):
                for group in range(file.num_row_groups):
                    yield part, file.read_row_group(group)

    def _column(self, name: str, parts: Sequence[Path]) -> Any:
        chunks: list[Any] = []
        for part in parts:
            with _opened(part) as file, _as_format_error(part):
                chunks += file.read([name]).column(name).chunks
        return pa.chunked_array(chunks, SCHEMA.field(name).type)

    def _fill(self, row_groups: Iterator[tuple[Path, Any]], n_patches: npt.NDArray[np.int32]) -> EmbeddingTable:
        """One table from row groups that have `n_patches` patches in their rows, taken together."""
        dtype, dim = stored_dtype(self.spec), self.spec.dim
        n, most = len(n_patches), int(n_patches.max(initial=0))
        vectors = zeros((n, most, dim), dtype, self.folder)
        mask = np.arange(most) < n_patches[:, None]
        small: list[Any] = []
        row = 0
        for part, group in row_groups:
            small.append(group.drop_columns(["vectors", "n_patches"]))
            for chunk in group.column("vectors").chunks:
                rows = slice(row, row + len(chunk))
                try:
                    patches = read_patches(chunk, n_patches[rows], dtype, dim)
                except FormatError as error:
                    raise FormatError(f"{part}: {error}; delete this part and make it again") from error
                if mask[rows].all():
                    vectors[rows] = patches.reshape(len(chunk), most, dim)
                else:
                    vectors[rows][mask[rows]] = patches
                row += len(chunk)
        columns = pa.concat_tables(small) if small else SCHEMA.empty_table()
        self._refuse_gaps(columns)
        self._refuse_duplicates(columns.column("key"))
        return EmbeddingTable(
            keys=columns.column("key").to_pylist(),
            sources=columns.column("source").to_pylist(),
            paths=columns.column("path").to_pylist(),
            start_s=to_numbers(columns.column("start_s")),
            end_s=to_numbers(columns.column("end_s")),
            mids=to_tuples(columns.column("mids")),
            folds=to_numbers(columns.column("fold"), missing=-1),
            vectors=vectors,
            mask=mask,
        )

    def _refuse_gaps(self, columns: Any) -> None:
        """Raise FormatError where a row lacks what every row has: Parquet's columns may hold nulls, ours do not."""
        lists = columns.column("mids")
        gaps = [n for n in ("key", "source", "path", "start_s", "end_s", "mids") if columns.column(n).null_count]
        gaps += ["mids"] * bool(pc.list_flatten(lists).null_count)
        gaps += [n for n in ("start_s", "end_s") if pc.all(pc.is_finite(columns.column(n))).as_py() is False]
        try:
            columns.validate(full=True)  # text is UTF-8
        except pa.ArrowException:
            gaps.append("text")
        if gaps:
            raise FormatError(f"{self.folder}: a row has no {gaps[0]} that can be read; make the damaged part again")

    def _refuse_duplicates(self, keys: Any) -> None:
        if pc.count_distinct(keys).as_py() == len(keys):
            return
        counted = keys.value_counts()
        twice = next(entry["values"].as_py() for entry in counted if entry["counts"].as_py() > 1)
        raise FormatError(f"{self.folder}: key {twice!r} stands twice; delete one of the parts that hold it")


def _read_spec(folder: Path) -> EncoderSpec:
    path = folder / SPEC_FILE
    if not path.exists():
        raise _missing_spec(folder)
    try:
        return EncoderSpec.from_json(json.loads(path.read_text())["spec"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{path}: not the spec of a store ({error}); make the store again") from error


def _missing_spec(folder: Path) -> FormatError:
    return FormatError(
        f"{folder / SPEC_FILE}: missing, so this is no embedding store; name the folder that `--out` named"
    )


@contextmanager
def _as_format_error(part: Path) -> Iterator[None]:
    """Arrow's errors, translated; the only door through which a part's bytes come in."""
    try:
        yield
    except (pa.ArrowException, OSError) as error:
        reason = str(error).splitlines()[0]
        raise FormatError(f"{part}: damaged ({reason}); delete this part and make it again") from error


@contextmanager
def _opened(part: Path) -> Iterator[Any]:
    with _as_format_error(part):
        file = pq.ParquetFile(part, memory_map=True)
    with file:
        if not file.schema_arrow.equals(SCHEMA):
            names = ", ".join(file.schema_arrow.names)
            raise FormatError(
                f"{part}: columns must be {', '.join(SCHEMA.names)}, got {names}; take this file out of the store"
            )
        yield file


def _versions() -> dict[str, str]:
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _RECORDED_VERSIONS:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


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
