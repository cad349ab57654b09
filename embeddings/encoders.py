"""The table of encoders. Readable without importing any engine; `load_encoder` imports the row's module.

A row's module offers `load(row, settings) -> Encoder`.
"""

import importlib
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

from embeddings.embedding import Vectors
from ingest.audio.clip import Waveform
from ingest.errors import UsageError
from ingest.foreign import checked

if TYPE_CHECKING:
    from embeddings.logmel import Patches

PATCH_S = 0.96
FRAME_S = 0.025
"""What one vector of a spectrogram looks at; its patches are frames."""
VectorOf = Literal["patch", "frame"]
WINDOW_S = 10.0


@dataclass(frozen=True, slots=True)
class EncoderRow:
    """What an encoder is, as a fact.

    module: where `load` lives.
    sample_rate: of the waveforms it takes, in Hz.
    patch_s, hop_s: length of a patch and step between patches, in seconds.
    dim, dtype: of a vector.
    weights: names in `embeddings.weights.WEIGHTS` that it needs.
    precisions: the first is the default.
    source: paper or reference code.
    """

    name: str
    module: str
    hop_s: float
    dim: int
    dtype: str
    weights: tuple[str, ...]
    engine: str
    summary: str
    source: str
    precisions: tuple[str, ...] = ("float32",)
    sample_rate: int = 16_000
    patch_s: float = PATCH_S

    def spec(self, *, precision: str | None = None, weights: dict[str, str] | None = None) -> "EncoderSpec":
        """The identity of what this encoder gives with these weights (file name -> SHA-256)."""
        return EncoderSpec(
            encoder=self.name,
            dim=self.dim,
            dtype=self.dtype,
            patch_s=self.patch_s,
            hop_s=self.hop_s,
            sample_rate=self.sample_rate,
            engine=self.engine,
            precision=precision or self.precisions[0],
            weights=weights or {},
        )


@dataclass(frozen=True, slots=True)
class EncoderSettings:
    """What the user may choose about loading an encoder.

    weights_dir: a folder of the user's own weights (`--weights`), searched first.
    precision: one of the row's precisions, or None for its default.
    pca: npz with the projection of `yamnet-128`.
    model: a TF-Hub handle or a local SavedModel folder, for the hub rows.
    threads: threads of the engine within one call of `encode` (the pipeline runs several calls at once).
    """

    weights_dir: Path | None = None
    precision: str | None = None
    pca: Path | None = None
    model: str | None = None
    threads: int = 1


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """The identity of an encoder's output, stored beside every store and in every bundle.

    Two specs may be mixed only when `mismatch` names nothing. `engine` and `precision` are for the record.

    weights: file name -> SHA-256; empty for AudioSet's released features, whose weights are not published.
    """

    encoder: str
    dim: int
    dtype: str
    patch_s: float
    hop_s: float
    sample_rate: int
    window_s: float = WINDOW_S
    resampler: str = "soxr"
    engine: str = ""
    precision: str = "float32"
    weights: dict[str, str] = field(default_factory=dict)

    def mismatch(self, other: "EncoderSpec") -> list[str]:
        """What keeps rows of `other` from standing beside ours: 'encoder: yamnet against vggish', ..."""
        fields = (
            "encoder",
            "dim",
            "dtype",
            "patch_s",
            "hop_s",
            "sample_rate",
            "window_s",
            "resampler",
            "precision",
        )
        wrong = [
            f"{name}: {getattr(self, name)} against {getattr(other, name)}"
            for name in fields
            if getattr(self, name) != getattr(other, name)
        ]
        return wrong + [
            f"weights {name}: {self.weights[name][:12]} against {other.weights[name][:12]}"
            for name in sorted(self.weights.keys() & other.weights.keys())
            if self.weights[name] != other.weights[name]
        ]

    @property
    def vector_of(self) -> VectorOf:
        """What a vector stands for: a patch of about a second, or a frame of a spectrogram."""
        return "frame" if self.patch_s == FRAME_S else "patch"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "EncoderSpec":
        """The inverse of `to_json`.

        Raises:
            TypeError, ValueError: `data` is no such thing.
        """
        spec = checked(cls(**data))
        if spec.dtype not in ("float32", "uint8"):
            raise ValueError(f"dtype is {spec.dtype!r:.80}")
        if low := [name for name in _ABOVE_ZERO if getattr(spec, name) <= 0]:
            raise ValueError(f"{low[0]} is {getattr(spec, low[0])}")
        return spec


_ABOVE_ZERO = ("dim", "patch_s", "hop_s", "sample_rate", "window_s")


class Encoder(Protocol):
    """A loaded encoder.

    spec: identity of its output.
    batch_patches: how many patches one call of `encode` wants for full speed (1: no gain from batching).
    """

    spec: EncoderSpec
    batch_patches: int

    def encode(self, waveforms: Sequence[Waveform]) -> list[Vectors]:
        """Vectors of several waveforms at `spec.sample_rate`, each [patches, dim]. Safe to call from several threads.

        Full patches only; a waveform shorter than one patch is padded with zeros to one. Never returns
        zero patches.
        """
        ...


