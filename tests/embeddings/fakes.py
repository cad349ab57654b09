"""Stand-ins for the pipeline's neighbours. They compute, so that rows that get mixed up do not pass."""

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import soundfile

from embeddings.embedding import Vectors
from embeddings.encoders import EncoderSpec
from ingest.audio.clip import AudioItem, Clip, Waveform
from ingest.errors import EmptyAudioError, MissingAudioError, NotAudioError, TruncatedAudioError

RATE = 1_000
"""Hz: low, so that hours of audio are small."""


class StatisticsEncoder:
    """Loudness, peak, zero crossings and spectral centroid of each second: deterministic, four numbers a patch."""

    def __init__(self, batch_patches: int = 1, delay_s: float = 0.0) -> None:
        self.spec = EncoderSpec("statistics", 4, "float32", patch_s=1.0, hop_s=1.0, sample_rate=RATE)
        self.batch_patches, self.delay_s = batch_patches, delay_s

    def encode(self, waveforms: Sequence[Waveform]) -> list[Vectors]:
        time.sleep(self.delay_s)
        return [self._vectors(waveform) for waveform in waveforms]

    def _vectors(self, waveform: Waveform) -> Vectors:
        padded = np.pad(waveform, (0, max(0, RATE - len(waveform))))
        patches = padded[: len(padded) // RATE * RATE].reshape(-1, RATE)
        power = np.abs(np.fft.rfft(patches)) ** 2 + 1e-9
        features = (
            np.sqrt((patches**2).mean(axis=1)),
            np.abs(patches).max(axis=1),
            (np.diff(np.signbit(patches), axis=1) != 0).mean(axis=1),
            power @ np.arange(power.shape[1]) / power.sum(axis=1),
        )
        return np.stack(features, axis=1).astype(np.float32)


def read_wav(path: Path, *, key: str, sample_rate: int, window_s: float, resampler: str) -> Iterator[Clip]:
    """Windows of a WAV file of `sample_rate`, with the errors of the real reader."""
    if not path.exists():
        raise MissingAudioError(path, "not there", "put it back")
    if not path.stat().st_size:
        raise EmptyAudioError(path, "no bytes", "leave it out")
    try:
        file = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise NotAudioError(path, "no decoder knows it", "leave it out") from error
    with file:
        window = round(window_s * sample_rate)
        for begin in range(0, file.frames, window):
            waveform = file.read(window, dtype="float32")
            if path.stem.startswith("truncated") and begin:
                raise TruncatedAudioError(path, "ends early", "fetch it again")
            yield Clip(key, waveform, sample_rate, begin / sample_rate)


def write_sounds(folder: Path, count: int, seed: int = 0) -> list[AudioItem]:
    """WAV files of 0.3 to 35 s with a tone and noise each, as items with labels, folds and start times."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    return [
        write_sound(folder / f"sound {i:03d}.wav", rng, seconds=float(rng.uniform(0.3, 35)), number=i)
        for i in range(count)
    ]


def write_sound(path: Path, rng: np.random.Generator, seconds: float, number: int = 0) -> AudioItem:
    time_s = np.arange(round(seconds * RATE)) / RATE
    tone = rng.uniform(0.05, 0.5) * np.sin(2 * np.pi * rng.uniform(20, 400) * time_s)
    soundfile.write(path, tone + rng.normal(0, 0.05, len(time_s)), RATE, subtype="FLOAT")
    return AudioItem(
        key=path.name,
        path=path,
        source=f"recording {number // 2}",
        mids=("/m/09x0r",) * (number % 3),
        fold=number % 5 or None,
        start_s=30.0 * (number % 2),
    )
