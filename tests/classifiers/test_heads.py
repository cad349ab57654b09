"""One contract for every row of the table of heads; each kind has more of it in a file of its own."""

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifiers.heads import HEADS, FittedHead, TrainingData, fit_head, load_head
from classifiers.shallow.svc import SvcSettings
from ingest.errors import FormatError, UsageError
from tests.classifiers.generated import CLASSES, make_spec, make_table

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.slow,
    # Keras 3.15 reads TensorFlow variables in a way that NumPy 2 asks it to change.
    pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning"),
]
ROWS = ("attention", "wide", "svc")
"""A head of each kind; the others of their families, and yamnet-native, which learns nothing, have their own tests."""
QUICK: dict[str, dict[str, Any]] = {
    "attention": {"hidden": 64, "batch": 16, "learning_rate": 3e-3},
    "wide": {"hidden": 64, "specialists": 1},
    "svc": {"costs": [1.0, 10.0], "gammas": [0.1, 1.0]},
}


def make_data(mode: str = "single", dtype: str = "uint8", **changes: int) -> TrainingData:
    table = make_table(dtype=dtype, **changes)
    targets = np.array([[name in mids for name in CLASSES] for mids in table.mids], np.float32)
    return TrainingData(table.vectors, table.mask, targets, table.sources, table.mids, CLASSES, mode, make_spec(dtype))  # type: ignore[arg-type]


def fit(name: str, data: TrainingData, seed: int = 0) -> FittedHead:
    return fit_head(name, data, seed, changes=QUICK[name])


@cache
def fitted_once(name: str, mode: str) -> FittedHead:
    """The head of `make_data(mode)`, for tests that only use it: fitting one takes seconds."""
    return fit(name, make_data(mode))


@pytest.fixture(scope="module", params=[(name, mode) for name in ROWS for mode in ("single", "multi")], ids=str)
def fitted(request: pytest.FixtureRequest) -> tuple[str, str, FittedHead]:
    name, mode = request.param
    return name, mode, fitted_once(name, mode)


def test_it_learns(fitted: tuple[str, str, FittedHead]) -> None:
    _, mode, head = fitted
    unseen = make_data(mode, seed=1)
    scores = head.predict(unseen.vectors, unseen.mask).scores
    assert (scores.argmax(axis=1) == unseen.targets.argmax(axis=1)).mean() > 0.9
    assert scores.dtype == np.float32
    assert scores.min() >= 0
    assert scores.max() <= 1
    if mode == "single":
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_garbage_outside_the_mask_changes_nothing(fitted: tuple[str, str, FittedHead], tmp_path: Path) -> None:
    name, mode, head = fitted
    data = make_data(mode, seed=1)
    noise = np.random.default_rng(2).integers(0, 256, data.vectors.shape).astype(np.uint8)
    dirty = np.where(data.mask[..., None], data.vectors, noise)
    wider = np.pad(dirty, ((0, 0), (0, 1), (0, 0)), constant_values=255)
    head.save(tmp_path)
    for one in (head, load_head(name, tmp_path, mode, "light")):  # type: ignore[arg-type]
        clean, noisy = one.predict(data.vectors, data.mask), one.predict(dirty, data.mask)
        assert np.isfinite(clean.scores).all()
        np.testing.assert_array_equal(clean.scores, noisy.scores)
        padded = one.predict(wider, np.pad(data.mask, ((0, 0), (0, 1)))).scores
        np.testing.assert_allclose(clean.scores, padded, atol=1e-6)


