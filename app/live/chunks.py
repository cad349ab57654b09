"""Chunks of audio as they arrive, of any rate, layout and format, and their way to mono. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.audio.clip import Waveform
from ingest.audio.decode import MAX_SAMPLE
from ingest.audio.samples import Samples, downmix, require_samples
from ingest.audio.samples import to_float as samples_to_float
from ingest.counted import counted
from ingest.errors import UsageError

MIN_RATE, MAX_RATE = 4_000, 384_000
"""Hz. What lies outside is a number that was read wrongly."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Consecutive samples of one source.

    samples: [n, channels], uint8, int16 or int32 PCM, or float in [-1, 1]. It may be kept for a while: a caller that
        reuses its buffer hands over a copy.
    sample_rate: in Hz.
    """

    samples: Samples
    sample_rate: int

    def __post_init__(self) -> None:
        require_samples(self.samples)
        if not MIN_RATE <= self.sample_rate <= MAX_RATE:
            raise UsageError(
                f"sample_rate: must be {MIN_RATE} to {MAX_RATE} Hz, got {self.sample_rate}; say what the audio has"
            )

    def __len__(self) -> int:
        return len(self.samples)

    @property
    def duration_s(self) -> float:
        return len(self.samples) / self.sample_rate

    @property
    def channels(self) -> int:
        return int(self.samples.shape[1])

    @property
    def form(self) -> tuple[int, int, np.dtype[Any]]:
        """What chunks must have in common to be joined."""
        return self.sample_rate, self.channels, self.samples.dtype

    def split(self, most_s: float) -> list["Chunk"]:
        """The same audio in chunks of at most `most_s` seconds; views."""
        most = max(1, int(most_s * self.sample_rate))
        if len(self) <= most:
            return [self]
        return [Chunk(self.samples[at : at + most], self.sample_rate) for at in range(0, len(self), most)]


def to_float(chunk: Chunk) -> npt.NDArray[np.float32]:
    """Samples as float32 [n, channels] in [-1, 1], as a file of the same samples is read.

    A sample that a file would be refused for (NaN, beyond MAX_SAMPLE) counts as silence: a live source cannot be asked
    to send it again.
    """
    values = samples_to_float(chunk.samples)
    if chunk.samples.dtype.kind == "f" and not (usable := np.abs(values) <= MAX_SAMPLE).all():
        values = np.where(usable, values, np.float32(0))
    return values


def to_mono(chunk: Chunk) -> Waveform:
    """The average of the channels, float32 [n]."""
    return downmix(to_float(chunk))


def from_pcm16(data: bytes | bytearray | memoryview, sample_rate: int = 16_000, channels: int = 1) -> Chunk:
    """Little-endian 16-bit PCM, channels interleaved.

    Raises:
        UsageError: the bytes are not whole samples of every channel.
    """
    size = len(memoryview(data).cast("B"))
    if channels < 1 or size % (2 * channels):
        raise UsageError(
            f"pcm16: must be whole samples of {counted(channels, 'channel')} of 2 bytes, got {counted(size, 'byte')}; "
            "keep what is left over for the next chunk"
        )
    samples = np.frombuffer(bytes(data), "<i2").astype(np.int16, copy=False)
    return Chunk(samples.reshape(-1, channels), sample_rate)


def from_av(frame: Any) -> Chunk:
    """An `av.AudioFrame`, as aiortc hands them out (48 kHz, stereo, s16): packed or planar, any sample format."""
    array = frame.to_ndarray()
    channels = len(frame.layout.channels)
    samples = array.T if frame.format.is_planar else array.reshape(-1, channels)
    return Chunk(np.ascontiguousarray(samples), frame.sample_rate)


def from_waveform(waveform: Waveform, sample_rate: int) -> Chunk:
    """Mono float samples [n]."""
    return Chunk(waveform[:, None], sample_rate)
