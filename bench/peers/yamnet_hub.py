"""YAMNet as people run it from TF-Hub: a SavedModel that takes a waveform and cuts its own patches, file by file.

The hub's file cannot be fetched everywhere, so a SavedModel of its signature is made here of the same weights: log-mel
in the graph with `tf.signal`, patches every 0.48 s, the last one padded. Source: the model's page on TF-Hub;
`features.py` (tensorflow/models, research/audioset/yamnet).
"""

from collections.abc import Callable
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np

from bench.peers.front_end import BANDS, FFT, HOP, PATCH, RATE, WINDOW, read_resampy, read_soxr
from bench.result import LeftOutError
from bench.weights import weights_folder


def load() -> Callable[[Path], Any]:
    """Resampled by resampy, as in the tutorials that came first. Raises LeftOutError without YAMNet's weights."""
    model = _saved_model()
    return lambda path: model(read_resampy(path).astype(np.float32))[1].numpy()


def load_with_soxr() -> Callable[[Path], Any]:
    """The same with the SoX resampler."""
    model = _saved_model()
    return lambda path: model(read_soxr(path).astype(np.float32))[1].numpy()


def _saved_model() -> Any:
    import tensorflow as tf

    from embeddings.encoding.yamnet_model import load_yamnet
    from embeddings.weights import look_up

    weights = look_up("yamnet.h5", weights_folder())
    if not weights:
        raise LeftOutError("yamnet.h5 is not here; fetch it: earshot weights fetch yamnet.h5")
    path = weights.path
    mel = tf.signal.linear_to_mel_weight_matrix(BANDS, FFT // 2 + 1, RATE, 125.0, 7500.0)

    class Module(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.yamnet = load_yamnet(path)
            self.kept = [variable.value for variable in self.yamnet.variables]

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32)])
        def __call__(self, waveform: Any) -> Any:
            hop = PATCH // 2 * HOP
            shortest = WINDOW + (PATCH - 1) * HOP
            hops = tf.cast(tf.math.ceil((tf.size(waveform) - shortest) / hop), tf.int32)
            padded = tf.pad(waveform, [[0, shortest + hops * hop - tf.size(waveform)]])
            magnitude = tf.abs(tf.signal.stft(padded, WINDOW, HOP, FFT))
            log_mel = tf.math.log(tf.matmul(magnitude, mel) + 0.001)
            patches = tf.signal.frame(log_mel, PATCH, PATCH // 2, axis=0)
            scores, vectors = self.yamnet(patches, training=False)
            return scores, vectors, log_mel

    folder = mkdtemp()
    tf.saved_model.save(Module(), folder)
    return tf.saved_model.load(folder)
