"""Audio in: what is true of every file, every format, every odd file and every bad one."""

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.audio import decode
from ingest.audio.windows import cut_windows, read_clip, read_windows
from ingest.errors import (
    AudioError,
    EmptyAudioError,
    InvalidSamplesError,
    MissingAudioError,
    NotAudioError,
    TruncatedAudioError,
    UnreadableAudioError,
    UsageError,
)
from tests.ingest.sounds import RATE, tone, truncate, write, write_av, write_video


def joined(path: Path, **options: object) -> np.ndarray:
    return np.concatenate([clip.waveform for clip in read_windows(path, min_tail_s=0, **options)])


# ---- windows


@settings(max_examples=25, deadline=None)
@given(
    seconds=st.floats(0.05, 3.5),
    rate=st.sampled_from([8000, 11025, 16000, 22050, 44099, 44100, 48000]),
    channels=st.integers(1, 3),
    block=st.integers(5_000, 40_000),
)
def test_windows_joined_are_the_whole_file_resampled_at_once(tmp_path_factory, seconds, rate, channels, block):
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    samples = np.stack([tone(seconds, rate, hz=200 * (1 + channel)) for channel in range(channels)], axis=1)
    write(path, samples, rate, subtype="FLOAT")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decode, "BLOCK_VALUES", block)
        found = joined(path, window_s=0.7)
    mono = samples.mean(axis=1, dtype=np.float64).astype(np.float32)
    expected = soxr.resample(mono, rate, 16_000)
    assert abs(len(found) - seconds * 16_000) <= 2
    np.testing.assert_allclose(found, expected, atol=1e-6)


@settings(max_examples=25, deadline=None)
@given(seconds=st.floats(0.05, 3.5), rate=st.sampled_from([8000, 16000, 44100, 48000]), window_s=st.floats(0.3, 1.2))
def test_samples_in_memory_are_cut_as_the_file_that_holds_them(tmp_path_factory, seconds, rate, window_s):
    path = tmp_path_factory.mktemp("audio") / "a.wav"
    samples = tone(seconds, rate).astype(np.float32)
    write(path, samples, rate, subtype="FLOAT")
    of_file = list(read_windows(path, key="a", window_s=window_s))
    of_samples = list(cut_windows(samples, rate, key="a", window_s=window_s))
    assert [(c.key, c.start_s, c.sample_rate) for c in of_samples] == [
        (c.key, c.start_s, c.sample_rate) for c in of_file
    ]
    assert np.array_equal(
        np.concatenate([c.waveform for c in of_samples]), np.concatenate([c.waveform for c in of_file])
    )


def test_samples_in_memory_that_are_none_or_not_finite_are_refused():
    with pytest.raises(EmptyAudioError, match="mine: it holds zero samples"):
        list(cut_windows(np.zeros(0, np.float32), RATE, key="mine"))
    with pytest.raises(InvalidSamplesError, match="mine: sample 7 is nan"):
        list(cut_windows(np.where(np.arange(9) == 7, np.nan, 0).astype(np.float32), RATE, key="mine"))


@pytest.mark.parametrize(
    ("samples", "rate", "what"),
    [
        (np.zeros((2, 3, 4)), RATE, r"must be \[n, channels\]"),
        (np.zeros((1, 16_000)), RATE, r"got \[1, 16000\]; transpose them first"),
        (np.zeros(9, np.int64), RATE, "got int64"),
        (np.zeros(9), 16, "rate: must be 1000 to"),
    ],
)
def test_what_are_no_samples_are_refused(samples, rate, what):
    with pytest.raises(UsageError, match=what):
        list(cut_windows(samples, rate))


@pytest.mark.parametrize(
    ("seconds", "starts"),
    [(9.0, [0]), (10.0, [0]), (10.02, [0]), (10.97, [0, 10]), (20.5, [0, 10]), (21.0, [0, 10, 20]), (0.1, [0])],
)
def test_windows_carry_their_start_and_a_tail_below_a_patch_is_dropped(tmp_path, seconds, starts):
    path = write(tmp_path / "a.wav", tone(seconds, 16_000), 16_000)
    clips = list(read_windows(path, key="k"))
    assert [clip.start_s for clip in clips] == starts
    assert all(clip.duration_s == 10 for clip in clips[:-1])
    assert {clip.key for clip in clips} == {"k"}
    assert not any(clip.waveform.flags.writeable for clip in clips)


def test_duration_does_not_depend_on_the_rate(tmp_path):
    lengths = {
        len(read_clip(write(tmp_path / f"{rate}.flac", tone(2, rate), rate)).waveform)
        for rate in (8000, 22050, 44100, 48000, 96000, 192000)
    }
    assert lengths == {32_000}


def test_every_channel_counts_the_same(tmp_path):
    samples = tone(1)[:, None] * np.array([[1, 0, 0.5, -0.5, 0, 0, 0.25, 0]], np.float32)
    eight = read_clip(write(tmp_path / "8.wav", samples, subtype="FLOAT")).waveform
    one = read_clip(write(tmp_path / "1.wav", samples.mean(axis=1), subtype="FLOAT")).waveform
    np.testing.assert_allclose(eight, one, atol=1e-6)


