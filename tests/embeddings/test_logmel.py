"""Invariants of the log-mel front end, and parity with a plain float64 definition."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.logmel import BANDS, HOP, PATCH_FRAMES, PATCH_SAMPLES, cut_patches, log_mel, log_mel_patches

RATE = 16_000


def plain_log_mel(waveform: np.ndarray, offset: float) -> np.ndarray:
    """The definition, sample by sample and in float64: a DFT by its formula, triangles band by band."""
    hann = np.array([0.5 * (1 - np.cos(2 * np.pi * n / 400)) for n in range(400)])
    frames = np.stack([waveform[i : i + 400] * hann for i in range(0, len(waveform) - 399, 160)]).astype(np.float64)
    spectrum = np.abs(frames @ np.exp(-2j * np.pi * np.outer(np.arange(400), np.arange(257)) / 512))
    edges_mel = [
        2595 * np.log10(1 + 125 / 700) + i * 2595 * np.log10((700 + 7500) / (700 + 125)) / 65 for i in range(66)
    ]
    mel = np.zeros((257, 64))
    for k in range(257):
        at = 2595 * np.log10(1 + k * 31.25 / 700)
        for b in range(64):
            low, mid, high = edges_mel[b : b + 3]
            mel[k, b] = max(0.0, min((at - low) / (mid - low), (high - at) / (high - mid)))
    return np.log(spectrum @ mel + offset)


def tone(hz: float, seconds: float, gain: float = 0.5) -> np.ndarray:
    return (gain * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


@pytest.mark.parametrize("offset", [0.01, 0.001])
@pytest.mark.parametrize("kind", ["noise", "quiet noise", "tone", "click"])
def test_matches_the_plain_definition(kind: str, offset: float) -> None:
    rng = np.random.default_rng(3)
    click = np.zeros(RATE, np.float32)
    click[5000] = 1.0
    waveform = {
        "noise": rng.standard_normal(2 * RATE).astype(np.float32) * 0.3,
        "quiet noise": rng.standard_normal(RATE).astype(np.float32) * 1e-4,
        "tone": tone(1000, 4.5),
        "click": click,
    }[kind]
    # Beside a loud tone, bands hold the FFT's rounding, 1e-7 of the tone: seen against an offset of 1e-3.
    atol = 2e-3 if kind == "tone" else 2e-4
    np.testing.assert_allclose(log_mel(waveform, log_offset=offset), plain_log_mel(waveform, offset), atol=atol)


@given(samples=st.integers(0, 60_000), hop=st.sampled_from([48, 96, 10]))
@settings(max_examples=40, deadline=None)
def test_counts_follow_from_the_length(samples: int, hop: int) -> None:
    waveform = np.zeros(samples, np.float32)
    frames = max(0, (samples - 400) // HOP + 1) if samples >= 400 else 0
    assert log_mel(waveform, log_offset=0.01).shape == (frames, BANDS)
    expected = max(1, (frames - PATCH_FRAMES) // hop + 1)
    assert log_mel_patches(waveform, log_offset=0.01, hop_frames=hop).shape == (expected, PATCH_FRAMES, BANDS)


def test_a_frame_is_the_same_to_the_last_bit_whatever_stands_beside_it() -> None:
    """Live windows share patches, and embedding cuts files into windows: both rest on this, on every processor."""
    waveform = np.random.default_rng(5).normal(0, 0.1, 8 * RATE).astype(np.float32)
    whole = log_mel(waveform, log_offset=0.001)
    for first in (0, 1, 37, 63, 128, 500):
        for n in (1, 5, 50, 63, 64, 65, 127, 130, 290):
            part = log_mel(waveform[first * HOP : (first + n - 1) * HOP + 400], log_offset=0.001)
            np.testing.assert_array_equal(part, whole[first : first + n])


def test_ten_seconds() -> None:
    spectrogram = log_mel(tone(440, 10.0), log_offset=0.01)
    assert len(spectrogram) == 998
    assert len(cut_patches(spectrogram, hop_frames=96)) == 10
    assert len(cut_patches(spectrogram, hop_frames=48)) == 19


def test_a_patch_needs_15600_samples() -> None:
    assert PATCH_SAMPLES == 15_600
    for samples, frames in ((15_600, 96), (15_599, 95)):
        assert len(log_mel(np.zeros(samples, np.float32), log_offset=0.01)) == frames


def test_a_short_clip_is_padded_with_silence() -> None:
    short = tone(440, 0.3)
    padded = np.concatenate([short, np.zeros(PATCH_SAMPLES - len(short), np.float32)])
    np.testing.assert_array_equal(
        log_mel_patches(short, log_offset=0.001, hop_frames=48),
        log_mel_patches(padded, log_offset=0.001, hop_frames=48),
    )


@given(shift_hops=st.integers(1, 300))
@settings(max_examples=20, deadline=None)
def test_a_shift_by_whole_hops_shifts_the_frames(shift_hops: int) -> None:
    noise = np.random.default_rng(0).standard_normal(4 * RATE).astype(np.float32)
    whole = log_mel(noise, log_offset=0.01)
    shifted = log_mel(noise[shift_hops * HOP :], log_offset=0.01)
    np.testing.assert_allclose(shifted, whole[shift_hops:], atol=1e-5)


def test_long_waveforms_equal_their_parts() -> None:
    """Work goes block by block; no seam may show."""
    noise = np.random.default_rng(1).standard_normal(30 * RATE).astype(np.float32)
    whole = log_mel(noise, log_offset=0.01)
    parts = [log_mel(noise[i * HOP : i * HOP + 400], log_offset=0.01)[0] for i in range(0, len(whole), 97)]
    np.testing.assert_allclose(whole[::97], parts, atol=1e-5)


def test_silence_is_the_offset() -> None:
    np.testing.assert_allclose(log_mel(np.zeros(RATE, np.float32), log_offset=0.001), np.log(0.001), rtol=1e-6)


def test_louder_is_never_less() -> None:
    quiet = log_mel(tone(1000, 1.0, 0.1), log_offset=0.01)
    assert (log_mel(tone(1000, 1.0, 0.2), log_offset=0.01) >= quiet).all()


def test_patches_are_a_view_of_the_spectrogram() -> None:
    spectrogram = np.arange(200 * 64, dtype=np.float32).reshape(200, 64)
    patches = cut_patches(spectrogram, hop_frames=48)
    np.testing.assert_array_equal(patches[1], spectrogram[48:144])
    assert not patches.flags.writeable
