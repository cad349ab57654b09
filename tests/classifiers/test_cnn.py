"""The CNN's contract, on spectrograms in which each class is a stripe of its own."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifiers.heads import FittedHead, TrainingData, fit_head, load_head
from classifiers.networks.cnn import overlapping_slices
from classifiers.pack import converted_again
from embeddings.encoders import ENCODERS
from ingest.errors import UsageError
from tests.classifiers.generated import make_spec

BANDS, CLASSES = 16, ("low", "middle", "high")
QUICK = {"frames": 16, "filters": [4, 8, 8], "hidden": 16, "batch": 16, "min_steps": 120, "epochs": 1, "mixup": 0.0}


def make_data(mode: str = "single", n: int = 48, seed: int = 0, longest: int = 40) -> TrainingData:
    """n spectrograms of 6 to `longest` frames: noise, and a stripe in the class's bands for half of the time."""
    rng = np.random.default_rng(seed)
    frames = rng.integers(6, longest + 1, n)
    label = np.arange(n) // 2 % 3
    vectors = rng.normal(-3, 1, (n, longest, BANDS)).astype(np.float32)
    for i in range(n):
        vectors[i, : frames[i] : 2, 5 * label[i] + 1 : 5 * label[i] + 4] += 4
    mask = np.arange(longest) < frames[:, None]
    return TrainingData(
        vectors=np.where(mask[..., None], vectors, 0),
        mask=mask,
        targets=np.eye(3, dtype=np.float32)[label],
        sources=[f"s{i // 2}" for i in range(n)],
        labels=[()] * n,
        class_names=CLASSES,
        mode=mode,  # type: ignore[arg-type]
        spec=make_spec("float32", dim=BANDS, patch_s=0.025, hop_s=0.01),
    )


def test_slices_cover_a_recording_and_overlap_by_half() -> None:
    for n in (1, 7, 16, 17, 24, 25, 100, 998):
        frames = np.arange(1, n + 1, dtype=np.float32)[:, None]
        slices, real = overlapping_slices(frames, 16)
        assert slices.shape == (*real.shape, 1)
        assert set(slices[real][:, 0]) == set(range(1, n + 1))
        assert not slices[~real].any()
        starts = slices[:, 0, 0]
        assert (np.diff(starts) <= 8).all()
        assert (np.diff(starts) > 0).all()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"filters": [4, 0, 4]}, "--set filters: takes three numbers above 0, got"),
        ({"filters": [4, 8]}, "--set filters: takes three numbers above 0, got"),
        ({"frames": 17}, "--set frames: must be a multiple of 16, got 17"),
    ],
)
def test_a_shape_that_no_network_has_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        fit_head("cnn", make_data(), 0, changes=changes)


@pytest.mark.parametrize("encoder", ["yamnet", "vggish-pca", "handcrafted"])
def test_what_is_no_spectrogram_is_refused(encoder: str) -> None:
    data = make_data()
    spec = ENCODERS[encoder].spec()
    with pytest.raises(UsageError, match="embed with --encoder logmel or mfcc"):
        fit_head("cnn", TrainingData(**{f: getattr(data, f) for f in data.__slots__} | {"spec": spec}), 0)


@pytest.fixture(scope="module", params=["single", "multi"])
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    head, folder = fit_head("cnn", make_data(request.param), 0, changes=QUICK), tmp_path_factory.mktemp("cnn")
    head.save(folder)
    return request.param, head, folder


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
class TestTrained:
    def test_it_learns(self, fitted: tuple[str, FittedHead, Path]) -> None:
        mode, head, _ = fitted
        unseen = make_data(mode, seed=1)
        scores = head.predict(unseen.vectors, unseen.mask).scores
        assert scores.dtype == np.float32
        assert (scores.argmax(axis=1) == unseen.targets.argmax(axis=1)).mean() > 0.9
        assert scores.min() >= 0
        assert scores.max() <= 1
        if mode == "single":
            np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)

    def test_garbage_outside_the_mask_changes_nothing(self, fitted: tuple[str, FittedHead, Path]) -> None:
        mode, head, folder = fitted
        data = make_data(mode, n=12, seed=1)
        dirty = np.where(data.mask[..., None], data.vectors, np.float32(1e6))
        wider = np.pad(dirty, ((0, 0), (0, 9), (0, 0)))
        for one in (head, load_head("cnn", folder, mode, "light")):  # type: ignore[arg-type]
            clean = one.predict(data.vectors, data.mask).scores
            np.testing.assert_array_equal(one.predict(dirty, data.mask).scores, clean)
            np.testing.assert_array_equal(one.predict(wider, np.pad(data.mask, ((0, 0), (0, 9)))).scores, clean)

    def test_saved_and_loaded_it_says_the_same(self, fitted: tuple[str, FittedHead, Path]) -> None:
        mode, head, folder = fitted
        data = make_data(mode, n=12, seed=1)
        assert {path.name for path in folder.iterdir()} == {"head.keras", "head.tflite"}
        said = head.predict(data.vectors, data.mask).scores
        for runtime in ("light", "full"):
            loaded = load_head("cnn", folder, mode, runtime).predict(data.vectors, data.mask)  # type: ignore[arg-type]
            np.testing.assert_allclose(loaded.scores, said, atol=1e-5)

    def test_with_short_weights_it_says_nearly_the_same(self, fitted: tuple[str, FittedHead, Path]) -> None:
        mode, head, folder = fitted
        data = make_data(mode, n=12, seed=1)
        short = folder / "short"
        short.mkdir()
        (short / "head.tflite").write_bytes(converted_again(folder / "head.keras", folder / "head.tflite", "int8"))
        said = load_head("cnn", short, mode, "light").predict(data.vectors, data.mask).scores  # type: ignore[arg-type]
        assert np.abs(said - head.predict(data.vectors, data.mask).scores).max() < 0.05

    def test_the_light_form_needs_no_tensorflow(self, fitted: tuple[str, FittedHead, Path]) -> None:
        mode, _, folder = fitted
        code = (
            "import sys, numpy\nfrom pathlib import Path\nfrom classifiers.heads import load_head\n"
            f"head = load_head('cnn', Path({str(folder)!r}), {mode!r}, 'light')\n"
            f"head.predict(numpy.zeros((1, 40, {BANDS}), 'float32'), numpy.ones((1, 40), bool))\n"
            "print(*sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
        assert not {"tensorflow", "keras"} & set(done.stdout.split())

    def test_the_same_seed_gives_the_same_head(self) -> None:
        data = make_data()
        few = QUICK | {"min_steps": 10}
        one, other = (fit_head("cnn", data, 3, changes=few).predict(data.vectors, data.mask).scores for _ in "12")
        np.testing.assert_array_equal(one, other)
