"""The sample that a projection is fitted on."""

from pathlib import Path

import numpy as np

import embeddings.fit
from embeddings.fit import sample_vectors
from ingest.audio.clip import AudioItem
from tests.embeddings.fakes import StatisticsEncoder, read_wav, write_sounds


def test_a_small_set_is_sampled_whole_and_alike_with_any_number_of_workers(tmp_path: Path) -> None:
    items = [*write_sounds(tmp_path, 9), AudioItem("gone", tmp_path / "gone.wav", "gone")]
    encoder = StatisticsEncoder()
    one, many = (sample_vectors(items, encoder, workers=workers, read=read_wav) for workers in (1, 5))
    expected = [
        encoder.encode([clip.waveform])[0]
        for item in items[:-1]
        for clip in read_wav(item.path, key=item.key, sample_rate=1000, window_s=10.0, resampler="soxr")
    ]
    assert np.array_equal(one, np.concatenate(expected)) and np.array_equal(one, many)


def test_a_large_set_is_sampled_by_the_seed(tmp_path: Path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(embeddings.fit, "SAMPLE_WINDOWS", 4)
    items, encoder = write_sounds(tmp_path, 12), StatisticsEncoder()
    samples = [sample_vectors(items, encoder, workers=2, read=read_wav, seed=seed) for seed in (0, 0, 1)]
    assert np.array_equal(samples[0], samples[1])
    assert samples[0].shape != samples[2].shape or not np.array_equal(samples[0], samples[2])
    assert len(samples[0]) <= 4 * 10


def test_nothing_gives_no_vectors() -> None:
    assert sample_vectors([], StatisticsEncoder(), workers=1, read=read_wav).shape == (0, 4)
