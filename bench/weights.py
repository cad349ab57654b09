"""The weights that benchmarks run with: YAMNet's own, VGGish's shapes filled at random, which cost the same.

Run as a program it writes the random VGGish as a LiteRT model: `python -m bench.weights - MODEL.tflite`.
"""

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bench.clips import shared_folder
from bench.result import LeftOutError

if TYPE_CHECKING:
    from embeddings.encoding.vggish_model import Weights


def weights_folder() -> Path | None:
    shared = shared_folder()
    return shared / "models" if shared else None


def yamnet_folder() -> Path | None:
    """Where YAMNet's weights are, None for the cache; raises LeftOutError without them."""
    from embeddings.weights import look_up

    if not look_up("yamnet.h5", folder := weights_folder()):
        raise LeftOutError("yamnet.h5 is not here; fetch it: earshot weights fetch yamnet.h5")
    return folder


def random_vggish_weights() -> "Weights":
    from embeddings.encoding.vggish_model import LAYERS

    rng = np.random.default_rng(0)
    return {
        name: (
            rng.standard_normal(shape, np.float32) / np.float32(np.sqrt(np.prod(shape[:-1]))),
            np.zeros(shape[-1], np.float32),
        )
        for name, shape in LAYERS
    }


def random_vggish(name: str = "vggish", precision: str = "float32", *, plain: bool = False) -> Any:
    """The encoder `vggish` or `vggish-pca`, as `load_encoder` gives it, with random weights and projection.

    Args:
        plain: TensorFlow's own convolutions, where `load_encoder` would take Winograd's.
    """
    from embeddings.encoders import ENCODERS
    from embeddings.encoding.vggish import Vggish, int8_vggish
    from embeddings.encoding.vggish_model import DIM, VggishGraph, quick
    from embeddings.pca import Pca

    rng = np.random.default_rng(0)
    pca = Pca(rng.standard_normal((DIM, DIM), np.float32), np.zeros(DIM, np.float32)) if name == "vggish-pca" else None
    spec = ENCODERS[name].spec(precision=precision)
    if precision == "int8":
        return int8_vggish(spec, random_int8_file(), pca)
    weights = random_vggish_weights()
    return Vggish(spec, VggishGraph(weights if plain else quick(weights), precision=precision), pca)


def random_int8_file() -> Path:
    """The random VGGish in int8, in Earshot's cache folder (72 MB); converted now if it is not there."""
    from embeddings.encoding.vggish import INT8_VERSION
    from embeddings.runtimes.litert import converted_model

    return converted_model(
        Path("random_vggish"), "seed-0", module="bench.weights", version=INT8_VERSION, precision="int8",
        takes="about 30 s and 3 GB of memory",
    )  # fmt: skip


if __name__ == "__main__":
    from embeddings.encoding.vggish_model import int8_model
    from ingest.places.files import atomic_path

    with atomic_path(Path(sys.argv[2])) as temporary:
        temporary.write_bytes(int8_model(random_vggish_weights()))
