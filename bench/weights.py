"""The weights that benchmarks run with: YAMNet's own, VGGish's shapes filled at random, which cost the same."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.clips import shared_folder

if TYPE_CHECKING:
    from embeddings.vggish_model import Weights


def weights_folder() -> Path | None:
    shared = shared_folder()
    return shared / "models" if shared else None


def random_vggish_weights() -> "Weights":
    from embeddings.vggish_model import LAYERS

    rng = np.random.default_rng(0)
    return {
        name: (
            rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[:-1]))),
            np.zeros(shape[-1], np.float32),
        )
        for name, shape in LAYERS
    }


def random_vggish(name: str = "vggish", precision: str = "float32") -> Any:
    """The encoder `vggish` or `vggish-pca`, as `load_encoder` gives it, with random weights and projection."""
    from embeddings.encoders import ENCODERS
    from embeddings.pca import Pca
    from embeddings.vggish import Vggish
    from embeddings.vggish_model import DIM, VggishGraph

    rng = np.random.default_rng(0)
    pca = Pca(rng.standard_normal((DIM, DIM), np.float32), np.zeros(DIM, np.float32)) if name == "vggish-pca" else None
    return Vggish(
        ENCODERS[name].spec(precision=precision), VggishGraph(random_vggish_weights(), precision=precision), pca
    )
