"""VGGish as the reference scripts run it: a TensorFlow 1 session, the patches of one file a call."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.peers.front_end import log_mel_patches, read_resampy
from bench.weights import random_vggish_weights


def load() -> Callable[[Path], Any]:
    from embeddings.encoding.vggish_model import VggishGraph

    graph = VggishGraph(random_vggish_weights())
    return lambda path: graph(log_mel_patches(read_resampy(path)))
