"""The encoders `vggish` and `vggish-pca`: log-mel patches through a TensorFlow graph, or in int8 through LiteRT.

Full patches of 0.96 s without overlap: 10.000 s gives exactly 10. The first dense layer reads 200 MB of weights at
every call (50 MB in int8), so patches of several waveforms go through in one batch.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from embeddings.embedding import Vectors
from embeddings.encoders import EncoderRow, EncoderSettings, EncoderSpec
from embeddings.encoding.vggish_model import DIM, Floats, VggishGraph, quick, read_checkpoint
from embeddings.logmel import FRAMES_PER_S, VGGISH_OFFSET, Patches, log_mel_patches
from embeddings.pca import Pca, load_pca
from embeddings.runtimes.gpu import CPU_BATCH, require_bfloat16, vggish_batch
from embeddings.runtimes.litert import LiteRtModel, converted_model
from embeddings.runtimes.processor import has_bfloat16
from embeddings.runtimes.tf import seen_gpus
from embeddings.weights import find_all
from ingest.audio.clip import Waveform

log = logging.getLogger("earshot.vggish")

CHECKPOINT_NAME = "vggish_model.ckpt"
PCA_NAME = "vggish_pca_params.npz"
INT8_VERSION = 1  # of what vggish_model converts

LITERT_BATCH = 8
"""Patches in one call that are near its best speed; for TensorFlow see `embeddings.runtimes.gpu`."""

Graph = Callable[[Patches], Floats]
"""Log-mel patches float32 [n, 96, 64] -> raw embeddings float32 [n, 128]; may be called from several threads."""


class Vggish:
    """An `Encoder`; see there. All methods may be called from several threads at once."""

    def __init__(
        self, spec: EncoderSpec, graph: Graph, pca: Pca | None = None, *, batch_patches: int = CPU_BATCH
    ) -> None:
        self.spec, self._graph, self._pca, self.batch_patches = spec, graph, pca, batch_patches
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
        return log_mel_patches(waveform, log_offset=VGGISH_OFFSET, hop_frames=self._hop_frames)

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
    """Load `vggish` or `vggish-pca`, importing TensorFlow; for int8 only the first time ever, to convert the weights.

    Raises:
        WeightsError: the weights are missing or do not fit.
        UsageError: bfloat16, and the GPU has none.
    """
    found = find_all(row.weights, settings.weights_dir)
    pca = load_pca(found[PCA_NAME][0], dim_in=DIM) if PCA_NAME in found else None
    precision = settings.precision or row.precisions[0]
    checkpoint, sha256 = found[CHECKPOINT_NAME]
    spec = row.spec(precision=precision, weights={name: sha256 for name, (_, sha256) in found.items()})
    if precision == "int8":
        return int8_vggish(spec, int8_file(checkpoint, sha256), pca, threads=settings.threads)
    weights, gpus = read_checkpoint(checkpoint), seen_gpus()
    if precision == "bfloat16":
        require_bfloat16(gpus)
        if not (gpus or has_bfloat16()):
            log.warning("--precision bfloat16: this processor has none, so float32 is quicker and exact; leave it out")
    if not gpus:  # theirs is cuDNN's to choose
        weights = quick(weights)
    graph = VggishGraph(weights, precision=precision, threads=settings.threads)
    spec = replace(spec, engine=f"{spec.engine} on {gpus[0].name}" if gpus else spec.engine)
    return Vggish(spec, graph, pca, batch_patches=vggish_batch(gpus))


def int8_file(checkpoint: Path, sha256: str) -> Path:
    """The checkpoint's LiteRT form, from the cache or converted now.

    Raises:
        WeightsError: the checkpoint does not fit.
    """
    return converted_model(
        checkpoint, sha256, module="embeddings.encoding.vggish_model", version=INT8_VERSION, precision="int8",
        takes="about 30 s and 3 GB of memory",
    )  # fmt: skip


def int8_vggish(spec: EncoderSpec, model: Path, pca: Pca | None = None, *, threads: int = 1) -> Vggish:
    """VGGish on LiteRT with int8 weights."""
    litert = LiteRtModel(model, threads, rows_at_once=LITERT_BATCH)
    return Vggish(replace(spec, engine="litert"), lambda patches: litert(patches, DIM), pca, batch_patches=LITERT_BATCH)
