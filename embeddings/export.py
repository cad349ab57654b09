"""Touches the disk: a store in forms that others read: AudioSet's tfrecords, plain Parquet, npz."""

import json
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

import numpy as np

from embeddings.encoders import EncoderSpec
from embeddings.store import EmbeddingStore
from embeddings.table import EmbeddingTable
from ingest.errors import UsageError
from ingest.places.files import atomic_folder, atomic_path


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    left_out: label -> rows that had it; labels that the format has no place for.
    """

    rows: int
    files: int
    left_out: dict[str, int] = field(default_factory=dict)


def export(store: EmbeddingStore, format_name: str, out: Path) -> Exported:
    """Write a store in another form; `out` appears whole or not at all.

    Args:
        format_name: one of FORMATS.
        out: a folder for 'tfrecord', else a file.
    Raises:
        UsageError: no such format, `out` exists, or the store's vectors are not what the format holds.
        FormatError: the store is damaged.
    """
    if format_name not in FORMATS:
        raise UsageError(f"--format: must be one of {', '.join(FORMATS)}, got {format_name!r}")
    if out.exists():
        raise UsageError(f"--out: {out} exists already; remove it, or name another place")
    out.parent.mkdir(parents=True, exist_ok=True)
    return FORMATS[format_name](store, out)


def export_tfrecord(store: EmbeddingStore, out: Path) -> Exported:
    """AudioSet's released form: a folder of `XX.tfrecord`, XX = the first two characters of the id.

    video_id is the row's source (a YouTube id in AudioSet's case), or its key where several rows have the same source
    and start. Characters of XX that are not letters, digits, '-' or '_' become '_'. On a disk that takes 'aB' and
    'ab' for one name, the records of both go to one file: what a reader of all files finds is the same. A label of
    one's own that is called as one of AudioSet's, in any letter case, is that one.
    """
    from ingest.audioset.labels import load_labels, mid_or_none
    from ingest.audioset.segments import Segment
    from ingest.audioset.tfrecord import DIM, SegmentFeatures, serialize_example, write_records

    _require_audioset_form(store.spec, DIM)
    table = store.load()
    known = set(load_labels().audioset)
    mids = [tuple(dict.fromkeys(mid_or_none(label) or label for label in labels)) for labels in table.mids]
    ids = _video_ids(table)

    def record(row: int) -> bytes:
        labels = tuple(mid for mid in mids[row] if mid in known)
        segment = Segment(ids[row], float(table.start_s[row]), float(table.end_s[row]), labels)
        return serialize_example(SegmentFeatures(segment, table.vectors[row][table.mask[row]]))

    files = 0
    with atomic_folder(out) as folder:
        file_of = _file_names(folder)
        order = sorted(range(len(table)), key=lambda row: (file_of(ids[row]), ids[row], table.start_s[row]))
        for name, rows in groupby(order, key=lambda row: file_of(ids[row])):
            with (folder / f"{name}.tfrecord").open("wb") as file:
                write_records(file, map(record, rows))
            files += 1
    foreign = Counter(mid for labels in mids for mid in labels if mid not in known)
    return Exported(len(table), files, dict(foreign.most_common()))


def export_parquet(store: EmbeddingStore, out: Path) -> Exported:
    """One Parquet file with plain columns; `vectors` is list<list<float or uint8>>, `fold` null where there is none.

    Streams, whatever the size of the store. The encoder's spec is in the schema's metadata, under 'earshot.spec'.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    from embeddings.columns import nested_lists
    from embeddings.part import SCHEMA, RowColumns

    value = pa.from_numpy_dtype(np.dtype(store.spec.dtype))
    plain = [field for field in SCHEMA if field.name not in ("n_patches", "vectors")]
    schema = pa.schema(
        [*plain, ("vectors", pa.list_(pa.list_(value)))], metadata={"earshot.spec": _spec_json(store.spec)}
    )
    rows = 0
    with atomic_path(out) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for table in store.tables():
            folds = [None if fold < 0 else fold for fold in table.folds.tolist()]
            columns = RowColumns(
                table.keys, table.sources, table.paths, table.start_s, table.end_s, table.mids, folds, table.n_patches
            ).to_arrow()[: len(plain)]
            vectors = nested_lists(table.vectors[table.mask], table.n_patches)
            writer.write_table(pa.table([*columns, vectors], schema=schema))
            rows += len(table)
    return Exported(rows, 1)


def export_npz(store: EmbeddingStore, out: Path) -> Exported:
    """One npz of plain arrays, no pickles: `vectors` [n, max_patches, dim] with `mask`, and a column each of the rest.

    The labels of row i are `mids[mids_begin[i]:mids_begin[i + 1]]`; `fold` is -1 where there is none; `spec` is JSON.
    """
    table = store.load()
    with atomic_path(out) as temporary, temporary.open("wb") as file:
        np.savez(
            file,
            spec=np.array(_spec_json(store.spec)),
            key=_texts(table.keys),
            source=_texts(table.sources),
            path=_texts(table.paths),
            start_s=table.start_s,
            end_s=table.end_s,
            mids=_texts([mid for mids in table.mids for mid in mids]),
            mids_begin=np.cumsum([0, *map(len, table.mids)]),
            fold=table.folds,
            vectors=table.vectors,
            mask=table.mask,
        )
    return Exported(len(table), 1)


FORMATS: dict[str, Callable[[EmbeddingStore, Path], Exported]] = {
    "tfrecord": export_tfrecord,
    "parquet": export_parquet,
    "npz": export_npz,
}
"""Name of the format -> what writes it."""


def _require_audioset_form(spec: EncoderSpec, dim: int) -> None:
    if (spec.dtype, spec.dim) != ("uint8", dim):
        raise UsageError(
            f"--format tfrecord: AudioSet's form holds uint8 vectors of {dim}, this store {spec.dtype} of {spec.dim} "
            f"({spec.encoder}); embed with vggish-pca or yamnet-128, or choose parquet or npz"
        )


def _video_ids(table: EmbeddingTable) -> list[str]:
    starts = list(zip(table.sources, np.round(table.start_s * 1000).astype(int).tolist(), strict=True))
    count = Counter(starts)
    return [
        source if count[start] == 1 else key
        for source, start, key in zip(table.sources, starts, table.keys, strict=True)
    ]


def _file_names(folder: Path) -> Callable[[str], str]:
    """From an id to the stem of its file, one stem for what this disk takes for one name."""
    blind = _ignores_case(folder)
    chosen: dict[str, str] = {}

    def name(video_id: str) -> str:
        stem = re.sub(r"[^A-Za-z0-9_-]", "_", video_id[:2]) or "_"
        return chosen.setdefault(stem.casefold() if blind else stem, stem)

    return name


def _ignores_case(folder: Path) -> bool:
    probe = folder / "case-probe"
    probe.touch()
    try:
        return (folder / "CASE-PROBE").exists()
    finally:
        probe.unlink()


def _texts(values: list[str]) -> np.ndarray:
    return np.array(values, np.str_) if values else np.zeros(0, "U1")


def _spec_json(spec: EncoderSpec) -> str:
    return json.dumps(spec.to_json())
