"""The log-mel front end that VGGish and YAMNet share. Pure: waveform in, patches out.

STFT of 25 ms periodic Hann windows every 10 ms, magnitude, 64 HTK mel bands from 125 to 7,500 Hz, log(mel + offset).
All in float32: the FFT is most of the time, and SciPy's runs several rows at once in vector registers, five times as
fast as NumPy's. Only the FFT bins that some band uses are taken further.

Source: VGGish's input code, `mel_features.py` (tensorflow/models, research/audioset/vggish).
"""

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy.fft import rfft
from scipy.sparse import csr_array

from ingest.audio.clip import Waveform

SAMPLE_RATE = 16_000
WINDOW = 400
HOP = 160
FFT = 512
BANDS = 64
LOW_HZ, HIGH_HZ = 125.0, 7_500.0
VGGISH_OFFSET, YAMNET_OFFSET = 0.01, 0.001
"""Added before the logarithm, which keeps silence finite. With YAMNet's, ten times as much of what is quiet is left."""
PATCH_FRAMES = 96
PATCH_SAMPLES = WINDOW + (PATCH_FRAMES - 1) * HOP
"""15,600: what one patch needs. Shorter waveforms are padded to it."""
FRAMES_PER_S = SAMPLE_RATE / HOP

_BLOCK_FRAMES = 64  # keeps FFT input and output in the second-level cache, and memory constant

LogMel = npt.NDArray[np.float32]
Patches = npt.NDArray[np.float32]


def log_mel(waveform: Waveform, *, log_offset: float) -> LogMel:
    """Log-mel spectrogram; an incomplete last frame is dropped.

    Args:
        waveform: float32 [samples] at 16 kHz, in [-1, 1]. May be empty.
        log_offset: VGGISH_OFFSET or YAMNET_OFFSET.
    Returns:
        float32 [frames, 64]; 10.000 s gives 998 frames, fewer than 400 samples give none.
    """
    if len(waveform) < WINDOW:
        return np.zeros((0, BANDS), np.float32)
    frames = np.lib.stride_tricks.sliding_window_view(waveform, WINDOW)[::HOP]
    hann, (bins, mel) = _hann(), _mel_matrix()
    out = np.empty((len(frames), BANDS), np.float32)
    padded = np.zeros((min(_BLOCK_FRAMES, len(frames)), FFT), np.float32)
    for start in range(0, len(frames), _BLOCK_FRAMES):
        block = frames[start : start + _BLOCK_FRAMES]
        np.multiply(block, hann, out=padded[: len(block), :WINDOW])
        magnitude = np.abs(rfft(padded[: len(block)])[:, bins])
        out[start : start + len(block)] = (mel @ magnitude.T).T
    out += np.float32(log_offset)
    return np.log(out, out=out)


def cut_patches(spectrogram: LogMel, *, hop_frames: int) -> Patches:
    """Full patches of 96 frames; an incomplete tail is dropped.

    Args:
        spectrogram: float32 [frames, 64].
        hop_frames: step between patch starts, in frames: 96 (0.96 s) for VGGish, 48 for YAMNet.
    Returns:
        float32 [patches, 96, 64], a read-only view; no patches from fewer than 96 frames.
    """
    if len(spectrogram) < PATCH_FRAMES:
        return np.zeros((0, PATCH_FRAMES, spectrogram.shape[1]), np.float32)
    view = np.lib.stride_tricks.sliding_window_view(spectrogram, PATCH_FRAMES, axis=0)
    return view[::hop_frames].transpose(0, 2, 1)


def log_mel_patches(waveform: Waveform, *, log_offset: float, hop_frames: int) -> Patches:
    """Log-mel patches of a waveform, at least one: what is shorter than a patch is padded with silence to one.

    The padding is of samples, not of the spectrogram, so that the edge looks as it would in a longer recording.

    Returns:
        float32 [patches, 96, 64]; 10.000 s gives 10 patches at a hop of 96 frames and 19 at 48. (YAMNet's reference
        code pads the tail with silence and gets 20; here every patch is full of what was recorded.)
    """
    if len(waveform) < PATCH_SAMPLES:
        waveform = np.pad(waveform, (0, PATCH_SAMPLES - len(waveform)))
    return cut_patches(log_mel(waveform, log_offset=log_offset), hop_frames=hop_frames)


def mel(hz: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Frequencies on HTK's mel scale."""
    return np.asarray(1127.0 * np.log1p(np.asarray(hz, np.float64) / 700.0))


@cache
def _hann() -> Waveform:
    """Periodic, not symmetric: as `tf.signal` and the reference have it."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)).astype(np.float32)


@cache
def _mel_matrix() -> tuple[slice, csr_array]:
    """The FFT bins that some band uses, and the weights float32 [64, those bins] of triangles in mel.

    Sparse, for a bin is in two bands at most; and because a frame then comes to the same bits whatever stands beside
    it: BLAS sums in another order for the last rows of a matrix, on some processors.
    """
    centre = mel(np.arange(FFT // 2 + 1) * SAMPLE_RATE / FFT)[:, None]
    edges = np.linspace(mel(LOW_HZ), mel(HIGH_HZ), BANDS + 2)
    rising = (centre - edges[:-2]) / np.diff(edges)[:-1]
    falling = (edges[2:] - centre) / np.diff(edges)[1:]
    weights = np.maximum(0.0, np.minimum(rising, falling))
    used = np.flatnonzero(weights.any(axis=1))
    bins = slice(int(used[0]), int(used[-1]) + 1)
    return bins, csr_array(weights[bins].T.astype(np.float32))
