"""Touches the disk: `manifest.parquet` of what was fetched, anew from the ledger."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ingest.audioset.labels import display_name
from ingest.audioset.segments import StrongEvent
from ingest.ledger.ledger import Ledger, Row, State, telling_damage
from ingest.manifest import MANIFEST
from ingest.places.files import atomic_path

_ROWS_AT_ONCE = 20_000


@telling_damage()
def write_fetched_manifest(ledger: Ledger) -> Path:
    """Write it from what is done; in constant memory, so that two million rows are no trouble.

    The columns of `ingest.manifest`, which reads it back, and besides: `end_s`, `duration_s`, `sample_rate`,
    `split`, `origin` (the source that the audio is from), `sha256`, and `strong`: the events of a segment that has
    strong labels, in seconds from its own start.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = _schema()
    path = ledger.folder / MANIFEST
    with atomic_path(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for rows in _batches(ledger.rows(State.DONE)):
            strong = ledger.strong([row.segment.key for row in rows])
            columns = {
                "key": [row.segment.key for row in rows],
                "path": [row.path for row in rows],
                "source": [row.segment.youtube_id for row in rows],
                "mids": [list(row.segment.mids) for row in rows],
                "names": [[display_name(mid) for mid in row.segment.mids] for row in rows],
                "fold": [None for _ in rows],
                "start_s": [row.segment.start_s for row in rows],
                "end_s": [row.segment.end_s for row in rows],
                "duration_s": [row.duration_s for row in rows],
                "sample_rate": [row.sample_rate for row in rows],
                "split": [row.split for row in rows],
                "origin": [row.origin for row in rows],
                "sha256": [row.sha256 for row in rows],
                "strong": [_events(strong.get(row.segment.key)) for row in rows],
            }
            writer.write_table(pa.Table.from_pydict(columns, schema=schema))
    return path


def _events(events: list[StrongEvent] | None) -> list[dict[str, Any]] | None:
    if events is None:
        return None
    return [{"start_s": e.start_s, "end_s": e.end_s, "mid": e.mid, "name": display_name(e.mid)} for e in events]


def _schema() -> Any:
    import pyarrow as pa

    strings, number = pa.list_(pa.string()), pa.float64()
    event = pa.struct({"start_s": number, "end_s": number, "mid": pa.string(), "name": pa.string()})
    return pa.schema(
        {
            "key": pa.string(), "path": pa.string(), "source": pa.string(), "mids": strings, "names": strings,
            "fold": pa.int32(), "start_s": number, "end_s": number, "duration_s": number,
            "sample_rate": pa.int32(), "split": pa.string(), "origin": pa.string(), "sha256": pa.string(),
            "strong": pa.list_(event),
        }
    )  # fmt: skip


def _batches(rows: Iterator[Row]) -> Iterator[list[Row]]:
    while batch := list(itertools.islice(rows, _ROWS_AT_ONCE)):
        yield batch
