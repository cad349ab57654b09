"""Uses threads, reads the disk: items become embedded windows, in order, several files at a time.

Each thread takes whatever is next, a group of windows to encode or else a window to read, so that no more threads
compute than were asked for, and none waits for another to take over: a hand-over costs more than a short step. The
caller's thread only hands out results, in the order of the items. Which windows share a call of the encoder depends
on the items alone, never on timing, so the same items give the same bits with any number of threads. Everything
between the threads is bounded: a file of many hours needs no more memory than one of a minute.
"""

import threading
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Protocol

from threadpoolctl import threadpool_limits

from embeddings.embedding import Embedding, Vectors, window_key
from embeddings.encoders import Encoder, EncoderSpec
from embeddings.marks import UNKNOWN, Mark, mark_of
from ingest.audio.clip import AudioItem, Clip
from ingest.errors import AudioError, EarshotError

WINDOWS_AHEAD = 4
"""Windows that are held ready of one file."""


class WindowReader(Protocol):
    """How a file (`AudioItem.path`) becomes windows: `ingest.audio.windows.read_windows`, or a stand-in."""

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
    """All windows of an item have been handed out; `failure` when the file broke on the way.

    mark: of the file as it was before it was read.
    """

    item: AudioItem
    failure: Failure | None
    mark: Mark = UNKNOWN


def encode_items(
    items: Sequence[AudioItem], encoder: Encoder, spec: EncoderSpec, *, workers: int, read: WindowReader
) -> Generator[Embedded | Finished, None, None]:
    """Embed items with `workers` threads.

    Yields:
        For each item, in order: an `Embedded` for every window, then one `Finished`.
    Raises:
        EarshotError: whatever the encoder raises; a bad file is a `Finished` with a failure instead.
    """
    # One thread per matrix product: with several at work already, BLAS's own would only wait for each other, and the
    # small products of a log-mel spectrogram take thirty times as long.
    blas = threadpool_limits(1, "blas")
    line = _Line(items, encoder, spec, read, workers)
    try:
        while group := line.take():
            vectors = iter(group.vectors)
            for entry in group.entries:
                yield entry if isinstance(entry, Finished) else Embedded(_embedding(entry, next(vectors)), entry.silent)
    finally:
        line.close()
        blas.restore_original_limits()


def _embedding(window: "_Window", vectors: Vectors) -> Embedding:
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


@dataclass(frozen=True, slots=True)
class _Window:
    item: AudioItem
    clip: Clip
    silent: bool


@dataclass(slots=True)
class _Group:
    """Windows that share a call of the encoder, and the ends of items between them.

    done: the vectors are there, or the error that ends the run.
    """

    entries: list[_Window | Finished] = field(default_factory=list)
    patches: int = 0
    vectors: list[Vectors] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False

    def add(self, entry: _Window | Finished, spec: EncoderSpec) -> None:
        self.entries.append(entry)
        if isinstance(entry, _Window):
            self.patches += max(1, 1 + int((entry.clip.duration_s - spec.patch_s) / spec.hop_s + 1e-6))

    def encode(self, encoder: Encoder) -> None:
        try:
            self.vectors = encoder.encode([entry.clip.waveform for entry in self.entries if isinstance(entry, _Window)])
        except BaseException as error:  # the caller's thread raises it
            self.error = error


class _File:
    """An item that is being read, window by window, by one thread at a time.

    ready: windows that no group has yet, and what ended the file. busy: a thread reads it now.
    """

    def __init__(self, item: AudioItem) -> None:
        self._item = item
        self._windows: Iterator[Clip] | None = None
        self._mark = UNKNOWN
        self.ready: deque[_Window | Finished | EarshotError] = deque()
        self.busy = self.ended = False

    def advance(self, spec: EncoderSpec, read: WindowReader) -> _Window | Finished | EarshotError:
        """The next window, `Finished`, or the user's mistake, which ends the run."""
        item = self._item
        form: dict[str, Any] = {"sample_rate": spec.sample_rate, "window_s": spec.window_s, "resampler": spec.resampler}
        try:
            if self._windows is None:
                self._mark = mark_of(item.path)
                self._windows = read(item.path, key=item.key, **form)
            clip = next(self._windows, None)
            return _Window(item, clip, clip.is_silent) if clip else Finished(item, None, self._mark)
        except AudioError as error:
            return Finished(item, Failure(item.key, str(item.path), error.kind, error.rule, error.remedy))
        except EarshotError as error:
            return error
        except Exception as error:  # no file may end a run over thousands, whatever a decoder throws
            rule = f"{type(error).__name__}: {error}".replace("\n", " ")
            return Finished(item, Failure(item.key, str(item.path), "unexpected", rule, "report it, with the file"))


