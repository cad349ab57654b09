"""Samples in memory, of any type and number of channels, become what a file of them is read as. Pure."""

from typing import Any

import numpy as np
import numpy.typing as npt

from ingest.audio.clip import Waveform
from ingest.errors import UsageError

Samples = npt.NDArray[np.uint8] | npt.NDArray[np.int16] | npt.NDArray[np.int32] | npt.NDArray[np.floating[Any]]
"""PCM of 8, 16 or 32 bits, or float in [-1, 1]."""

MAX_CHANNELS = 64

_PCM = (np.uint8, np.int16, np.int32)
"""No wider one: 64 bits are what NumPy makes of a list of numbers, whose full scale nobody knows."""


def require_samples(samples: Samples) -> None:
    """Raise UsageError unless these are samples [n, channels] of a type that is known."""
    if samples.ndim != 2 or not 1 <= samples.shape[1] <= MAX_CHANNELS:
        turned = samples.ndim == 2 and 1 <= samples.shape[0] <= MAX_CHANNELS  # as librosa and PyTorch have them
        raise UsageError(
            f"samples: must be [n, channels] of 1 to {MAX_CHANNELS} channels, got {list(samples.shape)}; "
            f"{'transpose' if turned else 'reshape'} them first"
        )
    if samples.dtype not in _PCM and samples.dtype.kind != "f":
        raise UsageError(f"samples: must be uint8, int16, int32 or float, got {samples.dtype}; convert them first")


def to_float(samples: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
    """float32 in the same shape: PCM in [-1, 1], floats as they are; those beyond float32 become infinite."""
    with np.errstate(over="ignore"):
        values = samples.astype(np.float32)
    if samples.dtype == np.uint8:
        return (values - np.float32(128)) / np.float32(128)
    return values / np.float32(-float(np.iinfo(samples.dtype).min)) if samples.dtype.kind == "i" else values


def downmix(block: npt.NDArray[np.float32]) -> Waveform:
    """The average of all channels: float32 [samples, channels] -> [samples]. No copy of a single channel."""
    channels = block.shape[1]
    if channels == 1:
        return block[:, 0]
    with np.errstate(invalid="ignore", over="ignore"):  # bad samples are named by whoever checks
        total = block[:, 0] + block[:, 1]
        for channel in range(2, channels):  # ten times faster than mean(axis=1) of so few columns
            total += block[:, channel]
        total /= np.float32(channels)
    return total
