"""What is done differently where TensorFlow sees a GPU: a table of choices. Pure but for `prepare`, which sets options
of TensorFlow's own.

Only what runs in TensorFlow uses one: VGGish in float32 and bfloat16, the TF-Hub models, the training of networks.
YAMNet, int8 and trained heads run in LiteRT, on the processor, with or without a GPU.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ingest.errors import UsageError

CPU_BATCH, GPU_BATCH = 32, 256
"""Patches of VGGish in one call. On a processor 32 are near its best speed. On a GPU a call must be worth its way
there: 256 are 440 GFLOP and need some 2 GB."""
BFLOAT16_FROM = (8, 0)
"""The first compute capability with bfloat16 (Ampere, 2020)."""


@dataclass(frozen=True, slots=True)
class Gpu:
    """name: for people. capability: compute capability; None where TensorFlow does not tell."""

    name: str
    capability: tuple[int, int] | None = None


def prepare(tensorflow: Any) -> tuple[Gpu, ...]:
    """The GPUs that TensorFlow sees, made fit to be shared: each process takes what it needs, not all there is.

    Products of float32 are made exact: by default TensorFlow rounds their factors to 10 bits (TF32) where the GPU can.
    Call it before TensorFlow's first operation; later the memory stays as it is.
    """
    config = tensorflow.config
    devices = config.list_physical_devices("GPU")
    if not devices:
        return ()
    for device in devices:
        try:
            config.experimental.set_memory_growth(device, True)
        except (RuntimeError, ValueError):  # it is at work already, or is split by its owner
            continue
    config.experimental.enable_tensor_float_32_execution(False)
    details = [config.experimental.get_device_details(device) for device in devices]
    return tuple(
        Gpu(told.get("device_name", device.name), told.get("compute_capability"))
        for device, told in zip(devices, details, strict=True)
    )


def vggish_batch(gpus: Sequence[Gpu]) -> int:
    """How many patches of VGGish go into one call."""
    return GPU_BATCH if gpus else CPU_BATCH


def require_bfloat16(gpus: Sequence[Gpu]) -> None:
    """Raise UsageError where the first GPU, the one that would be used, has no bfloat16."""
    if gpus and gpus[0].capability is not None and gpus[0].capability < BFLOAT16_FROM:
        major, minor = gpus[0].capability
        raise UsageError(
            f"--precision bfloat16: needs a GPU of compute capability 8.0 or more, {gpus[0].name} has {major}.{minor}; "
            "leave it out for float32, or hide the GPU with CUDA_VISIBLE_DEVICES=-1"
        )
