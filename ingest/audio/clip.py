"""The two types that flow out of ingest: `AudioItem`, which audio, and `Clip`, its samples."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from ingest.errors import InvalidSamplesError
from ingest.places.folder import AudioPath

Waveform = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class AudioItem:
    """One audio file to be embedded, and what is known of it: a row of `manifest.parquet`.

    key: names it everywhere; unique in its manifest.
    path: the audio file, here or in an object store.
    source: the recording it was cut from (video id, Freesound id ...); rows of one source never stand on both
        sides of a split. The file itself where nothing better is known.
    mids: its labels: AudioSet mids, or the data set's own class names where it has none.
    fold: the data set's predefined fold, or None.
    start_s: where the file begins in its source, in seconds (a YouTube segment's start; else 0).
    about: what else the data set tells of it: split, licence, the speaker's age, gender, language ...
    """

    key: str
    path: AudioPath
    source: str
    mids: tuple[str, ...] = ()
    fold: int | None = None
    start_s: float = 0.0
    about: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Clip:
    """At most one window of audio.

    key: the key of its item.
    waveform: mono float32 [samples] in [-1, 1] (a decoder may overshoot by a little), read-only.
    sample_rate: in Hz.
    start_s: where in the file it begins, in seconds.
    """

    key: str
    waveform: Waveform
    sample_rate: int
    start_s: float = 0.0

    def __post_init__(self) -> None:
        if self.waveform.ndim != 1 or self.waveform.dtype != np.float32:
            raise InvalidSamplesError(
                self.key,
                f"waveform must be float32 [samples], got {self.waveform.dtype} {list(self.waveform.shape)}",
                "downmix and convert it first",
            )

    @property
    def duration_s(self) -> float:
        return len(self.waveform) / self.sample_rate

    @property
    def is_silent(self) -> bool:
        """Digital silence: every sample is zero."""
        return not self.waveform.any()
