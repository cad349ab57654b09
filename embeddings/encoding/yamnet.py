"""The encoders `yamnet` and `yamnet-128`: log-mel patches through LiteRT, without TensorFlow.

Patches every 0.48 s for `yamnet`, full ones only: 10.000 s gives 19. (The reference code pads the tail with silence
to whole hops and gets 20.) `yamnet-128` takes a patch every 0.96 s, 10 for 10.000 s, and turns each vector into
128 x uint8 by a PCA that was fitted on data, as AudioSet's own vectors were.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from embeddings.embedding import Vectors
from embeddings.encoders import ENCODERS, EncoderRow, EncoderSettings, EncoderSpec
from embeddings.encoding.yamnet_model import CLASSES, DIM
from embeddings.logmel import FRAMES_PER_S, YAMNET_OFFSET, Patches, log_mel_patches
from embeddings.pca import Pca, load_pca
from embeddings.runtimes.litert import Floats, LiteRtModel, converted_model
from embeddings.weights import cached_sha256, find_weights
from ingest.audio.clip import Waveform
from ingest.errors import UsageError

WEIGHTS_NAME = "yamnet.h5"
PCA_NAME = "pca"
"""The projection's key in `EncoderSpec.weights`."""
DEFINITION_VERSION = 1  # of what yamnet_model converts
PATCHES_AT_ONCE = 20
"""A window of ten seconds has 19. Most of the 15 MB of weights leave the cache between calls, so that large ones are a
tenth quicker than calls of three."""


class Yamnet:
    """An `Encoder`; see there. Beside `encode` it offers its steps, for those that listen patch by patch.

    All methods may be called from several threads at once.
    """

    batch_patches = 1

    def __init__(self, spec: EncoderSpec, model: LiteRtModel, pca: Pca | None = None) -> None:
        self.spec, self._model, self._pca = spec, model, pca
        self._hop_frames = round(spec.hop_s * FRAMES_PER_S)

    def encode(self, waveforms: Sequence[Waveform]) -> list[Vectors]:
        return [self.encode_patches(self.patches(waveform)) for waveform in waveforms]

    def patches(self, waveform: Waveform) -> Patches:
        """Float32 [samples] at 16 kHz -> log-mel patches float32 [n, 96, 64], n >= 1."""
        return log_mel_patches(waveform, log_offset=YAMNET_OFFSET, hop_frames=self._hop_frames)

    def encode_patches(self, patches: Patches) -> Vectors:
        """Log-mel patches [n, 96, 64] -> vectors [n, dim] of the spec's dtype."""
        vectors = self._model(patches, DIM)
        return vectors if self._pca is None else self._pca(vectors)

    def scores(self, patches: Patches) -> Floats:
        """Log-mel patches [n, 96, 64] -> AudioSet scores float32 [n, 521] in [0, 1], in the order of YAMNet's classes.

        The classes' names: `yamnet_index` in `ingest.audioset.labels`.
        """
        return self._model(patches, CLASSES)


def load(row: EncoderRow, settings: EncoderSettings) -> Yamnet:
    """Load `yamnet` or `yamnet-128`; the first time ever it converts the weights, which takes some 15 s.

    Raises:
        WeightsError: the weights or the projection are missing or do not fit.
        UsageError: `yamnet-128` without a projection.
    """
    if row.dim == DIM:
        return _load(row, settings, None)
    if settings.pca is None:
        raise UsageError(
            f"--pca: {row.name} needs a projection and none was named; fit one with `earshot embed --fit-pca`, "
            "or name the npz of another run"
        )
    return _load(row, settings, settings.pca)


def load_unprojected(settings: EncoderSettings) -> Yamnet:
    """`yamnet` at the hop of `yamnet-128`: its vectors float32 [patches, 1024] are what its PCA is fitted on."""
    return _load(ENCODERS["yamnet-128"], settings, None)


def _load(row: EncoderRow, settings: EncoderSettings, pca_path: Path | None) -> Yamnet:
    path, sha256 = find_weights(WEIGHTS_NAME, settings.weights_dir)
    pca = load_pca(pca_path, dim_in=DIM, dim=row.dim) if pca_path else None
    weights = {WEIGHTS_NAME: sha256} | ({PCA_NAME: cached_sha256(pca_path)} if pca_path else {})
    tflite = converted_model(path, sha256, module="embeddings.encoding.yamnet_model", version=DEFINITION_VERSION)
    spec = row.spec(weights=weights)
    if pca is None:  # of `yamnet-128` too, when its vectors are wanted as they are, to fit a projection
        spec = replace(spec, dim=DIM, dtype=np.dtype(np.float32).name)
    return Yamnet(spec, LiteRtModel(tflite, settings.threads, rows_at_once=PATCHES_AT_ONCE), pca)
