"""The synthesiser: seeded, labelled, within range, and its kinds can be told apart."""

import numpy as np

from app.citysounds import KINDS, SAMPLE_RATE, synthesise


def test_same_seed_same_samples_and_another_seed_others() -> None:
    first, again, other = (list(synthesise(seed=s, recordings=1, takes=1, duration_s=0.5)) for s in (1, 1, 2))
    assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a.waveform, b.waveform) for a, b in zip(first, other, strict=True))


def test_asking_for_one_label_gives_the_same_sounds_as_asking_for_all() -> None:
    everything = [s for s in synthesise(seed=5, recordings=1, duration_s=0.5) if s.label == "Siren"]
    alone = list(synthesise(seed=5, recordings=1, duration_s=0.5, labels=("Siren",)))
    assert [s.name for s in alone] == [s.name for s in everything]
    assert all(np.array_equal(a.waveform, b.waveform) for a, b in zip(alone, everything, strict=True))


def test_takes_share_a_source_and_recordings_do_not() -> None:
    sounds = list(synthesise(seed=3, recordings=2, takes=3, duration_s=0.1))
    assert len({s.name for s in sounds}) == len(sounds) == len(KINDS) * 2 * 3
    assert len({s.source for s in sounds}) == len(KINDS) * 2


def test_samples_are_finite_and_within_range() -> None:
    for sound in synthesise(seed=4, recordings=2, takes=1, duration_s=1.0):
        assert sound.waveform.dtype == np.float32
        assert len(sound.waveform) == SAMPLE_RATE
        assert 0.02 < np.abs(sound.waveform).max() <= 1


def test_a_bird_is_brighter_than_a_subway() -> None:
    def centroid_hz(label: str) -> float:
        sounds = synthesise(seed=6, recordings=6, takes=1, duration_s=2.0, labels=(label,))
        spectra = [np.abs(np.fft.rfft(s.waveform)) ** 2 for s in sounds]
        frequency_hz = np.fft.rfftfreq(2 * SAMPLE_RATE, 1 / SAMPLE_RATE)
        return float(np.median([(frequency_hz * s).sum() / s.sum() for s in spectra]))

    assert centroid_hz("Bird") > 3 * centroid_hz("Subway, metro, underground")
