"""Five-second clips end to end with VGGish, against its bare engine on ready batches; all cores both.

Random weights of the official shapes: they cost the same. Expected before measuring: 85 to 92 %: a clip's patches
take some 40 ms of a core in the engine and 4 ms on the way there.
"""

from typing import Any

import numpy as np

from bench.embed import end_to_end
from bench.result import Result
from embeddings.encoders import ENCODERS


def run() -> list[Result]:
    encoder = _random_vggish()
    return end_to_end("vggish", encoder, encoder, rounds=3)


def _random_vggish() -> Any:
    from embeddings.vggish import Vggish
    from embeddings.vggish_model import LAYERS, VggishGraph

    rng = np.random.default_rng(0)
    weights = {
        name: (
            rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[:-1]))),
            np.zeros(shape[-1], np.float32),
        )
        for name, shape in LAYERS
    }
    return Vggish(ENCODERS["vggish"].spec(), VggishGraph(weights))
