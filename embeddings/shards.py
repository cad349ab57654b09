"""Touches the disk: which items are done, which come next, and the stats files that say so.

A shard is a run of items that become one part of the store. It is named by its content, `audio-<place>-<hash>`: where
its first item stands among all, so that parts are read in the order of the items, and what its rows depend on, so that
whoever does it, and however often, makes the same file. Its stats file, `part-<name>.json`, is written last and marks
it done: a part without one was interrupted and is made again.
"""

import hashlib
import json
import math
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from typing import Any

from embeddings.columns import strings
from embeddings.embedding import item_key
from embeddings.marks import UNKNOWN, differs, glance, mark_of, needs_reading, pack, unpack
from embeddings.store import EmbeddingStore
from embeddings.stream import Failure
from ingest.audio.clip import AudioItem
from ingest.errors import FormatError
from ingest.foreign import checked
from ingest.places.folder import file_bytes

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
    seconds: wall-clock time. ended_at: in seconds since 1970.
    audio: what was embedded as a whole, e.g. a folder; "" where nobody said.
    marks: of the files that are done, packed; "" in the stores of earlier versions.
    """

    name: str
    done: tuple[str, ...]
    failures: tuple[Failure, ...]
    silent: tuple[str, ...]
    rows: int
    audio_s: float
    seconds: float
    ended_at: float = 0.0
    audio: str = ""
    marks: str = ""


def write_stats(store: EmbeddingStore, stats: ShardStats) -> None:
    """Mark a shard as done."""
    with store.folder.write(_stats_name(stats.name)) as made:
        made.write_text(json.dumps(asdict(stats)) + "\n")


def read_stats(store: EmbeddingStore) -> list[ShardStats]:
    """The stats of every finished shard, oldest first. Shards whose part has gone are not finished."""
    names = set(store.folder.names(f"part-{PREFIX}"))
    with ThreadPoolExecutor(store.folder.readers) as pool:
        every = pool.map(
            lambda name: _read_stats(store, name), sorted(name for name in names if name.endswith(".json"))
        )
        finished = [stats for stats in every if not stats.rows or _part_name(stats.name) in names]
    return sorted(finished, key=lambda stats: (stats.ended_at, stats.name))


def clear_unfinished(store: EmbeddingStore) -> list[ShardStats]:
    """Remove what a killed run left: parts without stats, stats without a part, temporary files. What is finished."""
    finished = read_stats(store)
    keep = {_stats_name(stats.name) for stats in finished} | {
        _part_name(stats.name) for stats in finished if stats.rows
    }
    for name in store.folder.names(f"part-{PREFIX}"):
        if name not in keep:
            store.folder.delete(name)
    for name in store.folder.names(f".part-{PREFIX}"):
        store.folder.delete(name)
    return finished


def held_keys(store: EmbeddingStore, finished: Sequence[ShardStats]) -> set[str]:
    """Keys of the items that the store holds: done by us, or put there by others (the released features)."""
    foreign = [part for part in store.parts() if not part.startswith(f"part-{PREFIX}")]
    return {key for stats in finished for key in stats.done}.union(store.keys(foreign))


def outdated_keys(store: EmbeddingStore, items: Iterable[AudioItem]) -> set[str]:
    """Keys of the items whose rows in our parts have a source, labels or a fold that they no longer have."""
    now = {item.key: (item.source, item.mids, item.fold) for item in items}
    return {
        key
        for part in store.parts()
        if part.startswith(f"part-{PREFIX}")
        for row, *then in store.labels(part)
        if (key := item_key(row)) in now and now[key] != tuple(then)
    }


def changed_keys(
    store: EmbeddingStore, items: Iterable[AudioItem], finished: Sequence[ShardStats], *, readers: int
) -> set[str]:
    """Keys of the items whose file is not the one that was embedded.

    Files of the old size that were written since are read, once: when they are the same, their marks are told so.
    """
    paths = {item.key: item.path for item in items}
    changed = set[str]()
    with ThreadPoolExecutor(readers) as pool:
        for stats in finished:
            now = [glance(paths[key]) if key in paths else UNKNOWN for key in stats.done]
            if not stats.marks:  # of an earlier version, which the clock must do for
                late_ns = stats.ended_at * 1e9 or math.inf
                changed |= {key for key, mark in zip(stats.done, now, strict=True) if mark.written_ns > late_ns}
                continue
            then = unpack(stats.marks)
            read = [i for i in range(len(now)) if needs_reading(now[i], then[i])]
            for i, mark in zip(read, pool.map(mark_of, [paths[stats.done[i]] for i in read]), strict=True):
                now[i] = mark
            changed |= {stats.done[i] for i in range(len(now)) if differs(now[i], then[i])}
            same = {i: now[i] for i in read if now[i].size and not differs(now[i], then[i])}
            if same:
                write_stats(store, replace(stats, marks=pack(same.get(i, mark) for i, mark in enumerate(then))))
    return changed


def copies(items: Iterable[AudioItem], finished: Iterable[ShardStats]) -> list[tuple[str, str]]:
    """Keys of the items whose file has the bytes of an earlier one's but counts as another source, and of that one.

    A split that keeps sources apart would have the same sound teach and examine.
    """
    source = {item.key: item.source for item in items}
    first, found = dict[int, str](), list[tuple[str, str]]()
    for stats in finished:
        if not stats.marks:  # of an earlier version
            continue
        for key, mark in zip(stats.done, unpack(stats.marks), strict=True):
            if mark.digest and key in source:
                original = first.setdefault(mark.digest, key)
                if source[original] != source[key]:
                    found.append((key, original))
    return found


def forget_failures(
    store: EmbeddingStore, items: Iterable[AudioItem], finished: Sequence[ShardStats], audio: str
) -> list[ShardStats]:
    """The stats without failures of what was in `audio` and is no longer among its items; "" for nothing."""
    gone = {failure.key for stats in finished if stats.audio == audio != "" for failure in stats.failures}
    gone.difference_update(item.key for item in items)
    left = []
    for stats in finished:
        kept = tuple(failure for failure in stats.failures if failure.key not in gone or stats.audio != audio)
        if kept == stats.failures:
            left.append(stats)
        elif kept or stats.done:
            left.append(replace(stats, failures=kept))
            write_stats(store, left[-1])
        else:
            store.folder.delete(_stats_name(stats.name))
    return left


def unlisted_keys(items: Iterable[AudioItem], finished: Sequence[ShardStats]) -> set[str]:
    """Keys of what was embedded into the store and is not among the items: of other audio, removed, or moved."""
    return {key for stats in finished for key in stats.done} - {item.key for item in items}


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
    left = [(place, item) for place, item in enumerate(items) if item.key not in held]
    return [
        Shard(_name(place, run), tuple(run))
        for again in (False, True)
        for place, run in _runs([one for one in left if (one[1].key in failed) == again], shard_items, shard_bytes)
    ]


def write_failures(store: EmbeddingStore) -> None:
    """`failures.parquet` anew: the items that have failed and not succeeded since. No file when there are none."""
    finished = read_stats(store)
    _drop_superseded(store, finished)
    done = {key for stats in finished for key in stats.done}
    latest = {failure.key: failure for stats in finished for failure in stats.failures if failure.key not in done}
    if not latest:
        store.folder.delete(FAILURES_FILE)
        return
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [asdict(failure) for _, failure in sorted(latest.items())]
    with store.folder.write(FAILURES_FILE) as made:
        pq.write_table(pa.table({name: strings([row[name] for row in rows]) for name in rows[0]}), made)


def _drop_superseded(store: EmbeddingStore, finished: Sequence[ShardStats]) -> None:
    """Remove stats of nothing but failures that later ones know better, or each retry would leave one behind."""
    known: set[str] = set()
    for stats in reversed(finished):
        failed = {failure.key for failure in stats.failures}
        if not stats.done and failed <= known:
            store.folder.delete(_stats_name(stats.name))
        known |= failed | set(stats.done)


def _runs(
    items: Iterable[tuple[int, AudioItem]], most_items: int, most_bytes: int
) -> Iterator[tuple[int, list[AudioItem]]]:
    """Runs of items, each with the place of its first."""
    first, run, run_bytes = 0, list[AudioItem](), 0
    for place, item in items:
        size = file_bytes(item.path)
        if run and (len(run) == most_items or run_bytes + size > most_bytes):
            yield first, run
            run, run_bytes = [], 0
        first = first if run else place
        run.append(item)
        run_bytes += size
    if run:
        yield first, run


def _name(place: int, run: Sequence[AudioItem]) -> str:
    """Of a shard: what its rows depend on, besides the store's encoder and the audio itself."""
    content = [[item.key, str(item.path), item.source, item.mids, item.fold, item.start_s] for item in run]
    return f"{PREFIX}{place:08d}-{hashlib.sha256(json.dumps(content).encode()).hexdigest()[:16]}"


def _part_name(name: str) -> str:
    return f"part-{name}.parquet"


def _stats_name(name: str) -> str:
    return f"part-{name}.json"


def _read_stats(store: EmbeddingStore, file: str) -> ShardStats:
    try:
        data: dict[str, Any] = json.loads(store.folder.read(file))
        failures = tuple(Failure(**failure) for failure in data.pop("failures"))
        done, silent = tuple(data.pop("done")), tuple(data.pop("silent"))
        stats = checked(ShardStats(failures=failures, done=done, silent=silent, **data))
        if file != _stats_name(stats.name) or stats.rows < 0:
            raise ValueError(f"name is {stats.name!r:.80}, rows is {stats.rows}")
        if stats.marks and len(unpack(stats.marks)) != len(stats.done):
            raise ValueError(f"it must have as many marks as files done, {len(stats.done)}")
        return stats
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(
            f"{store.folder.at(file)}: not the stats of a shard ({error}); delete it, and its part will be made again"
        ) from error
