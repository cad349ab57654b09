"""Stand-ins for the engine. They compute, so that windows that get mixed up do not pass."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from app.live.chunks import Chunk
from app.live.engine import Engine
from app.live.hub import ListenerHub
from app.live.listening import Listening
from app.live.settings import LiveSettings
from classifiers.bundle import Bundle, BundleInfo
from classifiers.decision import Decision
from classifiers.heads import HeadScores
from embeddings.embedding import Vectors
from embeddings.encoders import EncoderSpec
from embeddings.logmel import Patches, log_mel_patches
from ingest.audio.clip import Waveform
from ingest.audioset.class_sets import ClassSet, SoundClass

RATE = 16_000
DIM = 8
CLASSES = ("low", "middle", "high")


class BandEncoder:
    """The mean level of eight bands of a log-mel patch: a `PatchEncoder` on YAMNet's grid, cheap and exact."""

    batch_patches = 1

    def __init__(self, hop_s: float = 0.48) -> None:
        self.spec = EncoderSpec("bands", DIM, "float32", patch_s=0.96, hop_s=hop_s, sample_rate=RATE)
        self.waveform_samples = 0

    def encode(self, waveforms: Sequence[Waveform]) -> list[Vectors]:
        return [self.encode_patches(self.patches(waveform)) for waveform in waveforms]

    def patches(self, waveform: Waveform) -> Patches:
        self.waveform_samples += len(waveform)
        return log_mel_patches(waveform, log_offset=0.001, hop_frames=round(self.spec.hop_s * 100))

    def encode_patches(self, patches: Patches) -> Vectors:
        return np.stack([patch.mean(axis=0).reshape(DIM, -1).mean(axis=1) for patch in patches]).astype(np.float32)


class WholeEncoder:
    """The same for whole windows only."""

    batch_patches = 1

    def __init__(self) -> None:
        self._bands = BandEncoder()
        self.spec = EncoderSpec("whole", DIM, "float32", patch_s=0.96, hop_s=0.48, sample_rate=RATE)

    def encode(self, waveforms: Sequence[Waveform]) -> list[Vectors]:
        return self._bands.encode(waveforms)


class LoudestBandHead:
    """Scores rise with the loudest patch in the low, middle and high bands."""

    def predict(self, vectors: Vectors, mask: np.ndarray) -> HeadScores:
        loudest = np.where(mask[..., None], vectors, -np.inf).max(axis=1)
        levels = np.stack([loudest[:, :3].max(axis=1), loudest[:, 3:6].max(axis=1), loudest[:, 6:].max(axis=1)], axis=1)
        return HeadScores((1 / (1 + np.exp(-2 * levels - 1))).astype(np.float32))


def make_engine(encoder: object | None = None, decision: Decision | None = None, step_s: float = 0.96) -> Engine:
    encoder = encoder or BandEncoder()
    info = BundleInfo(
        spec=encoder.spec,  # type: ignore[attr-defined]
        class_set=ClassSet("bands", "multi", tuple(SoundClass(name, (name,)) for name in CLASSES)),
        head="svc",
        head_settings={},
        seed=0,
        background=False,
        decision=decision or Decision.neutral("multi", len(CLASSES)),
        protocol="none",
        folds=[],
        metrics=None,
        trained_on={},
    )
    return Engine(Bundle(Path("double"), info, LoudestBandHead(), None), encoder, step_s=step_s)  # type: ignore[arg-type]


class Clock:
    """Time that passes when a test says so."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A hub whose work is done at once, or when asked for, in the test's own thread, on a clock of its own."""

    def __init__(
        self, settings: LiveSettings | None = None, engine: Engine | None = None, *, at_once: bool = True
    ) -> None:
        self.clock, self.at_once = Clock(), at_once
        self.todo: list = []
        self.hub = ListenerHub(
            engine or make_engine(), settings, clock=self.clock, wall=lambda: 5e8 + self.clock.now, submit=self._submit
        )

    def _submit(self, work: object) -> None:
        self.todo.append(work)
        if self.at_once:
            self.work()

    def work(self) -> None:
        while self.todo:
            self.todo.pop(0)()

    def play(self, listening: Listening, samples: np.ndarray, rate: int = RATE, chunk_s: float = 0.02) -> None:
        """Push samples [n] or [n, channels] in real time."""
        samples = samples[:, None] if samples.ndim == 1 else samples
        size = round(chunk_s * rate)
        for at in range(0, len(samples), size):
            chunk = Chunk(samples[at : at + size], rate)
            self.clock.now += chunk.duration_s
            listening.push(chunk)


def noise(seconds: float, seed: int = 0, rate: int = RATE, gain: float = 0.1) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, gain, round(seconds * rate)).astype(np.float32)


def tone(hz: float, seconds: float, rate: int = RATE, gain: float = 0.5) -> np.ndarray:
    return (gain * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)
