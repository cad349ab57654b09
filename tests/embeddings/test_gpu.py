"""What is chosen where TensorFlow sees a GPU, with a stand-in for TensorFlow: none was at hand to run it on; and for
processors with and without bfloat16."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embeddings.encoders import ENCODERS, EncoderSettings
from embeddings.encoding import vggish
from embeddings.runtimes import tf
from embeddings.runtimes.gpu import CPU_BATCH, GPU_BATCH, Gpu, prepare, require_bfloat16, vggish_batch
from embeddings.runtimes.processor import has_bfloat16
from ingest.errors import UsageError


class FakeTensorFlow:
    """devices: name -> compute capability."""

    def __init__(self, devices: dict[str, tuple[int, int] | None], *, at_work: bool = False) -> None:
        self.devices = {name: SimpleNamespace(name=f"/physical_device:{name}") for name in devices}
        self.grows: list[str] = []
        self.tf32 = True
        self.options: dict[str, bool] = {}

        def set_memory_growth(device: Any, grows: bool) -> None:
            if at_work:
                raise RuntimeError("Physical devices cannot be modified after being initialized")
            self.grows += [device.name] * grows

        def details(device: Any) -> dict[str, object]:
            capability = devices[device.name.rpartition(":")[2]]
            return {"device_name": "NVIDIA Test", "compute_capability": capability} if capability else {}

        experimental = SimpleNamespace(
            set_memory_growth=set_memory_growth,
            get_device_details=details,
            enable_tensor_float_32_execution=lambda on: setattr(self, "tf32", on),
        )
        optimizer = SimpleNamespace(
            get_experimental_options=lambda: dict(self.options), set_experimental_options=self.options.update
        )
        self.config = SimpleNamespace(
            list_physical_devices=lambda kind: list(self.devices.values()),
            experimental=experimental,
            optimizer=optimizer,
        )


def test_without_a_gpu_nothing_is_touched() -> None:
    tensorflow = FakeTensorFlow({})
    assert prepare(tensorflow) == ()
    assert tensorflow.tf32 and not tensorflow.grows
    assert vggish_batch(()) == CPU_BATCH
    require_bfloat16(())


def test_a_gpu_is_shared_exact_and_asked_in_larger_batches() -> None:
    tensorflow = FakeTensorFlow({"0": (9, 0), "1": None})
    gpus = prepare(tensorflow)
    assert gpus == (Gpu("NVIDIA Test", (9, 0)), Gpu("/physical_device:1", None))
    assert tensorflow.grows == ["/physical_device:0", "/physical_device:1"]
    assert not tensorflow.tf32
    assert vggish_batch(gpus) == GPU_BATCH > CPU_BATCH


def test_a_gpu_that_is_at_work_already_is_used_as_it_is() -> None:
    assert prepare(FakeTensorFlow({"0": (8, 6)}, at_work=True)) == (Gpu("NVIDIA Test", (8, 6)),)


def test_bfloat16_is_refused_where_the_gpu_has_none() -> None:
    require_bfloat16([Gpu("new", (8, 0)), Gpu("old", (7, 5))])
    require_bfloat16([Gpu("unknown")])
    with pytest.raises(UsageError, match=r"--precision bfloat16: .*, old has 7\.5; .*CUDA_VISIBLE_DEVICES"):
        require_bfloat16([Gpu("old", (7, 5))])


@pytest.mark.parametrize("has_it", [True, False])
@pytest.mark.parametrize("devices", [{}, {"0": (8, 0)}])
def test_products_are_rounded_where_that_is_quicker(
    devices: dict[str, tuple[int, int]], has_it: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tensorflow = FakeTensorFlow(devices)
    gpus = prepare(tensorflow)
    exact = tensorflow.tf32
    monkeypatch.setattr(tf, "import_tensorflow", lambda: tensorflow)
    monkeypatch.setattr(tf, "seen_gpus", lambda: gpus)
    monkeypatch.setattr(tf, "has_bfloat16", lambda: has_it)
    option, rounds = "auto_mixed_precision_onednn_bfloat16", bool(devices) or has_it
    with tf.bfloat16_products():
        assert tensorflow.tf32 == (rounds or exact)
        assert tensorflow.options.get(option, False) == rounds
    assert tensorflow.tf32 == exact
    assert not tensorflow.options.get(option)


@pytest.mark.parametrize(
    ("flags", "has_it"), [("fpu avx2 fma", False), ("fpu avx512f avx512_bf16 amx_tile", True), ("fpu amx_bf16", True)]
)
def test_a_processors_flags_tell_of_bfloat16(flags: str, has_it: bool, tmp_path: Path) -> None:
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(
        f"processor\t: 0\nmodel name\t: avx512_bf16 in name only\nflags\t\t: {flags}\n\nprocessor\t: 1\n"
    )
    assert has_bfloat16(cpuinfo) == has_it
    assert not has_bfloat16(tmp_path / "elsewhere")


@pytest.mark.parametrize("has_it", [True, False])
def test_bfloat16_that_gains_nothing_is_said(
    has_it: bool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(vggish, "seen_gpus", lambda: ())
    monkeypatch.setattr(vggish, "has_bfloat16", lambda: has_it)
    monkeypatch.setattr(vggish, "find_all", lambda names, folder: {name: (Path(name), "0" * 64) for name in names})
    monkeypatch.setattr(vggish, "read_checkpoint", lambda path: {})
    monkeypatch.setattr(vggish, "VggishGraph", lambda weights, **how: None)
    vggish.load(ENCODERS["vggish"], EncoderSettings(precision="bfloat16"))
    assert bool(caplog.messages) == (not has_it)


@pytest.mark.parametrize("gpus", [(), (Gpu("NVIDIA Test", (9, 0)),)])
def test_convolutions_are_a_gpus_own_to_choose(gpus: tuple[Gpu, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    """Winograd's, which are ours, are for processors."""
    kernel, given = np.zeros((3, 3, 4, 5), np.float32), []
    monkeypatch.setattr(vggish, "seen_gpus", lambda: gpus)
    monkeypatch.setattr(vggish, "find_all", lambda names, folder: {name: (Path(name), "0" * 64) for name in names})
    monkeypatch.setattr(vggish, "read_checkpoint", lambda path: {"conv2": (kernel, kernel[0, 0, 0])})
    monkeypatch.setattr(vggish, "VggishGraph", lambda weights, **how: given.append(weights["conv2"][0]))
    loaded = vggish.load(ENCODERS["vggish"], EncoderSettings())
    assert given[0].shape == ((3, 3, 4, 5) if gpus else (36, 4, 5))
    assert ("NVIDIA Test" in loaded.spec.engine) == bool(gpus)
