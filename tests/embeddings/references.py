"""Independent definitions, and stand-ins for what cannot be had here: weights and SavedModels in official layouts."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np

from embeddings.encoding.yamnet_model import SEPARABLE

RATE = 16_000

SLIM_END_POINTS = {
    "conv1": "vggish/pool1", "conv2": "vggish/pool2", "conv3/conv3_1": "vggish/conv3/conv3_1",
    "conv3/conv3_2": "vggish/pool3", "conv4/conv4_1": "vggish/conv4/conv4_1", "conv4/conv4_2": "vggish/pool4",
    "fc1/fc1_1": "vggish/fc1/fc1_1", "fc1/fc1_2": "vggish/fc1/fc1_2", "fc2": "vggish/fc2",
}  # fmt: skip
"""Our layer -> the tensor of the slim definition that it must equal."""


@dataclass(frozen=True)
class VggishReference:
    """What the slim definition says of `patches` [6, 96, 64]; folder: holds the checkpoint and a random PCA."""

    folder: Path
    patches: np.ndarray
    outputs: dict[str, np.ndarray]


def slim_vggish(features):
    """VGGish in tf-slim, as TF1 code writes it, with random weights: its tensors by name."""
    import tensorflow
    import tf_slim as slim

    v1 = tensorflow.compat.v1
    he, last = v1.variance_scaling_initializer(2.0), v1.variance_scaling_initializer(0.05)  # outputs of order one
    biases = v1.random_normal_initializer(stddev=0.05)
    points = {}
    with (
        slim.arg_scope([slim.conv2d, slim.fully_connected], weights_initializer=he, biases_initializer=biases),
        slim.arg_scope([slim.conv2d], kernel_size=[3, 3], stride=1, padding="SAME"),
        slim.arg_scope([slim.max_pool2d], kernel_size=[2, 2], stride=2, padding="SAME"),
        v1.variable_scope("vggish"),
    ):
        net = tensorflow.reshape(features, [-1, 96, 64, 1])
        net = slim.conv2d(net, 64, scope="conv1")
        net = points["vggish/pool1"] = slim.max_pool2d(net, scope="pool1")
        net = slim.conv2d(net, 128, scope="conv2")
        net = points["vggish/pool2"] = slim.max_pool2d(net, scope="pool2")
        with v1.variable_scope("conv3"):
            net = points["vggish/conv3/conv3_1"] = slim.conv2d(net, 256, scope="conv3_1")
            net = slim.conv2d(net, 256, scope="conv3_2")
        net = points["vggish/pool3"] = slim.max_pool2d(net, scope="pool3")
        with v1.variable_scope("conv4"):
            net = points["vggish/conv4/conv4_1"] = slim.conv2d(net, 512, scope="conv4_1")
            net = slim.conv2d(net, 512, scope="conv4_2")
        net = points["vggish/pool4"] = slim.max_pool2d(net, scope="pool4")
        net = tensorflow.reshape(net, [-1, 12288])
        with v1.variable_scope("fc1"):
            net = points["vggish/fc1/fc1_1"] = slim.fully_connected(net, 4096, scope="fc1_1")
            net = points["vggish/fc1/fc1_2"] = slim.fully_connected(net, 4096, scope="fc1_2")
        points["vggish/fc2"] = slim.fully_connected(net, 128, scope="fc2", activation_fn=None, weights_initializer=last)
    return points


def make_vggish_reference(folder: Path) -> VggishReference:
    """A random checkpoint (291 MB) in the V1 format, written and run by tf-slim's definition of VGGish."""
    import tensorflow

    v1 = tensorflow.compat.v1
    rng = np.random.default_rng(0)
    patches = rng.uniform(-4.6, 2, (6, 96, 64)).astype(np.float32)
    with tensorflow.Graph().as_default(), v1.Session() as session:
        v1.set_random_seed(1)
        features = v1.placeholder(tensorflow.float32, (None, 96, 64))
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*`layer.apply` is deprecated")  # tf-slim's own doing
            points = slim_vggish(features)
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(write_version=v1.train.SaverDef.V1)
        saver.save(session, str(folder / "vggish_model.ckpt"), write_meta_graph=False, write_state=False)
        outputs = session.run({layer: points[name] for layer, name in SLIM_END_POINTS.items()}, {features: patches})
    orthogonal = np.linalg.qr(rng.standard_normal((128, 128)))[0].astype(np.float32)
    means = rng.standard_normal((128, 1)).astype(np.float32) * 0.1
    np.savez(folder / "vggish_pca_params.npz", pca_eigen_vectors=orthogonal, pca_means=means)
    return VggishReference(folder, patches, outputs)


