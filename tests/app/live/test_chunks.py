"""Audio of any form becomes the mono samples that a file of it has."""

from pathlib import Path

import av
import numpy as np
import pytest
import soundfile

from app.live.chunks import Chunk, from_av, from_pcm16, from_waveform, to_mono
from ingest.audio.windows import read_clip
from ingest.errors import UsageError


@pytest.mark.parametrize(
    ("dtype", "subtype"), [("int16", "PCM_16"), ("int32", "PCM_32"), ("float32", "FLOAT"), ("float64", "DOUBLE")]
)
@pytest.mark.parametrize("channels", [1, 2, 6])
def test_same_samples_as_from_a_file(tmp_path: Path, dtype: str, subtype: str, channels: int) -> None:
    values = np.random.default_rng(channels).uniform(-0.9, 0.9, (4_000, channels))
    samples = (values * 2 ** (int(dtype[3:]) - 1)).astype(dtype) if dtype.startswith("int") else values.astype(dtype)
    soundfile.write(tmp_path / "a.wav", samples, 16_000, subtype=subtype)
    assert np.array_equal(to_mono(Chunk(samples, 16_000)), read_clip(tmp_path / "a.wav").waveform)


def test_eight_bits_are_centred() -> None:
    assert to_mono(Chunk(np.array([[0], [128], [255]], np.uint8), 8_000)).tolist() == [-1, 0, 127 / 128]


def test_what_is_no_number_or_beyond_any_sound_is_silence() -> None:
    samples = np.array([[0.5], [np.nan], [np.inf], [-np.inf], [2e12], [-1e300]])
    assert to_mono(from_waveform(samples[:, 0], 16_000)).tolist() == [0.5, 0, 0, 0, 0, 0]


@pytest.mark.parametrize("form", ["s16", "s16p", "flt", "fltp", "s32", "u8"])
@pytest.mark.parametrize("layout", ["mono", "stereo"])
def test_frames_of_pyav_packed_and_planar(form: str, layout: str) -> None:
    channels = {"mono": 1, "stereo": 2}[layout]
    frame = av.AudioFrame(format=form, layout=layout, samples=960)
    frame.sample_rate = 48_000
    dtype = {"s16": "<i2", "flt": "<f4", "s32": "<i4", "u8": "u1"}[form.removesuffix("p")]
    values = np.arange(960 * channels).reshape(960, channels)
    values = (values / 4_000 if "flt" in form else values % 200).astype(dtype)
    planes = values.T if form.endswith("p") else [values]
    for plane, content in zip(frame.planes, planes, strict=True):
        plane.update(np.ascontiguousarray(content).tobytes())
    chunk = from_av(frame)
    assert (chunk.sample_rate, chunk.channels, chunk.duration_s) == (48_000, channels, 0.02)
    assert np.array_equal(chunk.samples, values)


def test_pcm16_bytes() -> None:
    chunk = from_pcm16(b"\x01\x00\xff\xff\x00\x80\x00\x40", 16_000, channels=2)
    assert chunk.samples.tolist() == [[1, -1], [-32_768, 16_384]]


def test_half_a_sample_is_refused() -> None:
    with pytest.raises(UsageError, match="got 3 bytes"):
        from_pcm16(b"123")


@pytest.mark.parametrize(
    ("samples", "rate", "message"),
    [
        (np.zeros(5, np.int16), 16_000, "channels"),
        (np.zeros((5, 0), np.int16), 16_000, "channels"),
        (np.zeros((5, 1), np.int64), 16_000, "int64"),
        (np.zeros((5, 1), np.int16), 16, "16 Hz|got 16"),
    ],
)
def test_nonsense_is_refused(samples: np.ndarray, rate: int, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Chunk(samples, rate)


def test_split_loses_nothing() -> None:
    chunk = Chunk(np.arange(10_001, dtype=np.int16)[:, None], 8_000)
    parts = chunk.split(0.5)
    assert max(part.duration_s for part in parts) <= 0.5
    assert np.array_equal(np.concatenate([part.samples for part in parts]), chunk.samples)
