"""A ring of the newest samples, addressed by their place in the whole signal. Pure; not thread-safe."""

import numpy as np

from ingest.audio.clip import Waveform
from ingest.errors import UsageError


class Ring:
    """Holds the last `capacity` samples of a signal.

    Places are counted from the signal's first sample, however long ago that was, so that nobody who reads needs to
    know where in the ring it stands.
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise UsageError(f"capacity: must be at least 1 sample, got {capacity}; name what a window needs")
        self._samples = np.zeros(capacity, np.float32)
        self._end = 0

    @property
    def capacity(self) -> int:
        return len(self._samples)

    @property
    def end(self) -> int:
        """How many samples were pushed: one beyond the last place."""
        return self._end

    @property
    def begin(self) -> int:
        """The oldest place still held."""
        return max(0, self._end - self.capacity)

    def push(self, waveform: Waveform) -> None:
        """Append samples [n], over the oldest ones where it is full. n may exceed the capacity."""
        kept = waveform[-self.capacity :]
        at = (self._end + len(waveform) - len(kept)) % self.capacity
        first = min(len(kept), self.capacity - at)
        self._samples[at : at + first] = kept[:first]
        self._samples[: len(kept) - first] = kept[first:]
        self._end += len(waveform)

    def read(self, begin: int, end: int) -> Waveform:
        """Samples [begin, end) as an array of their own.

        Raises:
            IndexError: not all of them are held: pushed over, or not yet here.
        """
        if not self.begin <= begin <= end <= self._end:
            raise IndexError(f"samples {begin} to {end} were asked for; {self.begin} to {self._end} are held")
        at, count = begin % self.capacity, end - begin
        first = min(count, self.capacity - at)
        return np.concatenate([self._samples[at : at + first], self._samples[: count - first]])
