"""Touches the disk, uses threads: audio items become rows of a store, shard by shard, on whatever engine.

`embed_shard` does the work and can run anywhere; `embed_on` has workers run it over what is left to do.
"""

import time
from collections import Counter
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from tempfile import TemporaryDirectory

from embeddings.encoders import Encoder, EncoderSettings, EncoderSpec, load_encoder
from embeddings.marks import Mark, pack
from embeddings.part import PartWriter
from embeddings.shards import (
    Shard,
    ShardStats,
    changed_keys,
    clear_unfinished,
    copies,
    forget_failures,
    held_keys,
    outdated_keys,
    plan_shards,
    unlisted_keys,
    write_failures,
    write_stats,
)
from embeddings.store import EmbeddingStore
from embeddings.stream import Embedded, Failure, Finished, WindowReader, encode_items
from ingest.audio.clip import AudioItem
from ingest.engines.engine import Workers
from ingest.engines.local_engine import Here, available_cores
from ingest.errors import UsageError


@dataclass(frozen=True, slots=True)
class EmbedSettings:
    """How to embed; nothing here changes a row.

    workers: threads in each process, each of which reads and encodes.
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

    outdated: keys of the items that were done before, with other labels, folds or sources than they have now.
    changed: keys of the items that were done before, and whose files are others now.
    unlisted: keys of what the store holds of other runs and that is not among the items.
    copies: keys of the items that are, byte for byte, an item of another source; and of that item.
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
    outdated: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    unlisted: tuple[str, ...] = ()
    copies: tuple[tuple[str, str], ...] = ()

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
    audio: str = "",
    progress: Callable[[Progress], None] = lambda _: None,
    read: WindowReader | None = None,
) -> Summary:
    """`embed_on` this process, with an encoder that is loaded already."""
    with Here().workers(lambda: encoder) as workers:
        return embed_on(workers, items, store, settings, audio=audio, progress=progress, read=read)


def embed_on(
    workers: Workers[Encoder],
    items: Sequence[AudioItem],
    store: EmbeddingStore,
    settings: EmbedSettings | None = None,
    *,
    audio: str = "",
    progress: Callable[[Progress], None] = lambda _: None,
    read: WindowReader | None = None,
) -> Summary:
    """Embed the items that the store does not hold yet; items that failed before are tried again.

    May be stopped at any moment, by `kill -9` too: the next run goes on and ends with the same rows.

    Args:
        workers: have each loaded the store's encoder; must reach the store and the audio as this process does.
        audio: what the items are all of, e.g. a folder: failures of what was in it and no longer is are forgotten. ""
            for what is no whole.
        progress: called in this thread at the start and whenever there is something new; must be quick.
        read: how files become windows, a module's own function; `ingest.audio.windows.read_windows` by default.
    Raises:
        UsageError: two items have the same key, or another process writes to the store.
        SpecMismatchError: the store's rows come from another encoder.
        EngineError: the workers died, or the cluster stalls.
    """
    begin = time.monotonic()
    settings = settings or EmbedSettings()
    _refuse_duplicates(items)
    with store.lock():
        finished = forget_failures(store, items, clear_unfinished(store), audio)
        shards = plan_shards(
            items,
            held_keys(store, finished),
            finished,
            shard_items=settings.shard_items,
            shard_bytes=settings.shard_bytes,
        )
        done_before = len(items) - sum(len(shard.items) for shard in shards)
        outdated = outdated_keys(store, items) if done_before else set()
        meter = _Meter(done_before, len(items), progress)
        tasks = [ShardTask(shard, store, settings, audio, read) for shard in shards]
        results = dict(meter.finished(i, stats) for i, stats in workers.run(do_shard, tasks, meter))
        stats = [results[i] for i in range(len(shards))]
        write_failures(store)
        changed = changed_keys(store, items, finished, readers=settings.workers)
    return Summary(
        items=len(items),
        done_before=done_before,
        embedded=sum(len(shard.done) for shard in stats),
        failures=tuple(failure for shard in stats for failure in shard.failures),
        silent=tuple(key for shard in stats for key in shard.silent),
        rows=sum(shard.rows for shard in stats),
        audio_s=sum(shard.audio_s for shard in stats),
        seconds=time.monotonic() - begin,
        outdated=tuple(sorted(outdated)),
        changed=tuple(sorted(changed)),
        unlisted=tuple(sorted(unlisted_keys(items, finished))),
        copies=tuple(sorted(copies(items, [*finished, *stats]))),
    )


def load_for_worker(name: str, settings: EncoderSettings, projection: bytes | None) -> Encoder:
    """Load an encoder where a worker is: by name, from weights that are there.

    Args:
        projection: the bytes of `settings.pca`, for a machine that does not have the file.
    Raises:
        UsageError, WeightsError: as of `load_encoder`.
    """
    if projection is None or (settings.pca and settings.pca.is_file()):
        return load_encoder(name, settings)
    with TemporaryDirectory(prefix="earshot-") as scratch:
        copy = Path(scratch, "pca.npz")
        copy.write_bytes(projection)
        return load_encoder(name, replace(settings, pca=copy))


def spec_of(encoder: Encoder, _: None) -> Generator[None, None, EncoderSpec]:
    """What a worker's encoder is."""
    yield from ()
    return encoder.spec


