"""The encoders `vggish` and `vggish-pca`: log-mel patches through a TensorFlow graph.

Full patches of 0.96 s without overlap: 10.000 s gives exactly 10. The first dense layer reads 200 MB of weights at
every call, so patches of several waveforms go through in one batch.
"""

from collections.abc import Sequence

import numpy as np

from embeddings.embedding import Vectors
from embeddings.encoders import EncoderRow, EncoderSettings, EncoderSpec
from embeddings.logmel import FRAMES_PER_S, Patches, log_mel_patches
from embeddings.pca import Pca, load_pca
from embeddings.vggish_model import DIM, VggishGraph, read_checkpoint
from embeddings.weights import find_weights
from ingest.clip import Waveform

CHECKPOINT_NAME = "vggish_model.ckpt"
PCA_NAME = "vggish_pca_params.npz"
LOG_OFFSET = 0.01


class Vggish:
    """An `Encoder`; see there. All methods may be called from several threads at once."""

    batch_patches = 32

    def __init__(self, spec: EncoderSpec, graph: VggishGraph, pca: Pca | None = None) -> None:
        self.spec, self._graph, self._pca = spec, graph, pca
        self._hop_frames = round(spec.hop_s * FRAMES_PER_S)

    def encode(self, waveforms: Sequence[Waveform]) -> list[Vectors]:
        if not waveforms:
            return []
        patches = [self.patches(waveform) for waveform in waveforms]
        vectors = self.encode_patches(np.concatenate(patches))
        ends = np.cumsum([len(p) for p in patches])
        return [vectors[end - len(p) : end] for end, p in zip(ends, patches, strict=True)]

    def patches(self, waveform: Waveform) -> Patches:
        """Float32 [samples] at 16 kHz -> log-mel patches float32 [n, 96, 64], n >= 1."""
        return log_mel_patches(waveform, log_offset=LOG_OFFSET, hop_frames=self._hop_frames)

    def encode_patches(self, patches: Patches) -> Vectors:
        """Log-mel patches [n, 96, 64] -> vectors [n, 128] of the spec's dtype, about `batch_patches` at once.

        In equal batches, never a small one for the rest: that would read the 200 MB of weights for a few patches.
        """
        if not len(patches):
            return np.zeros((0, DIM), self.spec.dtype)
        batches = np.array_split(patches, max(1, len(patches) // self.batch_patches))
        vectors = np.concatenate([self._graph(batch) for batch in batches])
        return vectors if self._pca is None else self._pca(vectors)


def load(row: EncoderRow, settings: EncoderSettings) -> Vggish:
    """Load `vggish` or `vggish-pca`, importing TensorFlow.

    Raises:
        WeightsError: the weights are missing or do not fit.
    """
    found = {name: find_weights(name, settings.weights_dir) for name in row.weights}
    pca = load_pca(found[PCA_NAME][0], dim_in=DIM) if PCA_NAME in found else None
    precision = settings.precision or row.precisions[0]
    graph = VggishGraph(read_checkpoint(found[CHECKPOINT_NAME][0]), precision=precision, threads=settings.threads)
    weights = {name: sha256 for name, (_, sha256) in found.items()}
    return Vggish(row.spec(precision=precision, weights=weights), graph, pca)
