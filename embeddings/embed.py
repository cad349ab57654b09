"""Touches the disk, uses threads: audio items become rows of a store, shard by shard; the local engine.

`embed_shard` does the work and can run anywhere; `embed` runs it over what is left to do on this machine.
"""

import os
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace

from embeddings.encoders import Encoder
from embeddings.part import PartWriter
from embeddings.shards import (
    Shard,
    ShardStats,
    clear_unfinished,
    held_keys,
    plan_shards,
    read_stats,
    write_failures,
    write_stats,
)
from embeddings.store import EmbeddingStore
from embeddings.stream import Embedded, Failure, Finished, WindowReader, encode_items
from ingest.clip import AudioItem
from ingest.errors import UsageError


def available_cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@dataclass(frozen=True, slots=True)
class EmbedSettings:
    """How to embed; nothing here changes a row.

    workers: reader threads, and as many encoder threads.
    shard_items, shard_bytes: most files, and bytes of files, in a shard: what a killed run loses at most.
    """

    workers: int = field(default_factory=available_cores)
    shard_items: int = 256
    shard_bytes: int = 128 << 20

    def __post_init__(self) -> None:
        for name in ("workers", "shard_items", "shard_bytes"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name}: must be at least 1, got {getattr(self, name)}; leave it out for the default")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the run is.

    items: finished, failed and done before included; total: all there are. audio_s: embedded by this run.
    """

    items: int
    total: int
    audio_s: float


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did: items = done_before + embedded + len(failures).

    rows, audio_s, seconds, silent: of this run: rows added, their duration, wall-clock time, keys of the items that
        hold a window of digital silence.
    """

    items: int
    done_before: int
    embedded: int
    failures: tuple[Failure, ...]
    silent: tuple[str, ...]
    rows: int
    audio_s: float
    seconds: float

    @property
    def failed(self) -> dict[str, int]:
        """Kind of failure -> how many items, most frequent first."""
        return dict(Counter(failure.kind for failure in self.failures).most_common())

    @property
    def times_real_time(self) -> float:
        return self.audio_s / max(self.seconds, 1e-9)


def embed(
    items: Sequence[AudioItem],
    encoder: Encoder,
    store: EmbeddingStore,
    settings: EmbedSettings | None = None,
    *,
    progress: Callable[[Progress], None] = lambda _: None,
    read: WindowReader | None = None,
) -> Summary:
    """Embed the items that the store does not hold yet; items that failed before are tried again.

    May be stopped at any moment, by `kill -9` too: the next run goes on and ends with the same rows.

    Args:
        progress: called in this thread at the start, after every window and after every item; must be quick.
        read: how files become windows; `ingest.audio.read_windows` by default.
    Raises:
        UsageError: two items have the same key, or another process writes to the store.
        SpecMismatchError: the store's rows come from another encoder.
    """
    begin = time.monotonic()
    settings = settings or EmbedSettings()
    store.require(replace(encoder.spec, resampler=store.spec.resampler))
    _refuse_duplicates(items)
    with store.lock():
        clear_unfinished(store)
        finished = read_stats(store)
        shards = plan_shards(
            items,
            held_keys(store, finished),
            finished,
            shard_items=settings.shard_items,
            shard_bytes=settings.shard_bytes,
        )
        done_before = len(items) - sum(len(shard.items) for shard in shards)
        meter = _Meter(done_before, len(items), progress)
        stats = [embed_shard(shard, encoder, store, settings, on_event=meter, read=read) for shard in shards]
        write_failures(store)
    return Summary(
        items=len(items),
        done_before=done_before,
        embedded=sum(len(shard.done) for shard in stats),
        failures=tuple(failure for shard in stats for failure in shard.failures),
        silent=tuple(key for shard in stats for key in shard.silent),
        rows=sum(shard.rows for shard in stats),
        audio_s=sum(shard.audio_s for shard in stats),
        seconds=time.monotonic() - begin,
    )


def embed_shard(
    shard: Shard,
    encoder: Encoder,
    store: EmbeddingStore,
    settings: EmbedSettings,
    *,
    on_event: Callable[[Embedded | Finished], None] = lambda _: None,
    read: WindowReader | None = None,
) -> ShardStats:
    """The shard function: its items become one part of the store, then the stats that mark it done."""
    begin = time.monotonic()
    outcome = _Outcome()
    with store.writer(shard.name) as writer:
        events = encode_items(
            shard.items, encoder, store.spec, workers=settings.workers, read=read or _default_reader()
        )
        with closing(events):
            for event in events:
                outcome.take(event, writer)
                on_event(event)
    if not writer.kept_rows:
        (store.folder / f"part-{shard.name}.parquet").unlink()
    stats = ShardStats(
        name=shard.name,
        done=tuple(outcome.done),
        failures=tuple(outcome.failures),
        silent=tuple(outcome.silent),
        rows=writer.kept_rows,
        audio_s=outcome.audio_s,
        seconds=time.monotonic() - begin,
    )
    write_stats(store, stats)
    return stats


class _Outcome:
    """Adds up a shard's events, item by item; an item that fails takes its rows back."""

    def __init__(self) -> None:
        self.done: list[str] = []
        self.failures: list[Failure] = []
        self.silent: list[str] = []
        self.audio_s = 0.0
        self._begin_item(mark=0)

    def take(self, event: Embedded | Finished, writer: PartWriter) -> None:
        if isinstance(event, Embedded):
            writer.append(event.embedding)
            self._item_s += event.embedding.end_s - event.embedding.start_s
            self._item_silent |= event.silent
            return
        if event.failure:
            writer.rollback(self._mark)
            self.failures.append(event.failure)
        else:
            self.done.append(event.item.key)
            self.silent += [event.item.key] * self._item_silent
            self.audio_s += self._item_s
        self._begin_item(mark=writer.rows)

    def _begin_item(self, mark: int) -> None:
        self._mark, self._item_s, self._item_silent = mark, 0.0, False


class _Meter:
    """Turns events into progress."""

    def __init__(self, items: int, total: int, progress: Callable[[Progress], None]) -> None:
        self._items, self._total, self._progress = items, total, progress
        self._audio_s = 0.0
        self._tell()

    def __call__(self, event: Embedded | Finished) -> None:
        if isinstance(event, Embedded):
            self._audio_s += event.embedding.end_s - event.embedding.start_s
        else:
            self._items += 1
        self._tell()

    def _tell(self) -> None:
        self._progress(Progress(self._items, self._total, self._audio_s))


def _refuse_duplicates(items: Sequence[AudioItem]) -> None:
    twice = [key for key, count in Counter(item.key for item in items).items() if count > 1]
    if twice:
        raise UsageError(f"items: keys must be unique, got {twice[0]!r} more than once; mend the manifest")


def _default_reader() -> WindowReader:
    from ingest.audio import read_windows

    return read_windows
