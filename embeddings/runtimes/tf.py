"""TensorFlow, imported on demand and without its chatter."""

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from functools import cache
from types import ModuleType
from typing import Any, Literal

from embeddings.runtimes.gpu import Gpu, prepare
from embeddings.runtimes.hush import hushed_stderr
from embeddings.runtimes.processor import has_bfloat16

LiteWeights = Literal["float32", "float16", "int8"]


def import_tensorflow() -> ModuleType:
    """Import TensorFlow (4 to 10 s the first time); its C++ side logs errors only, unless the user asked for more.

    It computes with oneDNN, which TensorFlow takes by itself only where there is AVX-512: with AVX2 a step of training
    takes a fifth less, a patch of VGGish a tenth.
    """
    if "tensorflow" not in sys.modules:  # both are read once, when the library is loaded
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
        os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
        with hushed_stderr():
            import tensorflow

            seen_gpus()  # it complains of missing GPUs here, not at the first operation
    import tensorflow

    seen_gpus()
    return tensorflow


@cache
def seen_gpus() -> tuple[Gpu, ...]:
    """The GPUs of this process; none is what most machines have."""
    import tensorflow

    return prepare(tensorflow)


def import_keras() -> ModuleType:
    """Import Keras 3 on TensorFlow."""
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import_tensorflow()  # quietly, before Keras does it aloud
    import keras

    return keras


def to_litert(model: Any, weights: LiteWeights = "float32") -> bytes:
    """A Keras model with fixed input shapes and a list of inputs, as a LiteRT file.

    A list, because with a dictionary of inputs the converter leaves the weights out of the file.

    Args:
        weights: how they are stored; the sums are float32 with all three. "int8" is a scale for each row of weights.
    """
    converter = import_tensorflow().lite.TFLiteConverter.from_keras_model(model)
    return _converted(converter, weights)


def function_to_litert(function: Any, shape: tuple[int | None, ...], module: Any, weights: LiteWeights) -> bytes:
    """A function of one float32 tensor as a LiteRT file; `weights` as in `to_litert`.

    Args:
        shape: of the tensor; None where it may be resized.
        module: a `tensorflow.Module` that holds the function's variables. Constants would cost three times the time
            and memory.
    """
    tensorflow = import_tensorflow()
    traced = tensorflow.function(function, input_signature=[tensorflow.TensorSpec(shape)]).get_concrete_function()
    return _converted(tensorflow.lite.TFLiteConverter.from_concrete_functions([traced], module), weights)


def _converted(converter: Any, weights: LiteWeights) -> bytes:
    tensorflow = import_tensorflow()
    if weights != "float32":
        converter.optimizations = [tensorflow.lite.Optimize.DEFAULT]
        converter.target_spec.supported_types = [tensorflow.float16] if weights == "float16" else []
    with contextlib.redirect_stdout(io.StringIO()):  # Keras prints where it put its own intermediate files
        content: bytes = converter.convert()
    return content


@contextlib.contextmanager
def bfloat16_products() -> Iterator[None]:
    """Graphs that are traced within compute their matrix products in bfloat16; weights and sums stay float32.

    Half the time on processors that have it (AVX512-BF16, AMX); on others they stay float32, which is quicker there. On
    a GPU they are computed in TF32, which keeps three bits more and needs no rewriting.
    """
    config = import_tensorflow().config
    if not (seen_gpus() or has_bfloat16()):
        yield
        return
    option = "auto_mixed_precision_onednn_bfloat16"
    before = config.optimizer.get_experimental_options().get(option, False)
    config.optimizer.set_experimental_options({option: True})
    if seen_gpus():
        config.experimental.enable_tensor_float_32_execution(True)
    try:
        yield
    finally:
        config.optimizer.set_experimental_options({option: before})
        if seen_gpus():
            config.experimental.enable_tensor_float_32_execution(False)
