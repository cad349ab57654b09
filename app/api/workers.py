"""Uses threads: the few that decode, embed and score for everybody.

Work is done in turns. A turn is one window of an upload, or one step of a stream; who has more to do queues again at
the end. So an hour of audio does not keep ten seconds waiting, and the queue is no longer than there are clients.

Windows of several uploads go through the encoder in one call where that pays: as many as are waiting, up to the
encoder's `batch_patches`; nobody waits for others to come. For YAMNet that is one window, which fills a call of its
engine; see docs/api.md for what was measured.
"""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field

from threadpoolctl import threadpool_limits

from app.api.scoring import Scoring
from embeddings.encoders import Encoder
from ingest.audio.clip import Clip
from ingest.engines.local_engine import available_cores

CLOSE_S = 10.0
"""How long `close` waits for a thread; a turn takes some milliseconds."""


@dataclass(frozen=True, slots=True)
class _Turn:
    """The next window of an upload; the future gets whether there are more."""

    scoring: Scoring
    future: Future[bool] = field(default_factory=Future)


_Work = _Turn | Callable[[], None]


class Workers:
    """A fixed number of threads and one queue. All methods may be called from any thread.

    Args:
        count: threads; 0 for one a core.
    """

    def __init__(self, count: int = 0) -> None:
        self._queue: deque[_Work] = deque()
        self._changed = threading.Condition()
        self._closed = False
        # BLAS's own threads would only wait for each other: the products of a second of log-mel are small.
        self._blas = threadpool_limits(1, "blas")
        self._threads = [
            threading.Thread(target=self._run, name=f"earshot-{i}", daemon=True)
            for i in range(count or available_cores())
        ]
        for thread in self._threads:
            thread.start()

    @property
    def waiting(self) -> int:
        """Turns that wait for a thread."""
        return len(self._queue)

    def turn(self, scoring: Scoring) -> Future[bool]:
        """Score the next window of an upload; gives whether there are more. One turn of an upload at a time."""
        turn = _Turn(scoring)
        self._put(turn)
        return turn.future

    def submit(self, work: Callable[[], None]) -> None:
        """Run something that catches its own errors; what comes after `close` is let go."""
        self._put(work)

    def close(self) -> None:
        """Let go of what waits, and wait for what runs."""
        with self._changed:
            self._closed = True
            for work in self._queue:
                if isinstance(work, _Turn):
                    work.future.cancel()
            self._queue.clear()
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(CLOSE_S)
        self._blas.restore_original_limits()

    def _put(self, work: _Work) -> None:
        with self._changed:
            if not self._closed:
                self._queue.append(work)
                self._changed.notify()
            elif isinstance(work, _Turn):
                work.future.cancel()

    def _run(self) -> None:
        while (work := self._take()) is not None:
            if isinstance(work, list):
                _score(work)
            else:
                work()

    def _take(self) -> list[_Turn] | Callable[[], None] | None:
        """The next work: several turns where they share an encoder that wants more than one window. None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closed)
            if self._closed:
                return None
            first = self._queue.popleft()
            if not isinstance(first, _Turn):
                return first
            turns = [first]
            encoder, most = first.scoring.encoder, windows_at_once(first.scoring.encoder)
            for work in list(self._queue) if most > 1 else ():
                if len(turns) < most and isinstance(work, _Turn) and work.scoring.encoder is encoder:
                    self._queue.remove(work)
                    turns.append(work)
            return turns


def windows_at_once(encoder: Encoder) -> int:
    """How many windows fill one call of the encoder."""
    patches = max(1, int((encoder.spec.window_s - encoder.spec.patch_s) / encoder.spec.hop_s) + 1)
    return max(1, -(-encoder.batch_patches // patches))


def _score(turns: Sequence[_Turn]) -> None:
    ready: list[tuple[_Turn, Clip]] = []
    for turn in turns:
        if not turn.future.set_running_or_notify_cancel():
            continue
        try:
            ready.append((turn, turn.scoring.read()))
        except Exception as error:
            turn.future.set_exception(error)
    if not ready:
        return
    try:
        vectors = ready[0][0].scoring.encoder.encode([clip.waveform for _, clip in ready])
    except Exception as error:
        for turn, _ in ready:
            turn.future.set_exception(error)
        return
    for (turn, clip), window in zip(ready, vectors, strict=True):
        try:
            turn.future.set_result(turn.scoring.take(clip, window))
        except Exception as error:
            turn.future.set_exception(error)
