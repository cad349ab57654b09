"""One unbroken run of audio: chunks -> mono -> the encoder's rate -> ring -> due windows. Pure; not thread-safe.

Whatever the sizes of the chunks, the same audio gives the same windows, bit for bit: the resampler is a stream, and
windows start where the grid says.
"""

from dataclasses import dataclass

import numpy as np

from app.live.chunks import Chunk, to_mono
from app.live.grid import Grid
from app.live.ring import Ring
from ingest.audio.clip import Waveform
from ingest.audio.resample import make_resampler

SILENCE_PEAK = 1.5 / 32_768
"""Digital silence: nothing but zeros and, from sources that dither, the last bit of sixteen."""


@dataclass(frozen=True, slots=True)
class Window:
    """A window that can be scored.

    index: in its run. begin, end: in samples of the run.
    whole: False for what was there when a run ended before its first window was full.
    silent: all that it needs is digital silence.
    """

    index: int
    begin: int
    end: int
    whole: bool = True
    silent: bool = False


class Stream:
    """Takes chunks of one sample rate; hands out windows in order, each once.

    Args:
        queue_s: how much audio may come between two calls of `take_due` without one of its windows being lost.
    """

    def __init__(self, grid: Grid, sample_rate: int, *, resampler: str = "soxr", queue_s: float = 10.0) -> None:
        self.grid, self.sample_rate = grid, sample_rate
        self.ring = Ring(grid.window + grid.step + round(queue_s * grid.sample_rate))
        self._resampler = make_resampler(resampler, sample_rate, grid.sample_rate)
        self._taken = 0
        self._quiet_from = 0  # all samples from here on are digital silence

    @property
    def heard_s(self) -> float:
        """Audio of this run, in seconds at the encoder's rate: some 0.03 s less than was pushed."""
        return self.ring.end / self.grid.sample_rate

    @property
    def filled_s(self) -> float:
        """How much of the first window has come; the window's length from then on."""
        return min(self.ring.end, self.grid.window) / self.grid.sample_rate

    @property
    def silent_s(self) -> float:
        """For how long there has been digital silence; 0 when the newest sample is none."""
        return (self.ring.end - self._quiet_from) / self.grid.sample_rate

    @property
    def missing_s(self) -> float:
        """How much audio the next window still needs; 0 or less when one is due."""
        return (self.grid.due(self._taken) - self.ring.end) / self.grid.sample_rate

    def push(self, chunk: Chunk) -> None:
        """Take a chunk of `sample_rate`. Costs some 10 us for 20 ms of stereo at 48 kHz."""
        self._append(self._resampler.push(to_mono(chunk)))

    def finish(self) -> None:
        """The run has ended: let the resampler give the rest."""
        self._append(self._resampler.finish())

    def take_due(self) -> list[Window]:
        """Windows that have become due, oldest first."""
        due = self.grid.windows_due(self.ring.end)
        windows = [self._window(index) for index in range(self._taken, due)]
        self._taken = max(self._taken, due)
        return windows

    def take_rest(self) -> Window | None:
        """After `finish`: all there is, when it was too short for a window, as a file of that length is one."""
        if self._taken or not self.ring.end:
            return None
        self._taken = 1
        end = min(self.ring.end, self.grid.window)
        return Window(0, 0, end, whole=False, silent=self._quiet_from == 0)

    def newest(self, seconds: float) -> Waveform:
        """The last `seconds` of audio, or less when there is less, [samples]."""
        wanted = min(round(seconds * self.grid.sample_rate), self.ring.end - self.ring.begin)
        return self.ring.read(self.ring.end - wanted, self.ring.end)

    def _window(self, index: int) -> Window:
        begin = self.grid.start(index)
        return Window(index, begin, begin + self.grid.window, silent=self._quiet_from <= begin)

    def _append(self, waveform: Waveform) -> None:
        self.ring.push(waveform)
        loud = np.flatnonzero(abs(waveform) > SILENCE_PEAK)
        if len(loud):
            self._quiet_from = self.ring.end - len(waveform) + int(loud[-1]) + 1
