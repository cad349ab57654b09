"""Uses threads, reads the disk: items become embedded windows, in order, several files at a time.

Reader threads run ahead of the caller, each in one file; encoder threads take groups of windows; the caller's own
thread joins the two and hands out results in the order of the items. Which windows share a call of the encoder
depends on the items alone, never on timing, so the same items give the same bits with any number of threads.
Everything between the threads is bounded: a file of many hours needs no more memory than one of a minute.
"""

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from embeddings.embedding import Embedding, Vectors, window_key
from embeddings.encoders import Encoder, EncoderSpec
from ingest.clip import AudioItem, Clip, Waveform
from ingest.errors import AudioError, EarshotError

WINDOWS_AHEAD = 4
"""Windows that a reader may hold ready of one file."""


class WindowReader(Protocol):
    """How a file (`AudioItem.path`) becomes windows: `ingest.audio.read_windows`, or a stand-in."""

    def __call__(self, path: Any, *, key: str, sample_rate: int, window_s: float, resampler: str) -> Iterator[Clip]: ...


@dataclass(frozen=True, slots=True)
class Failure:
    """A file that gave nothing: a row of `failures.parquet`.

    kind: of the error, e.g. 'truncated'; 'unexpected' for one that no rule of ours names.
    """

    key: str
    path: str
    kind: str
    rule: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """One window is done. Worth nothing if its item turns out to have failed."""

    embedding: Embedding
    silent: bool


@dataclass(frozen=True, slots=True)
class Finished:
    """All windows of an item have been handed out; `failure` when the file broke on the way."""

    item: AudioItem
    failure: Failure | None


@dataclass(frozen=True, slots=True)
class _Window:
    item: AudioItem
    clip: Clip
    silent: bool


_Group = list[_Window | Finished]
_Channel = queue.Queue[_Window | Finished | EarshotError]


class _StoppedError(Exception):
    """Nobody wants the windows any more."""


def encode_items(
    items: Iterable[AudioItem], encoder: Encoder, spec: EncoderSpec, *, workers: int, read: WindowReader
) -> Generator[Embedded | Finished, None, None]:
    """Embed items with `workers` reader and as many encoder threads.

    Yields:
        For each item, in order: an `Embedded` for every window, then one `Finished`.
    Raises:
        EarshotError: whatever the encoder raises; a bad file is a `Finished` with a failure instead.
    """
    # At most one thread a core computes at a time, reader or encoder: two of them on one core would keep pushing each
    # other's data out of its cache, which costs a tenth of the speed.
    cores = threading.Semaphore(workers)
    readers = _Readers(spec, read, workers, cores)
    encoders = ThreadPoolExecutor(workers, "earshot-encode")
    # One thread per matrix product: with several at work already, BLAS's own would only wait for each other, and the
    # small products of a log-mel spectrogram take thirty times as long.
    blas = threadpool_limits(1, "blas")
    waiting: deque[tuple[_Group, Future[list[Vectors]]]] = deque()
    try:
        for group in _groups(readers.windows(items, files_ahead=2 * workers + 2), spec, encoder.batch_patches):
            waveforms = [entry.clip.waveform for entry in group if isinstance(entry, _Window)]
            waiting.append((group, encoders.submit(_encode, encoder, waveforms, cores)))
            if len(waiting) > 2 * workers:
                yield from _results(*waiting.popleft())
        while waiting:
            yield from _results(*waiting.popleft())
    finally:
        readers.close()
        encoders.shutdown(cancel_futures=True)
        blas.restore_original_limits()


def _encode(encoder: Encoder, waveforms: Sequence[Waveform], cores: threading.Semaphore) -> list[Vectors]:
    if not waveforms:
        return []
    with cores:
        return encoder.encode(waveforms)


def _results(group: _Group, future: Future[list[Vectors]]) -> Iterator[Embedded | Finished]:
    vectors = iter(future.result())
    for entry in group:
        yield entry if isinstance(entry, Finished) else Embedded(_embedding(entry, next(vectors)), entry.silent)


