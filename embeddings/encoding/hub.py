"""The encoders `vggish-hub` and `yamnet-hub`: TF-Hub SavedModels, from a handle (network) or a local folder.

Both models take a waveform and cut their own patches. YAMNet's pads the tail with silence to whole hops, so a window
gives as many vectors as its reference says (20 for 10.000 s) and not as many as `yamnet`; ours are the full ones only,
the rest is dropped. A waveform shorter than one patch is padded to one before it goes in.
"""

import hashlib
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from embeddings.embedding import Vectors
from embeddings.encoders import EncoderRow, EncoderSettings, EncoderSpec
from embeddings.logmel import PATCH_SAMPLES
from embeddings.runtimes.tf import import_tensorflow
from ingest.audio.clip import Waveform
from ingest.errors import WeightsError
from ingest.places.files import sha256_of


class HubEncoder:
    """An `Encoder`; see there. One waveform a call: that is what the SavedModels take."""

    batch_patches = 1

    def __init__(self, spec: EncoderSpec, model: Callable[[Any], Any]) -> None:
        self.spec, self._model = spec, model

    def encode(self, waveforms: Sequence[Waveform]) -> list[Vectors]:
        return [self._encode_one(waveform) for waveform in waveforms]

    def _encode_one(self, waveform: Waveform) -> Vectors:
        if len(waveform) < PATCH_SAMPLES:
            waveform = np.pad(waveform, (0, PATCH_SAMPLES - len(waveform)))
        hop = round(self.spec.hop_s * self.spec.sample_rate)
        full = (len(waveform) - PATCH_SAMPLES) // hop + 1
        output = self._model(waveform)
        vectors = output[1] if isinstance(output, tuple | list) else output  # YAMNet: scores, embeddings, log_mel
        return np.asarray(vectors, np.float32)[:full]


def load(row: EncoderRow, settings: EncoderSettings) -> HubEncoder:
    """Load a hub row from `settings.model`, a folder or a handle, or from the row's own handle.

    Raises:
        WeightsError: the handle cannot be reached, or what is there is no SavedModel of waveform -> vectors.
    """
    handle = settings.model or row.source
    model = _load_model(handle, row)
    encoder = HubEncoder(row.spec(weights={"saved_model": _identity(handle)}), model)
    _check(encoder, handle)
    return encoder


def _load_model(handle: str, row: EncoderRow) -> Callable[[Any], Any]:
    import_tensorflow()
    with warnings.catch_warnings():
        # tensorflow-hub 0.16, the last one, imports pkg_resources and tf-keras, which warn of their own age.
        warnings.simplefilter("ignore")
        import tensorflow_hub

        try:
            model: Callable[[Any], Any] = tensorflow_hub.load(handle)
        except Exception as error:  # its resolvers let urllib's, SSL's, TensorFlow's and tarfile's errors through
            raise WeightsError(
                f"{handle}: cannot be loaded ({type(error).__name__}: {str(error).partition(chr(10))[0]}); check the "
                f"address or the network, or name a local SavedModel folder with --model, or use "
                f"--encoder {row.name.removesuffix('-hub')}"
            ) from error
    return model


def _check(encoder: HubEncoder, handle: str) -> None:
    """One second of silence must give vectors of the row's width."""
    spec = encoder.spec
    try:
        (vectors,) = encoder.encode([np.zeros(spec.sample_rate, np.float32)])
        seen = f"{list(vectors.shape)}"
    except (TypeError, ValueError, IndexError) as error:
        vectors, seen = None, str(error).partition("\n")[0]
    if vectors is None or vectors.shape != (1, spec.dim):
        raise WeightsError(
            f"{handle}: must turn 1 s of waveform into [1, {spec.dim}] for {spec.encoder}, got {seen}; "
            "name a SavedModel with the signature of the TF-Hub one"
        )


def _identity(handle: str) -> str:
    """What stands for the weights' SHA-256: of the files of a local folder, or of a handle (versioned, immutable)."""
    folder = Path(handle)
    if not folder.is_dir():
        return hashlib.sha256(handle.encode()).hexdigest()
    digest = hashlib.sha256()
    for path in sorted([folder / "saved_model.pb", *folder.glob("variables/*")]):
        digest.update(path.name.encode())
        digest.update(bytes.fromhex(sha256_of(path)))
    return digest.hexdigest()
