"""VGGish's definition, filled from the official TF1 checkpoint: as a TensorFlow graph, and as a LiteRT model in int8.

Four groups of 3x3 convolutions with ReLU, each followed by a 2x2 maximum; two dense layers of 4096 with ReLU; a last
one of 128 without, as the current reference has it (some ports keep a ReLU there and differ).

Run as a program it converts: `python -m embeddings.encoding.vggish_model vggish_model.ckpt MODEL.tflite`. That is how
`embeddings.runtimes.litert` calls it, so that a process that embeds in int8 never imports TensorFlow.

Source: `vggish_slim.py` (tensorflow/models, research/audioset/vggish); Hershey et al. 2017.
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings.encoding.winograd import convolution, transformed
from embeddings.logmel import BANDS, PATCH_FRAMES, Patches
from embeddings.runtimes.tf import function_to_litert, import_tensorflow
from ingest.errors import WeightsError
from ingest.places.files import write_whole

DIM = 128

LAYERS: tuple[tuple[str, tuple[int, ...]], ...] = (
    ("conv1", (3, 3, 1, 64)),
    ("conv2", (3, 3, 64, 128)),
    ("conv3/conv3_1", (3, 3, 128, 256)),
    ("conv3/conv3_2", (3, 3, 256, 256)),
    ("conv4/conv4_1", (3, 3, 256, 512)),
    ("conv4/conv4_2", (3, 3, 512, 512)),
    ("fc1/fc1_1", (6 * 4 * 512, 4096)),
    ("fc1/fc1_2", (4096, 4096)),
    ("fc2", (4096, DIM)),
)
"""Names in the checkpoint (`vggish/<name>/weights` and `/biases`) and the shapes of the weights, in their order."""

POOLED = frozenset({"conv1", "conv2", "conv3/conv3_2", "conv4/conv4_2"})
"""Layers followed by a 2x2 maximum."""

Floats = npt.NDArray[np.float32]
Weights = dict[str, tuple[Floats, Floats]]


def read_checkpoint(path: Path) -> Weights:
    """Weights and biases by layer from a TF1 checkpoint, V1 (one file) or V2.

    Raises:
        WeightsError: not a checkpoint, or a variable of it is missing or of another shape.
    """
    tensorflow = import_tensorflow()
    remedy = "fetch the official file: earshot weights fetch vggish_model.ckpt"
    try:
        reader = tensorflow.train.load_checkpoint(str(path))
        shapes = reader.get_variable_to_shape_map()
    except (tensorflow.errors.OpError, ValueError, RuntimeError) as error:
        raise WeightsError(f"{path}: not a TensorFlow checkpoint ({_first_line(error)}); {remedy}") from error
    weights: Weights = {}
    for layer, shape in LAYERS:
        names = (f"vggish/{layer}/weights", f"vggish/{layer}/biases")
        for name, expected in zip(names, (shape, shape[-1:]), strict=True):
            if tuple(shapes.get(name, ())) != expected:
                seen = f"shape {shapes[name]}" if name in shapes else "nothing"
                raise WeightsError(f"{path}: {name} must have shape {list(expected)}, it has {seen}; {remedy}")
        weights[layer] = (reader.get_tensor(names[0]), reader.get_tensor(names[1]))
    return weights


def quick(weights: Weights) -> Weights:
    """The same weights for `vggish_layers`, with which it takes half the time on a processor.

    The first layer has one channel only: there is no product of matrices to save at.
    """
    return {
        layer: (transformed(kernel) if kernel.ndim == 4 and kernel.shape[2] > 1 else kernel, bias)
        for layer, (kernel, bias) in weights.items()
    }


def vggish_layers(patches: Any, weights: dict[str, tuple[Any, Any]]) -> dict[str, Any]:
    """VGGish in TensorFlow operations: the output of each layer, pooled where a pool follows; `fc2` is the embedding.

    Args:
        patches: tensor float32 [n, 96, 64].
        weights: arrays, tensors or variables by layer, as they are or `quick`; products are computed in their type,
            and all else but what Winograd's convolution does around them.
    """
    tensorflow = import_tensorflow()
    outputs: dict[str, Any] = {}
    x = tensorflow.reshape(patches, (-1, PATCH_FRAMES, BANDS, 1))
    for layer, shape in LAYERS:
        kernel, bias = weights[layer]
        x, pooled = tensorflow.cast(x, kernel.dtype), layer in POOLED
        if len(shape) == 2:
            x = tensorflow.matmul(tensorflow.reshape(x, (-1, shape[0])), kernel)
        elif len(kernel.shape) == 3:
            x, pooled = convolution(x, kernel, pooled=pooled), False
        else:
            x = tensorflow.nn.conv2d(x, kernel, strides=1, padding="SAME")
        x = tensorflow.nn.bias_add(x, bias)
        if layer != "fc2":
            x = tensorflow.nn.relu(x)
        if pooled:
            x = tensorflow.nn.max_pool2d(x, 2, 2, "SAME")
        outputs[layer] = x
    return outputs


class VggishGraph:
    """VGGish as a TensorFlow graph in a session of its own; may be called from several threads.

    A session and not a `tf.function`, because its threads are then this model's own: each call works in its caller's
    thread. Weights are variables: as constants they cost half a minute and 3 GB at the start and gain nothing. For
    bfloat16 they are rounded once, here; TensorFlow's own rewriting would round all 72 million at every call.
    """

    def __init__(self, weights: Weights, *, precision: str = "float32", threads: int = 1) -> None:
        tensorflow = import_tensorflow()
        v1 = tensorflow.compat.v1
        dtype = tensorflow.as_dtype(precision)
        config = v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=-1)
        config.gpu_options.allow_growth = True  # a session has options of its own
        with tensorflow.Graph().as_default() as graph:
            patches = v1.placeholder(tensorflow.float32, (None, PATCH_FRAMES, BANDS))
            variables = {
                layer: tuple(v1.get_variable(f"{layer}/{i}", array.shape, dtype) for i, array in enumerate(arrays))
                for layer, arrays in weights.items()
            }
            output = tensorflow.cast(vggish_layers(patches, variables)["fc2"], tensorflow.float32)
            session = v1.Session(graph=graph, config=config)
            for layer, arrays in weights.items():
                for variable, array in zip(variables[layer], arrays, strict=True):
                    value = v1.placeholder(dtype, array.shape)
                    session.run(variable.assign(value).op, {value: array.astype(dtype.as_numpy_dtype)})
        self._run = session.make_callable(output, [patches])

    def __call__(self, patches: Patches) -> Floats:
        """Log-mel patches float32 [n, 96, 64] -> raw embeddings float32 [n, 128]."""
        result: Floats = self._run(np.ascontiguousarray(patches))
        return result


def convert(checkpoint: Path, model_path: Path) -> None:
    """Write VGGish as a LiteRT model of 72 MB: patches [n, 96, 64] -> raw embeddings [n, 128].

    Weights are int8 with a scale for each filter; so are, with a scale for each patch, what goes into a layer while it
    works. Sums are exact, biases float32.
    """
    write_whole(model_path, int8_model(read_checkpoint(checkpoint)))


def int8_model(weights: Weights) -> bytes:
    """What `convert` writes. Takes 10 s of a core and 2.7 GB at the peak."""
    tensorflow = import_tensorflow()
    module = tensorflow.Module()
    module.held = [tuple(map(tensorflow.Variable, arrays)) for arrays in weights.values()]
    variables = dict(zip(weights, module.held, strict=True))
    shape = (None, PATCH_FRAMES, BANDS)
    return function_to_litert(lambda patches: vggish_layers(patches, variables)["fc2"], shape, module, "int8")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0]


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