@dataclass(frozen=True, slots=True)
class ShardTask:
    """A shard with all that is needed to do it somewhere else."""

    shard: Shard
    store: EmbeddingStore
    settings: EmbedSettings
    audio: str = ""
    read: WindowReader | None = None


@dataclass(frozen=True, slots=True)
class ShardProgress:
    """How far a shard is: items finished, audio embedded."""

    items: int
    audio_s: float


def do_shard(encoder: Encoder, task: ShardTask) -> Generator[ShardProgress, None, ShardStats]:
    """The shard function for an engine: what a worker does."""
    return (yield from embed_shard(task.shard, encoder, task.store, task.settings, audio=task.audio, read=task.read))


def embed_shard(
    shard: Shard,
    encoder: Encoder,
    store: EmbeddingStore,
    settings: EmbedSettings,
    *,
    audio: str = "",
    read: WindowReader | None = None,
) -> Generator[ShardProgress, None, ShardStats]:
    """The shard function: its items become one part of the store, then the stats that mark it done.

    Yields:
        After every window and every item how far it is.
    """
    begin = time.monotonic()
    store.require(replace(encoder.spec, resampler=store.spec.resampler))
    outcome = _Outcome()
    with store.writer(shard.name) as writer:
        events = encode_items(
            shard.items, encoder, store.spec, workers=settings.workers, read=read or _default_reader()
        )
        with closing(events):
            for event in events:
                outcome.take(event, writer)
                yield ShardProgress(outcome.items, outcome.seen_s)
    if not writer.kept_rows:
        store.drop(shard.name)
    stats = ShardStats(
        name=shard.name,
        done=tuple(outcome.done),
        failures=tuple(outcome.failures),
        silent=tuple(outcome.silent),
        rows=writer.kept_rows,
        audio_s=outcome.audio_s,
        seconds=time.monotonic() - begin,
        ended_at=time.time(),
        audio=audio,
        marks=pack(outcome.marks),
    )
    write_stats(store, stats)
    return stats


class _Outcome:
    """Adds up a shard's events, item by item; an item that fails takes its rows back.

    audio_s: of the items that are done. seen_s: of all windows so far.
    """

    def __init__(self) -> None:
        self.done: list[str] = []
        self.marks: list[Mark] = []
        self.failures: list[Failure] = []
        self.silent: list[str] = []
        self.audio_s = 0.0
        self.seen_s = 0.0
        self._begin_item(mark=0)

    @property
    def items(self) -> int:
        return len(self.done) + len(self.failures)

    def take(self, event: Embedded | Finished, writer: PartWriter) -> None:
        if isinstance(event, Embedded):
            writer.append(event.embedding)
            seconds = event.embedding.end_s - event.embedding.start_s
            self._item_s += seconds
            self.seen_s += seconds
            self._item_silent |= event.silent
            return
        if event.failure:
            writer.rollback(self._mark)
            self.failures.append(event.failure)
        else:
            self.done.append(event.item.key)
            self.marks.append(event.mark)
            self.silent += [event.item.key] * self._item_silent
            self.audio_s += self._item_s
        self._begin_item(mark=writer.rows)

    def _begin_item(self, mark: int) -> None:
        self._mark, self._item_s, self._item_silent = mark, 0.0, False


class _Meter:
    """Turns what shards say into progress of them all. A shard that is done again begins again here, too."""

    def __init__(self, done_before: int, total: int, progress: Callable[[Progress], None]) -> None:
        self._items, self._audio_s = done_before, 0.0
        self._total, self._progress = total, progress
        self._shards: dict[int, ShardProgress] = {}
        self._tell()

    def __call__(self, shard: int, now: ShardProgress) -> None:
        before = self._shards.get(shard, ShardProgress(0, 0.0))
        self._shards[shard] = now
        self._items += now.items - before.items
        self._audio_s += now.audio_s - before.audio_s
        self._tell()

    def finished(self, shard: int, stats: ShardStats) -> tuple[int, ShardStats]:
        self(shard, ShardProgress(len(stats.done) + len(stats.failures), stats.audio_s))
        return shard, stats

    def _tell(self) -> None:
        self._progress(Progress(self._items, self._total, self._audio_s))


def _refuse_duplicates(items: Sequence[AudioItem]) -> None:
    twice = [key for key, count in Counter(item.key for item in items).items() if count > 1]
    if twice:
        raise UsageError(f"items: keys must be unique, got {twice[0]!r} more than once; mend the manifest")


def _default_reader() -> WindowReader:
    from ingest.audio.windows import read_windows

    return read_windows
