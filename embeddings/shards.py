"""Touches the disk: which items are done, which come next, and the stats files that say so.

A shard is a run of items that become one part of the store. Its stats file, `part-audio-<n>.json`, is written last
and marks it done: a part without one was interrupted and is made again.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embeddings.columns import strings
from embeddings.store import EmbeddingStore
from embeddings.stream import Failure
from ingest.clip import AudioItem
from ingest.errors import FormatError
from ingest.files import atomic_path
from ingest.foreign import checked

PREFIX = "audio-"
"""Parts made from audio; others (the released features) are none of our business."""

FAILURES_FILE = "failures.parquet"


@dataclass(frozen=True, slots=True)
class Shard:
    """Items that become the part `part-<name>.parquet`."""

    name: str
    items: tuple[AudioItem, ...]


@dataclass(frozen=True, slots=True)
class ShardStats:
    """What became of a shard: every item is in `done` or in `failures`.

    done: keys of the items whose windows are in the part.
    silent: keys of the done items that hold a window of digital silence.
    rows: windows in the part; no part is kept for none.
    audio_s: duration of those windows.
    seconds: wall-clock time.
    """

    name: str
    done: tuple[str, ...]
    failures: tuple[Failure, ...]
    silent: tuple[str, ...]
    rows: int
    audio_s: float
    seconds: float


def write_stats(store: EmbeddingStore, stats: ShardStats) -> None:
    """Mark a shard as done."""
    with atomic_path(_stats_path(store, stats.name)) as temporary:
        temporary.write_text(json.dumps(asdict(stats)) + "\n")


def read_stats(store: EmbeddingStore) -> list[ShardStats]:
    """The stats of every finished shard, oldest first. Shards whose part has gone are not finished."""
    every = [_read_stats(path) for path in sorted(store.folder.glob(f"part-{PREFIX}*.json"))]
    return [stats for stats in every if not stats.rows or _part_path(store, stats.name).exists()]


def clear_unfinished(store: EmbeddingStore) -> None:
    """Remove what a killed run left: parts without stats, stats without a part, temporary files."""
    finished = {stats.name for stats in read_stats(store)}
    for path in store.folder.glob(f"part-{PREFIX}*.*"):
        if path.stem.removeprefix("part-") not in finished:
            path.unlink()
    for path in store.folder.glob(f".part-{PREFIX}*.tmp"):
        path.unlink()


def held_keys(store: EmbeddingStore, finished: Sequence[ShardStats]) -> set[str]:
    """Keys of the items that the store holds: done by us, or put there by others (the released features)."""
    foreign = [part for part in store.parts() if not part.name.startswith(f"part-{PREFIX}")]
    return {key for stats in finished for key in stats.done}.union(store.keys(foreign))


def plan_shards(
    items: Iterable[AudioItem],
    held: set[str],
    finished: Sequence[ShardStats],
    *,
    shard_items: int,
    shard_bytes: int,
) -> list[Shard]:
    """What is left to do, in order. Items that failed before come last, in shards of their own.

    So a resumed run cuts the rest into the same shards as an undisturbed one. A file of `shard_bytes` or more is a
    shard by itself.
    """
    failed = {failure.key for stats in finished for failure in stats.failures}
    left = [item for item in items if item.key not in held]
    runs = [
        run
        for again in (False, True)
        for run in _runs([item for item in left if (item.key in failed) == again], shard_items, shard_bytes)
    ]
    first = 1 + max((int(stats.name.removeprefix(PREFIX)) for stats in finished), default=-1)
    return [Shard(f"{PREFIX}{number:06d}", tuple(run)) for number, run in enumerate(runs, first)]


def write_failures(store: EmbeddingStore) -> None:
    """`failures.parquet` anew: the items that have failed and not succeeded since. No file when there are none."""
    finished = read_stats(store)
    _drop_superseded(store, finished)
    done = {key for stats in finished for key in stats.done}
    latest = {failure.key: failure for stats in finished for failure in stats.failures if failure.key not in done}
    path = store.folder / FAILURES_FILE
    if not latest:
        path.unlink(missing_ok=True)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [asdict(failure) for _, failure in sorted(latest.items())]
    with atomic_path(path) as temporary:
        pq.write_table(pa.table({name: strings([row[name] for row in rows]) for name in rows[0]}), temporary)


def _drop_superseded(store: EmbeddingStore, finished: Sequence[ShardStats]) -> None:
    """Remove stats of nothing but failures that later ones know better, or each retry would leave one behind."""
    known: set[str] = set()
    for stats in reversed(finished):
        failed = {failure.key for failure in stats.failures}
        if not stats.done and failed <= known:
            _stats_path(store, stats.name).unlink()
        known |= failed | set(stats.done)


def _runs(items: Iterable[AudioItem], most_items: int, most_bytes: int) -> Iterator[list[AudioItem]]:
    run: list[AudioItem] = []
    run_bytes = 0
    for item in items:
        size = _size(item.path)
        if run and (len(run) == most_items or run_bytes + size > most_bytes):
            yield run
            run, run_bytes = [], 0
        run.append(item)
        run_bytes += size
    if run:
        yield run


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # its reader will say what is wrong with it


def _part_path(store: EmbeddingStore, name: str) -> Path:
    return store.folder / f"part-{name}.parquet"


def _stats_path(store: EmbeddingStore, name: str) -> Path:
    return store.folder / f"part-{name}.json"


def _read_stats(path: Path) -> ShardStats:
    try:
        data: dict[str, Any] = json.loads(path.read_text())
        failures = tuple(Failure(**failure) for failure in data.pop("failures"))
        done, silent = tuple(data.pop("done")), tuple(data.pop("silent"))
        stats = checked(ShardStats(failures=failures, done=done, silent=silent, **data))
        if path.name != f"part-{stats.name}.json" or not stats.name.removeprefix(PREFIX).isdecimal() or stats.rows < 0:
            raise ValueError(f"name is {stats.name!r:.80}, rows is {stats.rows}")
        return stats
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(
            f"{path}: not the stats of a shard ({error}); delete it, and its part will be made again"
        ) from error
