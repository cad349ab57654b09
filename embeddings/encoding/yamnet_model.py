"""YAMNet's definition in Keras 3, filled from the official Keras-2 weight file; and its one-time LiteRT conversion.

Run as a program it converts: `python -m embeddings.encoding.yamnet_model WEIGHTS.h5 MODEL.tflite`. That is how
`embeddings.runtimes.litert` calls it, so that a process that only embeds or predicts never imports TensorFlow.

Source: `yamnet.py` and `params.py` (tensorflow/models, research/audioset/yamnet); Howard et al. 2017 (MobileNet).
"""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings.logmel import BANDS, PATCH_FRAMES
from embeddings.runtimes.tf import import_keras, to_litert
from ingest.errors import WeightsError
from ingest.places.files import write_whole

CLASSES = 521
DIM = 1024
BATCH_NORM_EPSILON = 1e-4

SEPARABLE = (
    (1, 64), (2, 128), (1, 128), (2, 256), (1, 256), (2, 512), (1, 512),
    (1, 512), (1, 512), (1, 512), (1, 512), (2, 1024), (1, 1024),
)  # fmt: skip
"""Stride and filters of the depthwise-separable layers 2 to 14; layer 1 is a plain convolution of 32 filters."""


def build_yamnet() -> Any:
    """The untrained model: log-mel patches [n, 96, 64] -> (scores [n, 521], embeddings [n, 1024]).

    Layers are named as in the official file, with `.` for `/`, which Keras 3 does not allow in a name.
    """
    keras = import_keras()
    layers = keras.layers

    def normalised_relu(x: Any, name: str) -> Any:
        x = layers.BatchNormalization(scale=False, epsilon=BATCH_NORM_EPSILON, name=f"{name}.bn")(x)
        return layers.ReLU(name=f"{name}.relu")(x)

    patches = keras.Input((PATCH_FRAMES, BANDS), name="patches")
    x = layers.Reshape((PATCH_FRAMES, BANDS, 1))(patches)
    x = layers.Conv2D(32, 3, 2, padding="same", use_bias=False, name="layer1.conv")(x)
    x = normalised_relu(x, "layer1.conv")
    for number, (stride, filters) in enumerate(SEPARABLE, start=2):
        name = f"layer{number}.depthwise_conv"
        x = layers.DepthwiseConv2D(3, stride, padding="same", use_bias=False, name=name)(x)
        x = normalised_relu(x, name)
        name = f"layer{number}.pointwise_conv"
        x = layers.Conv2D(filters, 1, padding="same", use_bias=False, name=name)(x)
        x = normalised_relu(x, name)
    embeddings = layers.GlobalAveragePooling2D(name="embeddings")(x)
    scores = layers.Dense(CLASSES, activation="sigmoid", name="dense")(embeddings)
    return keras.Model(patches, [scores, embeddings], name="yamnet")


def load_yamnet(weights: Path) -> Any:
    """The model filled from `yamnet.h5`.

    Raises:
        WeightsError: not a Keras-2 weight file, or a layer or variable of it is missing or of another shape.
    """
    stored = read_keras2_weights(weights)  # first: it fails in a moment, the import of TensorFlow takes seconds
    model = build_yamnet()
    for layer in model.layers:
        for variable in layer.variables:
            name = f"{layer.name.replace('.', '/')}/{variable.name}"
            value = stored.get(name)
            if value is None or value.shape != tuple(variable.shape):
                seen = "nothing" if value is None else f"shape {list(value.shape)}"
                raise WeightsError(
                    f"{weights}: {name} must have shape {list(variable.shape)}, it has {seen}; "
                    "fetch the official file: earshot weights fetch yamnet.h5"
                )
            variable.assign(value)
    return model


def read_keras2_weights(path: Path) -> dict[str, npt.NDArray[np.float32]]:
    """Variables of a Keras-2 HDF5 weight file by 'layer/variable', e.g. 'layer1/conv/kernel'.

    Keras 2 calls a depthwise kernel `depthwise_kernel`; Keras 3 and we call it `kernel`.
    """
    import h5py

    try:
        with h5py.File(path) as file:
            group = file.get("model_weights", file)  # a whole saved model keeps them one level down
            layer_names = [_text(name) for name in group.attrs["layer_names"]]
            return {
                f"{layer}/{_text(name).rsplit('/', 1)[-1].removesuffix(':0').removeprefix('depthwise_')}": (
                    np.asarray(group[layer][name], np.float32)
                )
                for layer in layer_names
                for name in group[layer].attrs["weight_names"]
            }
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise WeightsError(
            f"{path}: not a Keras-2 weight file ({error}); fetch it: earshot weights fetch yamnet.h5"
        ) from error


def convert(weights: Path, model_path: Path) -> None:
    """Write YAMNet as a LiteRT model of one patch a call: [1, 96, 64] -> [1, 521] and [1, 1024].

    One patch, because that is what is fastest: its activations stay in the cache (0.7 ms against 1.5 ms in batches).
    """
    write_whole(model_path, to_litert(load_yamnet(weights)))


def _text(name: bytes | str) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
