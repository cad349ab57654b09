"""Recorded audio goes round as pydub's AudioSegment, to disk and back, without a sample changed."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.live.chunks import Chunk, from_waveform
from app.live.recording import KeptAudio, Recorder, save, to_segment
from ingest.errors import UsageError
from tests.app.live.doubles import Bench, noise


@pytest.mark.parametrize(("rate", "channels"), [(48_000, 2), (16_000, 1)])
def test_a_segment_has_the_samples_and_so_has_its_file(tmp_path: Path, rate: int, channels: int) -> None:
    samples = np.random.default_rng(0).integers(-32_768, 32_767, (rate, channels), np.int16)
    segment = to_segment(Chunk(samples, rate))
    assert (segment.frame_rate, segment.channels, segment.sample_width, len(segment)) == (rate, channels, 2, 1000)
    save(segment, tmp_path / "a.wav")
    assert np.array_equal(soundfile.read(tmp_path / "a.wav", dtype="int16", always_2d=True)[0], samples)
    assert list(tmp_path.iterdir()) == [tmp_path / "a.wav"]


def test_floats_are_rounded_and_clipped() -> None:
    segment = to_segment(from_waveform(np.array([0.5, 1.5, -1.5, 0.6 / 32_768], np.float32), 16_000))
    assert segment.get_array_of_samples().tolist() == [16_384, 32_767, -32_768, 1]


class TestRecorder:
    def test_ten_seconds_as_they_came(self) -> None:
        samples = np.random.default_rng(0).integers(-9_000, 9_000, (480_000 + 5_000, 2), np.int16)
        recorder = Recorder(10)
        done = [recorder.push(Chunk(samples[at : at + 960], 48_000)) for at in range(0, len(samples), 960)]
        assert done.index(True) == 499
        assert recorder.recorded_s == 10
        assert np.array_equal(np.reshape(recorder.segment().get_array_of_samples(), (-1, 2)), samples[:480_000])

    def test_one_form_in_a_file(self) -> None:
        recorder = Recorder(1)
        recorder.push(Chunk(np.ones((8_000, 2), np.int16), 16_000))
        recorder.push(Chunk(np.ones((8_000, 1), np.int16), 16_000))
        assert recorder.recorded_s == 0.5

    def test_nothing_recorded(self) -> None:
        with pytest.raises(UsageError, match="nothing came"):
            Recorder(1).segment()


class TestKept:
    def test_the_last_seconds_by_the_clock_of_the_session(self) -> None:
        kept, signal = KeptAudio(8_000, keep_s=5), noise(20, rate=8_000)
        for at in range(0, 160_000, 1_600):
            kept.push(at / 8_000, signal[at : at + 1_600])
        assert kept.end_s == 20
        assert 14.7 <= kept.begin_s <= 15
        chunk = kept.read(16.5, 18.25)
        assert chunk is not None
        assert np.array_equal(chunk.samples[:, 0], np.rint(signal[132_000:146_000] * 32_768))
        assert kept.read(1, 2) is None
        assert kept.read(30, 31) is None

    def test_a_gap_is_silence(self) -> None:
        kept = KeptAudio(8_000, keep_s=60)
        kept.push(0, np.full(8_000, 0.5, np.float32))
        kept.push(3, np.full(8_000, 0.25, np.float32))
        chunk = kept.read(0, 9)
        assert chunk is not None
        assert chunk.samples[[7_999, 8_000, 23_999, 24_000], 0].tolist() == [16_384, 0, 0, 8_192]

    def test_nothing_is_kept_when_nothing_shall_be(self) -> None:
        kept = KeptAudio(8_000, keep_s=0)
        kept.push(0, np.ones(8_000, np.float32))
        assert kept.read(0, 1) is None


def test_an_event_can_be_played_back() -> None:
    bench = Bench()
    listening = bench.hub.open()
    signal = noise(12)
    bench.play(listening, signal)
    segment = listening.audio(3, 5)
    assert segment is not None
    assert np.array_equal(segment.get_array_of_samples(), np.rint(signal[48_000:80_000] * 32_768))
    listening.close()
    assert listening.audio(3, 5) == segment
