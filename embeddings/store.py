"""Touches the disk: an embedding store, a folder of `part-*.parquet`, `spec.json` and perhaps `about.parquet`.

The folder is one of this machine, or in an object store (`ingest.places.folder`).

A part appears whole or not at all. A store holds rows of one encoder, and refuses those of another.
"""

import importlib.metadata
import json
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
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
from embeddings.part import SCHEMA, PartWriter, read_patches, require_room, stored_dtype, vectors_of
from embeddings.table import EmbeddingTable
from ingest.errors import FormatError, SpecMismatchError, UsageError
from ingest.places.arrow_folder import ArrowFolder
from ingest.places.folder import Folder, LocalFolder, folder_at

__all__ = ["EmbeddingStore", "EmbeddingTable", "PartWriter"]

SPEC_FILE = "spec.json"
_RECORDED_VERSIONS = ("earshot", "numpy", "pyarrow", "soxr", "tensorflow", "ai-edge-litert", "librosa")


class EmbeddingStore:
    """A store that exists: `create` makes or continues one, `open` reads one."""

    def __init__(self, folder: Folder, spec: EncoderSpec) -> None:
        self.folder, self.spec = folder, spec

    @classmethod
    def create(cls, place: str | Path | LocalFolder | ArrowFolder, spec: EncoderSpec) -> "EmbeddingStore":
        """Make a store for rows of `spec`, or continue the one that is there.

        Args:
            place: a folder, or the address of one (see `folder_at`).
        Raises:
            SpecMismatchError: the folder holds rows made by another spec.
            UsageError: the path is a file.
            FormatError: there are parts but no `spec.json`, or it is damaged.
        """
        folder = folder_at(place)
        folder.make()
        if folder.has(SPEC_FILE):
            store = cls.open(folder)
            store.require(spec)
            return store
        if _part_names(folder):
            raise _missing_spec(folder)
        with folder.write(SPEC_FILE) as made:
            made.write_text(json.dumps({"spec": spec.to_json(), "versions": _versions()}, indent=2) + "\n")
        return cls(folder, spec)

    @classmethod
    def open(cls, place: str | Path | LocalFolder | ArrowFolder) -> "EmbeddingStore":
        """Open a store and check that its parts are whole.

        Raises:
            UsageError: no such folder, or it is no store.
            FormatError: a file is damaged.
        """
        folder = folder_at(place)
        if not folder.exists():
            raise UsageError(
                f"{folder}: no such folder; make a store with `earshot embed` or `earshot ingest features`"
            )
        store = cls(folder, read_spec(folder))
        with ThreadPoolExecutor(folder.readers) as pool:
            list(pool.map(store._check, store.parts()))
        return store

    def parts(self) -> list[str]:
        """The names of the finished parts, in the order of their rows."""
        return _part_names(self.folder)

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
        with self.folder.write(f"part-{part_name}.parquet") as made:
            writer = PartWriter(made, self.spec)
            try:
                yield writer
            except BaseException:
                writer.abandon()
                raise
            writer.close()

    def drop(self, part_name: str) -> None:
        """Remove the part `part-<part_name>.parquet`."""
        self.folder.delete(f"part-{part_name}.parquet")

    def load(self) -> EmbeddingTable:
        """All rows: about the size of the data, plus one row group.

        Vectors of more than half a gigabyte lie in a file without a name, mapped into memory; beside the parts where
        these are on this machine.

        Raises:
            FormatError: a part is damaged, a row's bytes do not fit the spec, or a key stands twice.
        """
        return self._fill(self._row_groups(), self._n_patches())

    def tables(self) -> Iterator[EmbeddingTable]:
        """The rows of `load`, one row group at a time: for stores larger than memory."""
        for part, group in self._row_groups():
            yield self._fill(iter([(part, group)]), to_numbers(group.column("n_patches")))

    def keys(self, parts: Sequence[str] | None = None) -> list[str]:
        """The keys of all rows, or of those in `parts`, without reading the vectors."""
        keys: list[str] = self._column("key", self.parts() if parts is None else parts).to_pylist()
        return keys

    def labels(self, part: str) -> Iterator[tuple[str, str, tuple[str, ...], int | None]]:
        """Key, source, labels and fold of each row of a part, without reading the vectors."""
        with self._opened(part) as file, self._as_format_error(part):
            rows = file.read(["key", "source", "mids", "fold"])
        columns = (rows.column(name).to_pylist() for name in ("key", "source", "fold"))
        for key, source, fold, mids in zip(*columns, to_tuples(rows.column("mids")), strict=True):
            yield key, source, mids, fold

    def __len__(self) -> int:
        rows = 0
        for part in self.parts():
            with self._opened(part) as file:
                rows += file.metadata.num_rows
        return rows

    def lock(self) -> AbstractContextManager[None]:
        """Be the only one that writes here.

        Raises:
            UsageError: another process is writing.
        """
        return self.folder.lock()

    def _row_groups(self) -> Iterator[tuple[str, Any]]:
        for part in self.parts():
            with self._opened(part) as file, self._as_format_error(part):
                for number in range(file.num_row_groups):
                    group = file.read_row_group(number)
                    self._checked(part, file.metadata.row_group(number), group.column("n_patches"))
                    yield part, group

    def _n_patches(self) -> npt.NDArray[np.int32]:
        """Of all rows; what a row tells is bounded by the bytes of its part before anybody makes memory for it."""
        counts = [np.zeros(0, np.int32)]
        for part in self.parts():
            with self._opened(part) as file, self._as_format_error(part):
                for number in range(file.num_row_groups):
                    column = file.read_row_group(number, ["n_patches"]).column(0)
                    counts.append(self._checked(part, file.metadata.row_group(number), column))
        return np.concatenate(counts)

    def _checked(self, part: str, group: Any, n_patches: Any) -> npt.NDArray[np.int32]:
        """The patches of a row group's rows. group: its metadata."""
        counts: npt.NDArray[np.int32] = to_numbers(n_patches)
        try:
            require_room(group, counts, stored_dtype(self.spec), self.spec.dim)
        except FormatError as error:
            raise FormatError(f"{self.folder.at(part)}: {error}; delete this part and make it again") from error
        return counts

    def _column(self, name: str, parts: Sequence[str]) -> Any:
        chunks: list[Any] = []
        for part in parts:
            with self._opened(part) as file, self._as_format_error(part):
                chunks += file.read([name]).column(name).chunks
        return pa.chunked_array(chunks, SCHEMA.field(name).type)

    def _fill(self, row_groups: Iterator[tuple[str, Any]], n_patches: npt.NDArray[np.int32]) -> EmbeddingTable:
        """One table from row groups that have `n_patches` patches in their rows, taken together."""
        dtype, dim = stored_dtype(self.spec), self.spec.dim
        n, most = len(n_patches), int(n_patches.max(initial=0))
        try:
            vectors = zeros((n, most, dim), dtype, self.folder.scratch)
            mask = np.arange(most) < n_patches[:, None]
        except (OSError, MemoryError, OverflowError, ValueError) as error:
            raise FormatError(
                f"{self.folder}: {n} rows of up to {most} patches of {dim} numbers do not fit into memory and disk "
                f"({error}); if no recording is that long, a part or {SPEC_FILE} is damaged: make the store again"
            ) from error
        small: list[Any] = []
        row = 0
        for part, group in row_groups:
            small.append(group.drop_columns(["vectors", "n_patches"]))
            for chunk in group.column("vectors").chunks:
                rows = slice(row, row + len(chunk))
                try:
                    patches = read_patches(chunk, n_patches[rows], dtype, dim)
                except FormatError as error:
                    raise FormatError(f"{self.folder.at(part)}: {error}; delete this part and make it again") from error
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

    def _check(self, part: str) -> None:
        with self._opened(part):
            pass

    @contextmanager
    def _opened(self, part: str) -> Iterator[Any]:
        with ExitStack() as stack:
            with self._as_format_error(part):
                source = stack.enter_context(self.folder.source(part))
                file = stack.enter_context(pq.ParquetFile(source))
                groups = [file.metadata.row_group(i) for i in range(file.num_row_groups)]
                if (held := sum(group.num_rows for group in groups)) != file.metadata.num_rows:
                    raise pa.ArrowInvalid(f"its end tells of {file.metadata.num_rows} rows, its groups of {held}")
            if not file.schema_arrow.equals(SCHEMA):
                raise FormatError(
                    f"{self.folder.at(part)}: columns must be {', '.join(SCHEMA.names)}, got "
                    f"{', '.join(file.schema_arrow.names)}; take this file out of the store"
                )
            with self._as_format_error(part):
                if (told := sum(vectors_of(group).total_compressed_size for group in groups)) > source.size():
                    raise pa.ArrowInvalid(f"its end tells of {told} bytes of vectors, and it has {source.size()}")
            yield file

    @contextmanager
    def _as_format_error(self, part: str) -> Iterator[None]:
        """Arrow's errors, translated; the only door through which a part's bytes come in."""
        try:
            yield
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            if isinstance(error, OSError) and not isinstance(self.folder, LocalFolder):
                raise  # the network's, and no word on the part
            reason = str(error).splitlines()[0]
            raise FormatError(
                f"{self.folder.at(part)}: damaged ({reason}); delete this part and make it again"
            ) from error

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


def _part_names(folder: Folder) -> list[str]:
    return [name for name in folder.names("part-") if name.endswith(".parquet")]


def read_spec(folder: Folder) -> EncoderSpec:
    """The spec of the store in a folder.

    Raises:
        UsageError: it is no store.
        FormatError: the spec is missing or damaged.
    """
    if not folder.has(SPEC_FILE):
        raise _missing_spec(folder)
    try:
        return EncoderSpec.from_json(json.loads(folder.read(SPEC_FILE))["spec"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise FormatError(f"{folder.at(SPEC_FILE)}: not the spec of a store ({error}); make the store again") from error


def _missing_spec(folder: Folder) -> FormatError | UsageError:
    if _part_names(folder):
        return FormatError(f"{folder.at(SPEC_FILE)}: missing; copy the whole store again, or make it again")
    return UsageError(
        f"{folder}: holds no {SPEC_FILE}, so it is no embedding store; make one with `earshot embed`, or name its --out"
    )


def _versions() -> dict[str, str]:
    versions = {"python": ".".join(map(str, sys.version_info[:3]))}
    for name in _RECORDED_VERSIONS:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions
