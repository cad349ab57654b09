"""Recorded audio, in the form in which it is handed around and saved: pydub's AudioSegment. `save` touches the disk."""

import threading
import warnings
from collections import deque
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from app.live.chunks import Chunk, to_float
from ingest.audio.clip import Waveform
from ingest.errors import UsageError
from ingest.places.files import atomic_path

if TYPE_CHECKING:
    from pydub import AudioSegment

FULL_SCALE = 32_768.0


def to_segment(chunk: Chunk) -> "AudioSegment":
    """A chunk as 16-bit audio of the same rate and channels; the samples of int16 chunks as they are."""
    samples = chunk.samples if chunk.samples.dtype == np.int16 else to_int16(to_float(chunk))
    return _segment_type()(
        data=np.ascontiguousarray(samples, "<i2").tobytes(),
        sample_width=2,
        frame_rate=chunk.sample_rate,
        channels=chunk.channels,
    )


def _segment_type() -> "type[AudioSegment]":
    """pydub complains as it is imported: of its own regular expressions, and of an ffmpeg that nothing here needs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pydub import AudioSegment
    return AudioSegment


def save(segment: "AudioSegment", path: Path) -> None:
    """Write a WAV file, whole or not at all."""
    with atomic_path(path) as temporary:
        segment.export(temporary, format="wav").close()


def to_int16(values: npt.NDArray[np.float32]) -> npt.NDArray[np.int16]:
    """Float samples in [-1, 1] as 16 bits, rounded; what lies outside is clipped."""
    return np.clip(np.rint(values * np.float32(FULL_SCALE)), -FULL_SCALE, FULL_SCALE - 1).astype(np.int16)


class Recorder:
    """Collects the next `seconds` of a stream as they came, for wav mode. Thread-safe.

    A change of rate or channels on the way starts it anew: one file has one of each.
    """

    def __init__(self, seconds: float) -> None:
        if seconds <= 0:
            raise UsageError(f"seconds: must be above 0, got {seconds:g}; a window is 10")
        self.seconds = seconds
        self._chunks: list[Chunk] = []
        self._lock = threading.Lock()

    @property
    def recorded_s(self) -> float:
        with self._lock:
            return self._recorded_s

    @property
    def done(self) -> bool:
        return self.recorded_s >= self.seconds

    @property
    def _recorded_s(self) -> float:
        if not self._chunks:
            return 0.0
        return min(self.seconds, sum(map(len, self._chunks)) / self._chunks[0].sample_rate)

    def push(self, chunk: Chunk) -> bool:
        """Take a chunk; whether it is all there now."""
        with self._lock:
            if self._chunks and self._chunks[0].form != chunk.form:
                self._chunks.clear()
            if self._recorded_s < self.seconds:
                self._chunks.append(chunk)
            return self._recorded_s >= self.seconds

    def segment(self) -> "AudioSegment":
        """What was recorded, cut to `seconds`.

        Raises:
            UsageError: nothing was recorded.
        """
        with self._lock:
            if not self._chunks:
                raise UsageError("recording: nothing came; check the microphone and record again")
            first = self._chunks[0]
            samples = np.concatenate([chunk.samples for chunk in self._chunks])
        return to_segment(Chunk(samples[: round(self.seconds * first.sample_rate)], first.sample_rate))


class KeptAudio:
    """The last `keep_s` seconds of a session, mono and 16 bits: 32 kB a second at 16 kHz. Not thread-safe.

    Audio is found by the session's seconds; what was never there (a gap) is silence.
    """

    def __init__(self, sample_rate: int, keep_s: float) -> None:
        self.sample_rate, self._keep = sample_rate, round(keep_s * sample_rate)
        self._blocks: deque[tuple[int, npt.NDArray[np.int16]]] = deque()  # place of the first sample, samples

    @property
    def begin_s(self) -> float:
        return self._blocks[0][0] / self.sample_rate if self._blocks else 0.0

    @property
    def end_s(self) -> float:
        return self._end / self.sample_rate

    @property
    def _end(self) -> int:
        return self._blocks[-1][0] + len(self._blocks[-1][1]) if self._blocks else 0

    def push(self, start_s: float, waveform: Waveform) -> None:
        """Samples that follow, or lie later in the session."""
        if not self._keep or not len(waveform):
            return
        self._blocks.append((max(round(start_s * self.sample_rate), self._end), to_int16(waveform)))
        while self._blocks[0][0] + len(self._blocks[0][1]) < self._end - self._keep:
            self._blocks.popleft()

    def read(self, start_s: float, end_s: float) -> Chunk | None:
        """What is kept of a time, or None when that is nothing."""
        begin = max(round(start_s * self.sample_rate), round(self.begin_s * self.sample_rate))
        end = min(round(end_s * self.sample_rate), self._end)
        if end <= begin:
            return None
        out = np.zeros(end - begin, np.int16)
        for at, block in self._blocks:
            low, high = max(at, begin), min(at + len(block), end)
            if low < high:
                out[low - begin : high - begin] = block[low - at : high - at]
        return Chunk(out[:, None], self.sample_rate)