@runtime_checkable
class PatchEncoder(Encoder, Protocol):
    """An encoder whose patches stand each for themselves: `encode` is `encode_patches` of `patches`.

    Who listens to overlapping windows then embeds every patch once. A patch is log-mel, `logmel.PATCH_SAMPLES` long.
    """

    def patches(self, waveform: Waveform) -> "Patches":
        """Float32 [samples] at `spec.sample_rate` -> log-mel patches float32 [n, 96, 64], n >= 1."""
        ...

    def encode_patches(self, patches: "Patches") -> Vectors:
        """Log-mel patches [n, 96, 64] -> vectors [n, dim] of the spec's dtype."""
        ...


ENCODERS: dict[str, EncoderRow] = {
    row.name: row
    for row in (
        EncoderRow("vggish", "embeddings.encoding.vggish", 0.96, 128, "float32", ("vggish_model.ckpt",), "tensorflow",
                   "VGGish, raw 128-d vectors", "Hershey et al. 2017; tensorflow/models, research/audioset/vggish",
                   ("float32", "bfloat16", "int8")),
        EncoderRow("vggish-pca", "embeddings.encoding.vggish", 0.96, 128, "uint8",
                   ("vggish_model.ckpt", "vggish_pca_params.npz"), "tensorflow",
                   "VGGish + PCA + 8 bits, AudioSet's own form",
                   "Abu-El-Haija et al. 2016; tensorflow/models, research/audioset/vggish",
                   ("float32", "bfloat16", "int8")),
        EncoderRow("yamnet", "embeddings.encoding.yamnet", 0.48, 1024, "float32", ("yamnet.h5",), "litert",
                   "YAMNet, 1024-d vectors, TensorFlow-free", "tensorflow/models, research/audioset/yamnet"),
        EncoderRow("yamnet-128", "embeddings.encoding.yamnet", 0.96, 128, "uint8", ("yamnet.h5",), "litert",
                   "YAMNet + PCA + 8 bits: 10 x 128 like AudioSet's", "tensorflow/models, research/audioset/yamnet"),
        EncoderRow("vggish-hub", "embeddings.encoding.hub", 0.96, 128, "float32", (), "tensorflow-hub",
                   "the TF-Hub VGGish SavedModel", "https://tfhub.dev/google/vggish/1"),
        EncoderRow("yamnet-hub", "embeddings.encoding.hub", 0.48, 1024, "float32", (), "tensorflow-hub",
                   "the TF-Hub YAMNet SavedModel", "https://tfhub.dev/google/yamnet/1"),
        EncoderRow("handcrafted", "embeddings.encoding.handcrafted", 0.96, 73, "float32", (), "librosa",
                   "MFCC, chroma, spectral shape, tempo; needs no weights", "McFee et al. 2015 (librosa)"),
        EncoderRow("logmel", "embeddings.encoding.spectrogram", 0.01, 64, "float32", (), "scipy",
                   "log-mel spectrogram, a vector a frame, for the CNN head",
                   "tensorflow/models, research/audioset/yamnet", patch_s=FRAME_S),
        EncoderRow("mfcc", "embeddings.encoding.spectrogram", 0.01, 40, "float32", (), "scipy",
                   "20 MFCCs and their deltas, a vector a frame", "Davis & Mermelstein 1980; the HTK book, 5.9",
                   patch_s=FRAME_S),
    )
}  # fmt: skip


def encoder_row(name: str) -> EncoderRow:
    """The row of an encoder, or a UsageError that lists them all."""
    if name not in ENCODERS:
        raise UsageError(f"--encoder: no encoder named {name!r}; choose one of {', '.join(ENCODERS)}")
    return ENCODERS[name]


def require_precision(precision: str | None, encoders: Iterable[str] = ENCODERS) -> None:
    """Raise UsageError unless one of these encoders has the precision, or None is asked for."""
    names = tuple(encoders)
    known = dict.fromkeys(one for name in names for one in encoder_row(name).precisions)
    if precision not in (None, *known):
        whose = f"{names[0]} has" if len(names) == 1 else "encoders have"
        raise UsageError(f"--precision: {whose} {' or '.join(known)}, not {precision}")


def load_encoder(name: str, settings: EncoderSettings | None = None) -> Encoder:
    """Load an encoder, importing its engine.

    Raises:
        UsageError: no such encoder, or a setting that it does not have.
        WeightsError: its weights are neither here nor to be had.
    """
    row, settings = encoder_row(name), settings or EncoderSettings()
    require_precision(settings.precision, [name])
    encoder: Encoder = importlib.import_module(row.module).load(row, settings)
    return encoder
