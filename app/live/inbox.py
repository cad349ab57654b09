"""Chunks that wait to be worked on; when they are too many, the oldest go. Pure; not thread-safe."""

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from app.live.chunks import Chunk

PIECE_S = 0.5
"""Longer chunks wait in pieces of this length, so that no more is dropped than must be."""
JOIN_S = 0.2
"""Audio is worked on in about this length, which is also how late the level may be."""


@dataclass(slots=True)
class Arrival:
    """A chunk, and when it came.

    afresh: it does not follow on the chunk before. lost_s: audio that was dropped between the two.
    """

    at: float
    chunk: Chunk
    afresh: bool
    lost_s: float = 0.0


def join(arrivals: Iterable[Arrival]) -> Iterator[Arrival]:
    """The same audio in fewer chunks, of `JOIN_S` or a little more: each costs the same to work on, however short."""
    group: list[Arrival] = []
    for arrival in arrivals:
        if group and (arrival.afresh or group[0].chunk.form != arrival.chunk.form or _long_enough(group)):
            yield _joined(group)
            group = []
        group.append(arrival)
    if group:
        yield _joined(group)


def _long_enough(group: list[Arrival]) -> bool:
    return sum(len(arrival.chunk) for arrival in group) >= JOIN_S * group[0].chunk.sample_rate


def _joined(group: list[Arrival]) -> Arrival:
    if len(group) == 1:
        return group[0]
    first, last = group[0], group[-1]
    samples = np.concatenate([arrival.chunk.samples for arrival in group])
    return Arrival(last.at, Chunk(samples, first.chunk.sample_rate), first.afresh, first.lost_s)


class Inbox:
    """A queue of at most `queue_s` seconds of audio (a chunk more, while there is only one).

    Args:
        stall_s: a chunk that comes so long after the last one does not follow on it.
    """

    def __init__(self, queue_s: float, stall_s: float) -> None:
        self._queue_s, self._stall_s = queue_s, stall_s
        self._queue: deque[Arrival] = deque()
        self._afresh = True
        self.waiting_s = 0.0
        self.last_at: float | None = None
        """When audio last came; None before, and after `restart`."""

    def __bool__(self) -> bool:
        return bool(self._queue)

    @property
    def afresh(self) -> bool:
        """The next chunk will begin anew."""
        return self._afresh

    def restart(self) -> None:
        """What comes next does not follow on what came before."""
        self._afresh, self.last_at = True, None

    def push(self, chunk: Chunk, now: float) -> float:
        """Take a chunk; seconds of older audio that had to go for it."""
        if self.last_at is not None and now - self.last_at > self._stall_s:
            self._afresh = True
        self.last_at = now
        for piece in chunk.split(PIECE_S):
            self._queue.append(Arrival(now, piece, self._afresh))
            self._afresh = False
            self.waiting_s += piece.duration_s
        return self._drop_oldest()

    def take(self) -> deque[Arrival]:
        """All that waits, oldest first."""
        taken, self._queue, self.waiting_s = self._queue, deque(), 0.0
        return taken

    def _drop_oldest(self) -> float:
        dropped_s = 0.0
        while self.waiting_s > self._queue_s + 1e-9 and len(self._queue) > 1:
            old, after = self._queue.popleft(), self._queue[0]
            self.waiting_s -= old.chunk.duration_s
            dropped_s += old.chunk.duration_s
            after.afresh, after.lost_s = True, after.lost_s + old.lost_s + old.chunk.duration_s
        return dropped_s
