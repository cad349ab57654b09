"""The reference scripts' way from a file to log-mel patches: soundfile, resampy, NumPy in float64.

Source: the README, `vggish_input.py` and `mel_features.py` of tensorflow/models, research/audioset/vggish, as described
there: whole file, mean of the channels, `kaiser_best`, frames of 25 ms every 10 ms, patches of 0.96 s.
"""

from pathlib import Path

import numpy as np
import numpy.typing as npt

RATE, WINDOW, HOP, FFT, BANDS, PATCH = 16_000, 400, 160, 512, 64, 96

Samples = npt.NDArray[np.float64]


def read_resampy(path: Path) -> Samples:
    """Mono float64 [samples] at 16 kHz."""
    import resampy

    samples, rate = _mono(path)
    return samples if rate == RATE else resampy.resample(samples, rate, RATE)


def read_soxr(path: Path) -> Samples:
    """The same with the SoX resampler."""
    import soxr

    samples, rate = _mono(path)
    return soxr.resample(samples, rate, RATE)


def log_mel_patches(samples: Samples) -> npt.NDArray[np.float32]:
    """[samples] -> [patches, 96, 64]."""
    count = 1 + (len(samples) - WINDOW) // HOP
    frames = np.stack([samples[HOP * i : HOP * i + WINDOW] for i in range(count)])
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(WINDOW) / WINDOW)
    spectrogram = np.abs(np.fft.rfft(frames * hann, FFT))
    log_mel = np.log(spectrogram @ _mel_matrix() + 0.01)
    whole = len(log_mel) // PATCH
    return log_mel[: whole * PATCH].reshape(whole, PATCH, BANDS).astype(np.float32)


def _mel_matrix() -> Samples:
    """Float64 [257, 64]; the reference computes it anew for each file."""
    hertz = np.linspace(0, RATE / 2, FFT // 2 + 1)
    mel = 1127 * np.log(1 + hertz / 700)
    edges = np.linspace(1127 * np.log(1 + 125 / 700), 1127 * np.log(1 + 7500 / 700), BANDS + 2)
    columns = []
    for low, centre, high in zip(edges[:-2], edges[1:-1], edges[2:], strict=True):
        columns.append(np.maximum(0, np.minimum((mel - low) / (centre - low), (high - mel) / (high - centre))))
    return np.stack(columns, axis=1)


def _mono(path: Path) -> tuple[Samples, int]:
    import soundfile

    samples, rate = soundfile.read(path, dtype="int16", always_2d=True)
    return samples.mean(axis=1) / 32768.0, rate
