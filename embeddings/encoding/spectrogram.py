"""The encoders `logmel` and `mfcc`: a vector for each frame of 10 ms, for heads that look at spectrograms. No weights.

A row of a store is the spectrogram itself, [frames, dim], not patches of 0.96 s cut out of it: whoever learns from it
may take slices wherever it likes, and it is half the size of patches every 0.48 s, which hold each frame twice. The
frames are those of VGGish and YAMNet, 998 in 10.000 s.

Source: `logmel` is YAMNet's input; `mfcc` after Davis & Mermelstein 1980, with deltas as in the HTK book, 5.9.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.fft import dct

from embeddings.embedding import Vectors
from embeddings.encoders import EncoderRow, EncoderSettings, EncoderSpec
from embeddings.logmel import WINDOW, YAMNET_OFFSET, LogMel, log_mel
from ingest.audio.clip import Waveform

MFCCS = 20
DELTA_REACH = 2
"""Frames to each side that a delta is fitted to."""


class Spectrogram:
    """An `Encoder`; see there. It keeps no state, so any number of threads may call it."""

    batch_patches = 1

    def __init__(self, spec: EncoderSpec, frames_of: Callable[[Waveform], LogMel]) -> None:
        self.spec, self._frames_of = spec, frames_of

    def encode(self, waveforms: Sequence[Waveform]) -> list[Vectors]:
        return [self._frames_of(waveform) for waveform in waveforms]


def load(row: EncoderRow, settings: EncoderSettings) -> Spectrogram:
    """Nothing to load."""
    return Spectrogram(row.spec(), FRAMES_OF[row.name])


def log_mel_frames(waveform: Waveform) -> LogMel:
    """Float32 [samples] at 16 kHz -> natural-log mel spectrogram float32 [frames, 64], frames >= 1.

    What is shorter than one frame of 25 ms is padded with silence to one.
    """
    if len(waveform) < WINDOW:
        waveform = np.pad(waveform, (0, WINDOW - len(waveform)))
    return log_mel(waveform, log_offset=YAMNET_OFFSET)


def mfcc_frames(waveform: Waveform) -> LogMel:
    """Float32 [samples] at 16 kHz -> float32 [frames, 40]: 20 cepstral coefficients, then their deltas a frame."""
    coefficients = cepstra(log_mel_frames(waveform))
    return np.concatenate([coefficients, deltas(coefficients)], axis=1)


def cepstra(log_mels: LogMel) -> LogMel:
    """Mel-frequency cepstral coefficients float32 [frames, 20]: the orthonormal DCT-II of each log-mel frame."""
    coefficients: LogMel = dct(log_mels, type=2, norm="ortho", axis=1)[:, :MFCCS]
    return coefficients


def deltas(frames: LogMel) -> LogMel:
    """Slope of each column at each frame, by least squares over DELTA_REACH frames to both sides; edges are repeated.

    Args:
        frames: float32 [frames, dim], frames >= 1.
    Returns:
        float32 [frames, dim], in units a frame.
    """
    steps = range(1, DELTA_REACH + 1)
    padded = np.pad(frames, ((DELTA_REACH, DELTA_REACH), (0, 0)), mode="edge")
    n = len(frames)
    rise = np.zeros_like(frames)
    for s in steps:
        rise += s * (padded[DELTA_REACH + s :][:n] - padded[DELTA_REACH - s :][:n])
    return rise / np.float32(2 * sum(s * s for s in steps))


FRAMES_OF: dict[str, Callable[[Waveform], LogMel]] = {"logmel": log_mel_frames, "mfcc": mfcc_frames}
"""Encoder -> what makes its frames."""