def test_saved_and_loaded_it_says_the_same(fitted: tuple[str, str, FittedHead], tmp_path: Path) -> None:
    name, mode, head = fitted
    data = make_data(mode, seed=1)
    head.save(tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {HEADS[name].full_file, HEADS[name].light_file}
    said = head.predict(data.vectors, data.mask)
    for runtime in ("light", "full"):
        loaded = load_head(name, tmp_path, mode, runtime).predict(data.vectors, data.mask)  # type: ignore[arg-type]
        np.testing.assert_allclose(loaded.scores, said.scores, atol=1e-5)
        if said.attention is not None:
            np.testing.assert_allclose(loaded.attention, said.attention, atol=1e-5)
            np.testing.assert_allclose(loaded.patch_scores, said.patch_scores, atol=1e-5)


@pytest.mark.parametrize("name", ROWS)
def test_the_same_seed_gives_the_same_head(name: str) -> None:
    data = make_data()
    heads = (fitted_once(name, "single"), fit(name, data))
    one, other = (head.predict(data.vectors, data.mask).scores for head in heads)
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", ROWS)
def test_scaling_travels_with_the_head(name: str) -> None:
    """Stored values in other units give the same answers: each head standardises what it is given."""
    data = make_data()
    moved = data.vectors / np.float32(1000) - 5 * data.mask[..., None].astype(np.float32)
    other = replace(data, vectors=moved, spec=make_spec("float32"))
    heads = ((fitted_once(name, "single"), data), (fit(name, other), other))
    scores = [head.predict(d.vectors, d.mask).scores for head, d in heads]
    np.testing.assert_allclose(scores[0], scores[1], atol=0.02)


def test_more_patches_than_a_window_holds_are_refused(tmp_path: Path) -> None:
    fitted_once("attention", "single").save(tmp_path)
    light = load_head("attention", tmp_path, "single", "light")
    vectors, mask = np.zeros((1, 12, 12), np.uint8), np.ones((1, 12), bool)
    with pytest.raises(FormatError, match="at most 11 patches, got 12"):
        light.predict(vectors, mask)
    assert light.predict(vectors, mask & (np.arange(12) < 11)).attention.shape == (1, 12, 3)  # type: ignore[union-attr]


def test_attention_sums_to_one_over_the_real_patches() -> None:
    data = make_data()
    said = fitted_once("attention", "single").predict(data.vectors, data.mask)
    assert said.attention is not None
    assert said.patch_scores is not None
    np.testing.assert_allclose(said.attention.sum(axis=1), 1, atol=1e-5)
    assert not said.attention[~data.mask].any()
    assert not said.patch_scores[~data.mask].any()


def test_keras_loads_heads_without_our_code(tmp_path: Path) -> None:
    ensemble = fit_head("ensemble", make_data(n=12), 0, changes={"members": ["decision", "multihead"], "epochs": 1})
    for name, head in (("attention", fitted_once("attention", "single")), ("ensemble", ensemble)):
        (tmp_path / name).mkdir()
        head.save(tmp_path / name)
    code = (
        "import keras, numpy, sys\n"
        "for name in ('attention', 'ensemble'):\n"
        "    model = keras.models.load_model(f'{name}/head.keras')\n"
        "    out = model({'vectors': numpy.zeros((2, 4, 12), 'uint8'), 'mask': numpy.ones((2, 4), bool)})\n"
        "    assert out['scores'].shape == (2, 3) and 'classifiers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, capture_output=True)


def test_light_heads_need_no_engine(tmp_path: Path) -> None:
    for name in ROWS:
        (tmp_path / name).mkdir()
        fitted_once(name, "single").save(tmp_path / name)
    code = (
        "import sys, numpy\nfrom pathlib import Path\nfrom classifiers.heads import load_head\n"
        f"for name in {ROWS!r}:\n"
        f"    head = load_head(name, Path({str(tmp_path)!r}) / name, 'single', 'light')\n"
        "    head.predict(numpy.zeros((1, 4, 12), 'uint8'), numpy.ones((1, 4), bool))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"tensorflow", "keras", "sklearn", "skops"} & set(done.stdout.split())


def test_svc_agrees_with_scikit_learn_out_of_the_box() -> None:
    """Our grid search and pooling against a plain pipeline at the C and gamma that were chosen."""
    from sklearn.calibration import CalibratedClassifierCV
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    data = make_data()
    head = fitted_once("svc", "single")
    chosen = head.settings["chosen"]
    features = np.array([row[mask].mean(axis=0) for row, mask in zip(data.vectors, data.mask, strict=True)])
    margin = make_pipeline(StandardScaler(), SVC(C=chosen["C"], gamma=chosen["gamma"]))
    margin.fit(features, data.targets[:, 0])
    ours = head.machines.machines[0].calibrated_classifiers_[0].estimator  # type: ignore[attr-defined]
    scaled = head.machines.transforms[0].transform(features)  # type: ignore[attr-defined]
    np.testing.assert_allclose(ours.decision_function(scaled), margin.decision_function(features), atol=1e-6)
    assert isinstance(head.machines.machines[0], CalibratedClassifierCV)  # type: ignore[attr-defined]


def test_a_skops_file_with_foreign_types_is_refused(tmp_path: Path) -> None:
    import skops.io

    skops.io.dump({"scaler": SvcSettings()}, tmp_path / "head.skops")
    with pytest.raises(FormatError, match="SvcSettings"):
        load_head("svc", tmp_path, "single", "full")


def test_svc_says_what_it_cannot_learn_from() -> None:
    data = make_data(n=6)  # one source of each class
    with pytest.raises(UsageError, match="two sources"):
        fit("svc", data)


def test_an_unknown_head_is_answered_with_the_list() -> None:
    with pytest.raises(UsageError, match="choose one of attention, transformer, "):
        fit_head("no such head", make_data(n=6), 0)
