"""The audio that benchmarks work on."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ingest.audio.clip import AudioItem

CLIPS = 400
SECONDS = 5.0
SAMPLE_RATE = 44_100


def shared_folder() -> Path | None:
    """The folder named by EARSHOT_SHARED, if it is there."""
    folder = os.environ.get("EARSHOT_SHARED")
    return Path(folder) if folder and Path(folder).is_dir() else None


@contextmanager
def short_clips() -> Iterator[tuple[str, list[AudioItem]]]:
    """ESC-10 where it is to be had, else as many clips of the same length and format: their name, and the clips."""
    shared = shared_folder()
    if shared:
        paths = sorted((shared / "esc10").rglob("*.ogg"))
        yield "ESC-10", [AudioItem(path.name, path, path.name) for path in paths]
        return
    with TemporaryDirectory() as folder:
        yield "generated clips", [_noise(Path(folder) / f"{number:03d}.ogg", number) for number in range(CLIPS)]


def _noise(path: Path, seed: int) -> AudioItem:
    """Filtered noise with a slow swell: as hard to decode as a real sound."""
    import soundfile

    rng = np.random.default_rng(seed)
    noise = rng.normal(0, 0.2, round(SECONDS * SAMPLE_RATE)).cumsum()
    noise -= np.convolve(noise, np.ones(200) / 200, "same")
    swell = np.sin(np.linspace(0, rng.uniform(3, 30), len(noise)))
    soundfile.write(path, noise / np.abs(noise).max() * swell * 0.5, SAMPLE_RATE, format="OGG", subtype="VORBIS")
    return AudioItem(path.name, path, path.name)