@pytest.mark.slow
def test_a_long_file_streams_in_constant_memory(tmp_path):
    path = tmp_path / "long.wav"
    minute = tone(60, 48_000)
    with soundfile.SoundFile(path, "w", 48_000, 1, subtype="PCM_16") as file:
        for _ in range(20):
            file.write(minute)
    tracemalloc.start()
    count = sum(1 for _ in read_windows(path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert count == 120
    assert peak < 20e6


# ---- formats

SOUNDFILE_FORMATS = {"wav": "PCM_16", "flac": "PCM_24", "aiff": "PCM_16", "ogg": "VORBIS", "mp3": "MPEG_LAYER_III"}
PYAV_FORMATS = {"m4a": "aac", "mp4": "aac", "mov": "aac", "webm": "libopus", "mkv": "libopus"}


def write_format(path: Path, seconds: float = 3.0) -> Path:
    suffix = path.suffix[1:]
    if suffix in SOUNDFILE_FORMATS:
        return write(path, tone(seconds, 48_000), 48_000, subtype=SOUNDFILE_FORMATS[suffix])
    return write_av(path, tone(seconds, 48_000), PYAV_FORMATS.get(suffix, "libopus"))


@pytest.mark.parametrize("suffix", [*SOUNDFILE_FORMATS, *PYAV_FORMATS, "opus"])
def test_every_format_gives_the_same_sound(tmp_path, suffix):
    path = write_format(tmp_path / f"a.{suffix}")
    found = read_clip(path).waveform
    expected = soxr.resample(tone(3, 48_000), 48_000, 16_000)
    assert abs(len(found) - len(expected)) <= 800
    middle = slice(8_000, 40_000)
    spectrum = np.abs(np.fft.rfft(found[middle]))
    assert np.argmax(spectrum) == np.argmax(np.abs(np.fft.rfft(expected[middle])))
    assert np.std(found[middle]) == pytest.approx(np.std(expected[middle]), rel=0.05)


@pytest.mark.parametrize("suffix", [*SOUNDFILE_FORMATS, *PYAV_FORMATS, "opus"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
def test_a_truncated_file_is_named(tmp_path, suffix, share):
    path = truncate(write_format(tmp_path / f"a.{suffix}", seconds=6), share)
    with pytest.raises(TruncatedAudioError):
        read_clip(path)


def test_a_faststart_mp4_cut_in_its_samples_is_truncated(tmp_path):
    path = write_av(tmp_path / "a.m4a", tone(6, 48_000), "aac", movflags="faststart")
    read_clip(path)
    with pytest.raises(TruncatedAudioError):
        read_clip(truncate(path))


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_written_to_a_pipe_declares_no_size_and_is_fine(tmp_path, size):
    path = write(tmp_path / "a.wav", tone(1))
    content = bytearray(path.read_bytes())
    at = content.index(b"data") + 4
    content[at : at + 4] = size.to_bytes(4, "little")
    path.write_bytes(content)
    assert len(read_clip(path).waveform) == 16_000


# ---- odd but fine


def test_eight_channels_at_192_khz(tmp_path):
    path = write(tmp_path / "a.wav", np.repeat(tone(1.5, 192_000)[:, None], 8, axis=1), 192_000)
    assert len(read_clip(path).waveform) == 24_000


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW"])
def test_every_sample_format_has_the_same_scale(tmp_path, subtype):
    samples = tone(1, 16_000)
    found = read_clip(write(tmp_path / "a.wav", samples, 16_000, subtype=subtype)).waveform
    np.testing.assert_allclose(found, samples, atol=0.02)


@pytest.mark.parametrize("rate", [8_000, 16_000, 44_100, 192_000])
@pytest.mark.parametrize("resampler", ["soxr", "resampy"])
def test_one_sample_is_a_clip(tmp_path, rate, resampler):
    path = write(tmp_path / "a.wav", np.array([0.5], np.float32), rate)
    (clip,) = read_windows(path, resampler=resampler)
    assert 1 <= len(clip.waveform) <= 2


@pytest.mark.parametrize("rate", [1, 999, 1_000_001, 2**31 - 1])
def test_a_rate_that_cannot_be(tmp_path, rate):
    """A minute of samples that says 1 Hz would become gigabytes at 16 kHz."""
    path = write(tmp_path / "a.wav", np.zeros(1_000, np.float32), rate)
    with pytest.raises(NotAudioError, match=f"declares {rate} samples a second"):
        next(read_windows(path))


def test_silence_is_no_error_but_can_be_told(tmp_path):
    assert read_clip(write(tmp_path / "a.wav", np.zeros(RATE))).is_silent
    assert not read_clip(write(tmp_path / "b.wav", tone(1))).is_silent


def test_opus_in_ogg_is_not_left_to_libsndfile(tmp_path, monkeypatch):
    """Which calls some healthy files damaged: of 13 real clips, one that was silent at both ends."""
    path = write_av(tmp_path / "voice.opus", tone(5, 48_000), "libopus")
    assert soundfile.info(path).subtype == "OPUS"
    monkeypatch.delattr(decode, "_soundfile_blocks")
    assert len(joined(path)) == pytest.approx(5 * 16_000, abs=2)


@pytest.mark.parametrize(
    "name", ["a b.wav", "-a.wav", "--help.m4a", "été 音.flac", "http:a.m4a", "pipe:1.webm", "a%d.opus"]
)
def test_no_name_is_too_odd(tmp_path, monkeypatch, name):
    write_format(tmp_path / name, 1)
    monkeypatch.chdir(tmp_path)
    assert len(read_clip(Path(name)).waveform) == pytest.approx(16_000, abs=800)


def test_the_content_counts_and_not_the_suffix(tmp_path):
    path = write_format(tmp_path / "a.webm", 1).rename(tmp_path / "a.wav")
    assert len(read_clip(path).waveform) == pytest.approx(16_000, abs=800)


# ---- bad files


def test_no_file(tmp_path):
    with pytest.raises(MissingAudioError, match="no such file"):
        read_clip(tmp_path / "a.wav")


def test_a_folder(tmp_path):
    with pytest.raises(NotAudioError, match="folder"):
        read_clip(tmp_path)


def test_a_file_that_may_not_be_read(tmp_path, monkeypatch):
    path = write(tmp_path / "a.wav", tone(1))

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(UnreadableAudioError, match="permission denied"):
        read_clip(path)


def test_no_bytes(tmp_path):
    (tmp_path / "a.wav").touch()
    with pytest.raises(EmptyAudioError, match="no bytes"):
        read_clip(tmp_path / "a.wav")


def test_no_samples(tmp_path):
    with pytest.raises(EmptyAudioError, match="zero samples"):
        read_clip(write(tmp_path / "a.wav", np.zeros(0, np.float32)))


@pytest.mark.parametrize("suffix", ["wav", "mp3", "m4a", "ogg", "txt", "raw", "vox", "gsm"])
@pytest.mark.parametrize("content", [b"hello, this is no audio\n" * 50, bytes(range(256)) * 20, b"\0" * 5000])
def test_what_is_no_audio_whatever_its_name(tmp_path, suffix, content):
    path = tmp_path / f"a.{suffix}"
    path.write_bytes(content)
    with pytest.raises(NotAudioError):
        read_clip(path)


def test_a_film_without_sound(tmp_path):
    with pytest.raises(NotAudioError, match="no audio stream"):
        read_clip(write_video(tmp_path / "a.mp4"))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("at", [0, 30_000])
def test_samples_that_are_not_finite(tmp_path, value, channels, at):
    samples = np.repeat(tone(1)[:, None], channels, axis=1)
    samples[at, 0] = value
    path = write(tmp_path / "a.wav", samples, subtype="FLOAT")
    with pytest.raises(InvalidSamplesError, match=f"sample {at} is {value}"):
        read_clip(path)


@pytest.mark.parametrize("value", [1.1e12, -3e38])
def test_samples_so_large_that_resampling_would_make_nan_of_them_are_refused(tmp_path, value):
    samples = tone(1)
    samples[100:104] = value, -value, value, value
    with pytest.raises(InvalidSamplesError, match=r"sample 100 is .*, not between -1e\+12 and 1e\+12; export"):
        read_clip(write(tmp_path / "a.wav", samples, 48_000, subtype="FLOAT"))


def test_unscaled_integers_of_32_bits_are_read(tmp_path):
    samples = np.resize(np.array([2**31 - 1, -(2**31)], np.float32), 48_000)
    assert np.isfinite(read_clip(write(tmp_path / "a.wav", samples, 48_000, subtype="FLOAT")).waveform).all()


def test_a_flac_damaged_in_the_middle(tmp_path):
    path = write(tmp_path / "a.flac", tone(10))
    content = bytearray(path.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 5000] = os.urandom(5000)
    path.write_bytes(content)
    with pytest.raises(AudioError):
        read_clip(path)


def test_every_message_is_one_line_with_file_rule_and_remedy(tmp_path):
    path = tmp_path / "a.wav"
    path.write_text("no audio")
    with pytest.raises(AudioError) as caught:
        read_clip(path)
    assert str(caught.value) == f"{path}: {caught.value.rule}; {caught.value.remedy}"
    assert "\n" not in str(caught.value)


def test_an_unknown_resampler_is_the_users_mistake(tmp_path):
    with pytest.raises(UsageError, match="soxr, resampy"):
        read_clip(write(tmp_path / "a.wav", tone(1)), resampler="linear")


def test_esc10_clips_are_whole(shared):
    paths = sorted((shared / "esc10").glob("*/1-*.ogg"))
    clips = [read_clip(path) for path in paths[::8]]
    assert all(clip.sample_rate == 16_000 and 3 < clip.duration_s < 8 for clip in clips)


def test_the_declared_length_is_read_without_decoding(tmp_path):
    path = tmp_path / "tone.wav"
    write(path, tone(2.5, RATE), RATE)
    assert decode.declared_seconds(path) == pytest.approx(2.5)
    path.write_text("no sound")
    assert decode.declared_seconds(path) is None
    assert decode.declared_seconds(tmp_path / "missing.wav") is None