def _embedding(window: _Window, vectors: Vectors) -> Embedding:
    item, clip = window.item, window.clip
    start_s = item.start_s + clip.start_s
    return Embedding(
        key=window_key(item.key, clip.start_s),
        source=item.source,
        path=str(item.path),
        start_s=start_s,
        end_s=start_s + clip.duration_s,
        vectors=vectors,
        mids=item.mids,
        fold=item.fold,
    )


def _groups(windows: Iterable[_Window | Finished], spec: EncoderSpec, batch_patches: int) -> Iterator[_Group]:
    """Runs of windows with at least `batch_patches` patches, the last one aside."""
    group: _Group = []
    patches = 0
    for entry in windows:
        group.append(entry)
        if isinstance(entry, _Window):
            patches += max(1, 1 + int((entry.clip.duration_s - spec.patch_s) / spec.hop_s + 1e-6))
        if patches >= batch_patches:
            yield group
            group, patches = [], 0
    if group:
        yield group


class _Readers:
    """Threads that read files ahead of the caller, a bounded number of windows of each."""

    def __init__(self, spec: EncoderSpec, read: WindowReader, threads: int, cores: threading.Semaphore) -> None:
        self._spec, self._read, self._cores = spec, read, cores
        self._pool = ThreadPoolExecutor(threads, "earshot-read")
        self._stop = threading.Event()

    def windows(self, items: Iterable[AudioItem], files_ahead: int) -> Iterator[_Window | Finished]:
        """The items' windows in order, while readers are at work on the next `files_ahead` items."""
        left = iter(items)
        channels = deque(self._start(item) for item in islice(left, files_ahead))
        while channels:
            entry = channels[0].get()
            if isinstance(entry, EarshotError):
                raise entry
            yield entry
            if isinstance(entry, Finished):
                channels.popleft()
                channels.extend(self._start(item) for item in islice(left, 1))

    def close(self) -> None:
        """Wait for the readers to leave, which takes them no longer than the window that they are in."""
        self._stop.set()
        self._pool.shutdown(cancel_futures=True)

    def _start(self, item: AudioItem) -> _Channel:
        channel: _Channel = queue.Queue(WINDOWS_AHEAD)
        self._pool.submit(self._run, item, channel)
        return channel

    def _run(self, item: AudioItem, channel: _Channel) -> None:
        """In a reader thread: blocks while the channel is full."""
        with suppress(_StoppedError):
            self._put(channel, self._read_item(item, channel))

    def _read_item(self, item: AudioItem, channel: _Channel) -> Finished | EarshotError:
        spec = self._spec
        form: dict[str, Any] = {"sample_rate": spec.sample_rate, "window_s": spec.window_s, "resampler": spec.resampler}
        try:
            windows = self._read(item.path, key=item.key, **form)
            while clip := self._next(windows):
                self._put(channel, _Window(item, clip, clip.is_silent))
        except _StoppedError:
            raise
        except AudioError as error:
            return Finished(item, Failure(item.key, str(item.path), error.kind, error.rule, error.remedy))
        except EarshotError as error:  # the user's mistake, not the file's: ends the run
            return error
        except Exception as error:  # no file may end a run over thousands, whatever a decoder throws
            rule = f"{type(error).__name__}: {error}".replace("\n", " ")
            return Finished(item, Failure(item.key, str(item.path), "unexpected", rule, "report it, with the file"))
        return Finished(item, None)

    def _next(self, windows: Iterator[Clip]) -> Clip | None:
        with self._cores:
            return next(windows, None)

    def _put(self, channel: _Channel, entry: _Window | Finished | EarshotError) -> None:
        while not self._stop.is_set():
            with suppress(queue.Full):
                return channel.put(entry, timeout=0.1)
        raise _StoppedError