class _Line:
    """The threads, and what lies between them: files ahead, groups in the order of the items."""

    def __init__(
        self, items: Sequence[AudioItem], encoder: Encoder, spec: EncoderSpec, read: WindowReader, workers: int
    ) -> None:
        self._encoder, self._spec, self._read = encoder, spec, read
        self._left = iter(items)
        self._files = deque(map(_File, islice(self._left, 2 * workers + 2)))
        self._group = _Group()
        self._groups: deque[_Group] = deque()
        self._to_encode: deque[_Group] = deque()
        self._most_groups = 2 * workers + 1
        self._stop = False
        self._lock = threading.Lock()
        self._something_to_do, self._first_is_done = threading.Condition(self._lock), threading.Condition(self._lock)
        self._threads = [threading.Thread(target=self._work, name="earshot-embed", daemon=True) for _ in range(workers)]
        for thread in self._threads:
            thread.start()

    def take(self) -> _Group | None:
        """The next group, encoded; None after the last."""
        with self._lock:
            while not (self._groups and self._groups[0].done) and (self._groups or self._files):
                self._first_is_done.wait()
            if not self._groups:
                return None
            group = self._groups.popleft()
            self._something_to_do.notify()
        if group.error:
            raise group.error
        return group

    def close(self) -> None:
        """Wait for the threads to leave, which takes them no longer than the step that they are in."""
        with self._lock:
            self._stop = True
            self._something_to_do.notify_all()
        for thread in self._threads:
            thread.join()

    def _work(self) -> None:
        """In a thread: do steps until there is none left to do."""
        with self._lock:
            while not self._stop:
                if self._to_encode:
                    self._encode(self._to_encode.popleft())
                elif file := self._next_to_read():
                    self._advance(file)
                else:
                    self._something_to_do.wait()

    def _next_to_read(self) -> _File | None:
        if len(self._groups) >= self._most_groups:
            return None
        unread = (file for file in self._files if not (file.busy or file.ended) and len(file.ready) < WINDOWS_AHEAD)
        return next(unread, None)

    def _encode(self, group: _Group) -> None:
        with _released(self._lock):
            group.encode(self._encoder)
        self._finish(group)

    def _advance(self, file: _File) -> None:
        file.busy = True
        with _released(self._lock):
            entry = file.advance(self._spec, self._read)
        file.busy, file.ended = False, not isinstance(entry, _Window)
        file.ready.append(entry)
        self._collect()
        self._something_to_do.notify()

    def _collect(self) -> None:
        """Move what is ready into groups, in order; each has at least `batch_patches` patches, the last one aside."""
        while self._files and self._files[0].ready:
            entry = self._files[0].ready.popleft()
            if not isinstance(entry, _Window):
                self._files.popleft()
                self._files.extend(map(_File, islice(self._left, 1)))
            if isinstance(entry, EarshotError):
                self._send()
                self._group.error = entry
                self._files.clear()
            else:
                self._group.add(entry, self._spec)
            if self._group.patches >= self._encoder.batch_patches or not self._files:
                self._send()

    def _send(self) -> None:
        """The group is complete."""
        group, self._group = self._group, _Group()
        self._groups.append(group)
        if group.patches:
            self._to_encode.append(group)
            self._something_to_do.notify()
        else:
            self._finish(group)

    def _finish(self, group: _Group) -> None:
        group.done = True
        if self._groups[0] is group:
            self._first_is_done.notify()


@contextmanager
def _released(lock: threading.Lock) -> Iterator[None]:
    lock.release()
    try:
        yield
    finally:
        lock.acquire()