def write_keras2_weights(path: Path, seed: int = 0) -> None:
    """Random weights in the official file's layout: layer groups with weight_names, as Keras 2 wrote them."""
    rng = np.random.default_rng(seed)
    layers: dict[str, dict[str, np.ndarray]] = {}

    def convolution(name: str, kind: str, shape: tuple[int, ...], fan_in: int, filters: int) -> None:
        layers[name] = {kind: rng.standard_normal(shape) * np.sqrt(2 / fan_in)}
        layers[f"{name}/bn"] = {
            "beta": rng.standard_normal(filters) * 0.1,
            "moving_mean": rng.standard_normal(filters) * 0.1,
            "moving_variance": rng.uniform(0.5, 2, filters),
        }

    convolution("layer1/conv", "kernel", (3, 3, 1, 32), 9, 32)
    width = 32
    for number, (_, filters) in enumerate(SEPARABLE, start=2):
        convolution(f"layer{number}/depthwise_conv", "depthwise_kernel", (3, 3, width, 1), 9, width)
        convolution(f"layer{number}/pointwise_conv", "kernel", (1, 1, width, filters), width, filters)
        width = filters
    layers["dense"] = {"kernel": rng.standard_normal((1024, 521)) / 32, "bias": rng.standard_normal(521)}
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [name.encode() for name in ("input_1", *layers)]
        file.create_group("input_1").attrs["weight_names"] = np.array([], "S1")
        for name, variables in layers.items():
            group = file.create_group(name)
            group.attrs["weight_names"] = [f"{name}/{variable}:0".encode() for variable in variables]
            for variable, value in variables.items():
                group.create_dataset(f"{name}/{variable}:0", data=value.astype(np.float32))


def tf_log_mel(waveform, offset: float):
    """The front end in TensorFlow, as the SavedModels have it inside: [samples] -> [frames, 64]."""
    import tensorflow

    magnitude = tensorflow.abs(tensorflow.signal.stft(waveform, 400, 160, 512))
    mel = tensorflow.signal.linear_to_mel_weight_matrix(64, 257, RATE, 125.0, 7500.0)
    return tensorflow.math.log(magnitude @ mel + offset)


def save_yamnet_hub(folder: Path) -> Path:
    """A SavedModel of TF-Hub YAMNet's signature: waveform -> scores, embeddings, log_mel; the tail padded.

    Returns its folder; the weights in it are in yamnet.h5 beside it.
    """
    import tensorflow

    from embeddings.encoding.yamnet_model import load_yamnet

    write_keras2_weights(folder / "yamnet.h5")

    class Hub(tensorflow.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = load_yamnet(folder / "yamnet.h5")
            self.kept = [variable.value for variable in self.model.variables]

        @tensorflow.function(input_signature=[tensorflow.TensorSpec([None], tensorflow.float32)])
        def __call__(self, waveform):
            samples = tensorflow.shape(waveform)[0]
            hops = tensorflow.cast(tensorflow.math.ceil((samples - 15_600) / 7_680), tensorflow.int32)
            waveform = tensorflow.pad(waveform, [[0, 15_600 + 7_680 * hops - samples]])
            spectrogram = tf_log_mel(waveform, 0.001)
            scores, vectors = self.model(tensorflow.signal.frame(spectrogram, 96, 48, axis=0), training=False)
            return scores, vectors, spectrogram

    tensorflow.saved_model.save(Hub(), str(folder / "hub"))
    return folder / "hub"


def save_vggish_hub(folder: Path) -> Path:
    """A SavedModel of TF-Hub VGGish's signature: waveform -> [patches, 128]; a random projection in VGGish's place."""
    import tensorflow

    class Hub(tensorflow.Module):
        def __init__(self) -> None:
            super().__init__()
            random = np.random.default_rng(0).standard_normal((96 * 64, 128)) / 80
            self.projection = tensorflow.Variable(random.astype(np.float32))

        @tensorflow.function(input_signature=[tensorflow.TensorSpec([None], tensorflow.float32)])
        def __call__(self, waveform):
            patches = tensorflow.signal.frame(tf_log_mel(waveform, 0.01), 96, 96, axis=0)
            return tensorflow.reshape(patches, (-1, 96 * 64)) @ self.projection

    tensorflow.saved_model.save(Hub(), str(folder))
    return folder
