"""The encoder `handcrafted`: 73 classic features per patch with librosa. Needs no weights.

MFCC, chroma, centroid, bandwidth, roll-off and zero-crossing rate of every 20 ms frame, as mean and standard deviation
over the 48 frames of a patch; and the tempo of the whole waveform, the same in each patch. The values keep their own
units (dB, Hz, beats per minute): whoever learns from them scales them.

Source: McFee et al. 2015 (librosa); Müller 2015 (chroma); Slaney 1998 (MFCC).
"""

from collections.abc import Sequence
from functools import cache

import numpy as np
import numpy.typing as npt

from embeddings.embedding import Vectors
from embeddings.encoders import EncoderRow, EncoderSettings, EncoderSpec
from embeddings.logmel import PATCH_SAMPLES
from ingest.audio.clip import Waveform

SAMPLE_RATE = 16_000
FFT = 1024
HOP = 320
PATCH_HOP = 15_360  # 0.96 s in samples: patches start where the log-mel encoders' do
FRAMES_PER_PATCH = PATCH_HOP // HOP
MFCCS, CHROMAS, MELS = 20, 12, 64

_FRAME_FEATURES = (
    *(f"mfcc_{i}" for i in range(MFCCS)),
    *(f"chroma_{note}" for note in ("c", "c#", "d", "d#", "e", "f", "f#", "g", "g#", "a", "a#", "b")),
    *("centroid_hz", "bandwidth_hz", "rolloff_hz", "zero_crossing_rate"),
)
FEATURE_NAMES: tuple[str, ...] = (
    *(f"{name}_mean" for name in _FRAME_FEATURES),
    *(f"{name}_std" for name in _FRAME_FEATURES),
    "tempo_bpm",
)
"""What each of the 73 dimensions is."""

Floats = npt.NDArray[np.float32]


class Handcrafted:
    """An `Encoder`; see there. It keeps no state, so any number of threads may call it."""

    batch_patches = 1

    def __init__(self, spec: EncoderSpec) -> None:
        self.spec = spec

    def encode(self, waveforms: Sequence[Waveform]) -> list[Vectors]:
        return [patch_features(waveform) for waveform in waveforms]


def load(row: EncoderRow, settings: EncoderSettings) -> Handcrafted:
    """Nothing to load: librosa is imported with the first waveform."""
    return Handcrafted(row.spec())


def patch_features(waveform: Waveform) -> Floats:
    """Float32 [samples] at 16 kHz -> float32 [patches, 73], patches >= 1, columns as in `FEATURE_NAMES`.

    As many patches as VGGish has, 10 for 10.000 s; what is shorter than one patch is padded with silence to one.
    """
    if len(waveform) < PATCH_SAMPLES:
        waveform = np.pad(waveform, (0, PATCH_SAMPLES - len(waveform)))
    patches = (len(waveform) - PATCH_SAMPLES) // PATCH_HOP + 1
    frames, tempo_bpm = frame_features(waveform)
    by_patch = frames[:, : patches * FRAMES_PER_PATCH].reshape(len(frames), patches, FRAMES_PER_PATCH)
    columns = [by_patch.mean(axis=2).T, by_patch.std(axis=2).T, np.full((patches, 1), tempo_bpm)]
    return np.concatenate(columns, axis=1).astype(np.float32)


def frame_features(waveform: Waveform) -> tuple[Floats, float]:
    """Features [36, frames] of every 20 ms frame, and the tempo in beats per minute, from one spectrogram.

    librosa's functions are fed that spectrogram and fixed filters, which each would compute anew. Importing librosa
    compiles code for some 15 s the first time after installation, 2 s from then on.
    """
    import librosa
    from librosa.onset import onset_strength

    magnitude = np.abs(librosa.stft(waveform, n_fft=FFT, hop_length=HOP))
    power = magnitude**2
    mel_filters, chroma_filters = _filters()
    mel_db = librosa.power_to_db(mel_filters @ power)
    rows = [
        librosa.feature.mfcc(S=mel_db, n_mfcc=MFCCS),
        librosa.util.normalize(chroma_filters @ power, norm=np.inf, axis=0),
        librosa.feature.spectral_centroid(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.spectral_bandwidth(S=magnitude, sr=SAMPLE_RATE),
        librosa.feature.spectral_rolloff(S=magnitude, sr=SAMPLE_RATE),
        _zero_crossing_rate(waveform, magnitude.shape[1]),
    ]
    onset = onset_strength(S=mel_db, sr=SAMPLE_RATE, hop_length=HOP)
    tempo = librosa.feature.tempo(onset_envelope=onset, sr=SAMPLE_RATE, hop_length=HOP)
    return np.concatenate(rows), float(tempo[0])


def _zero_crossing_rate(waveform: Waveform, frames: int) -> Floats:
    """Share of samples where the sign changes, [1, frames], in frames of `FFT` samples centred as the STFT's are."""
    negative = np.signbit(waveform)
    changes = np.zeros(len(waveform) + FFT, np.int64)  # as if the first and last samples went on at both ends
    changes[FFT // 2 + 1 : FFT // 2 + len(waveform)] = negative[1:] != negative[:-1]
    count = np.cumsum(changes)
    starts = np.arange(frames) * HOP
    return ((count[starts + FFT - 1] - count[starts]) / FFT)[None].astype(np.float32)


@cache
def _filters() -> tuple[Floats, Floats]:
    """Mel [64, bins] and chroma [12, bins] filters, made once: they take longer than all they are applied to."""
    from librosa.filters import chroma, mel

    mel_filters = mel(sr=SAMPLE_RATE, n_fft=FFT, n_mels=MELS)
    return mel_filters, chroma(sr=SAMPLE_RATE, n_fft=FFT, tuning=0.0)
