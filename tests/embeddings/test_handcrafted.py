"""Hand-crafted features: each named column means what its name says."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from embeddings.encoders import load_encoder
from embeddings.encoding.handcrafted import FEATURE_NAMES, FFT, HOP, frame_features, patch_features

RATE = 16_000


def tone(hz: float, seconds: float, gain: float = 0.5) -> np.ndarray:
    return (gain * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def column(waveform: np.ndarray, name: str) -> np.ndarray:
    return patch_features(waveform)[:, FEATURE_NAMES.index(name)]


def test_names() -> None:
    assert len(FEATURE_NAMES) == len(set(FEATURE_NAMES)) == 73


@pytest.mark.parametrize("hz", [500, 1000, 3000])
def test_a_tone_has_its_centroid_and_crossings(hz: int) -> None:
    waveform = tone(hz, 4)
    np.testing.assert_allclose(column(waveform, "centroid_hz_mean")[1:-1], hz, rtol=0.05)
    np.testing.assert_allclose(column(waveform, "zero_crossing_rate_mean")[1:-1], 2 * hz / RATE, rtol=0.02)
    assert (column(waveform, "bandwidth_hz_mean") < column(noise(4), "bandwidth_hz_mean")).all()


def test_an_a_is_an_a() -> None:
    chroma = [name for name in FEATURE_NAMES if name.startswith("chroma") and name.endswith("_mean")]
    loudest = max(chroma, key=lambda name: column(tone(440, 3), name)[1])
    assert loudest == "chroma_a_mean"


def test_tempo_of_a_click_track() -> None:
    clicks = noise(10) * 1e-3
    for start in range(0, len(clicks) - 400, RATE // 2):  # 120 a minute
        clicks[start : start + 400] += tone(1000, 400 / RATE)
    np.testing.assert_allclose(column(clicks, "tempo_bpm"), 120, rtol=0.03)


def test_level_moves_the_first_cepstrum_only() -> None:
    quiet, loud = patch_features(noise(3) * 0.1), patch_features(noise(3))
    assert (loud[:, 0] > quiet[:, 0]).all()
    np.testing.assert_allclose(loud[:, 1:20], quiet[:, 1:20], atol=0.1)


def test_zero_crossings_are_librosas() -> None:
    import librosa

    waveform = noise(2.3)
    expected = librosa.feature.zero_crossing_rate(waveform, frame_length=FFT, hop_length=HOP)
    np.testing.assert_allclose(frame_features(waveform)[0][-1:], expected, atol=1e-6)


def test_patches_are_those_of_vggish() -> None:
    """Whole-waveform frames cut at 0.96 s: a patch depends on its own second only, but for tempo, level and edges."""
    waveform = np.concatenate([tone(500, 0.96 * 3), tone(3000, 0.96 * 3 + 0.1)])
    centroids = column(waveform, "centroid_hz_mean")
    np.testing.assert_allclose(centroids, [500, 500, 500, 3000, 3000, 3000], rtol=0.1)


@pytest.mark.parametrize("seconds", [0.0, 1 / RATE, 0.3, 10.0])
def test_silence_and_scraps_give_numbers(seconds: float) -> None:
    features = patch_features(np.zeros(round(seconds * RATE), np.float32))
    assert features.shape[1] == 73
    assert np.isfinite(features).all()


def test_threads_give_the_same() -> None:
    encoder = load_encoder("handcrafted")
    waveforms = [noise(2, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda waveform: encoder.encode([waveform])[0], waveforms))
    for one, other in zip(found, encoder.encode(waveforms), strict=True):
        np.testing.assert_array_equal(one, other)
