"""Spectrogram frames: what each column means, held against librosa and against YAMNet's own input."""

import numpy as np
import pytest

from embeddings.encoding.spectrogram import MFCCS, deltas, log_mel_frames, mfcc_frames
from embeddings.logmel import YAMNET_OFFSET, log_mel_patches

RATE = 16_000


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def test_frames_hold_yamnets_patches() -> None:
    waveform = noise(3)
    frames = log_mel_frames(waveform)
    for i, patch in enumerate(log_mel_patches(waveform, log_offset=YAMNET_OFFSET, hop_frames=48)):
        np.testing.assert_array_equal(frames[48 * i : 48 * i + 96], patch)


def test_cepstra_are_librosas() -> None:
    import librosa

    waveform = noise(1)
    expected = librosa.feature.mfcc(S=log_mel_frames(waveform).T, n_mfcc=MFCCS).T
    np.testing.assert_allclose(mfcc_frames(waveform)[:, :MFCCS], expected, rtol=1e-4, atol=1e-4)


def test_deltas_of_a_slope_are_its_slope() -> None:
    ramp = np.arange(20, dtype=np.float32)[:, None] * np.array([0.5, -2.0], np.float32)
    np.testing.assert_allclose(deltas(ramp)[2:-2], np.tile([0.5, -2.0], (16, 1)), rtol=1e-6)
    assert not deltas(np.ones((1, 3), np.float32)).any()


def test_louder_moves_the_first_coefficient_only() -> None:
    quiet, loud = mfcc_frames(noise(1) * 0.2), mfcc_frames(noise(1))
    assert (loud[:, 0] > quiet[:, 0]).all()
    np.testing.assert_allclose(loud[:, 1:].mean(axis=0), quiet[:, 1:].mean(axis=0), atol=0.05)


@pytest.mark.parametrize("hz", [300, 1000, 4000])
def test_a_tone_stands_in_its_band(hz: int) -> None:
    tone = (0.5 * np.sin(2 * np.pi * hz * np.arange(RATE) / RATE)).astype(np.float32)
    edges = 1127 * np.log1p(np.array([125.0, 7500.0]) / 700)
    band = (1127 * np.log1p(hz / 700) - edges[0]) / (edges[1] - edges[0]) * 65 - 1
    assert abs(log_mel_frames(tone).mean(axis=0).argmax() - band) < 1
