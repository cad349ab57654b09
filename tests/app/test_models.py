"""earshot models, and the models that come with Earshot."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from classifiers import bundle as bundles
from classifiers.bundle import MODELS, load_bundle, read_info, ready_models
from classifiers.pack import CARD_FILE, MAX_BYTES, bundle_bytes, pack
from embeddings.encoders import encoder_row
from embeddings.features import features_spec
from embeddings.store import EmbeddingStore
from ingest.errors import FormatError, UsageError
from tests.app.test_train_predict import generated_store, run

QUICK_SVC = ("--head", "svc", "--set", "costs=[1.0]", "--set", "gammas=[1.0]", "--protocol", "none")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    generated_store(folder / "emb")
    with pytest.raises(SystemExit) as left:
        main(["train", str(folder / "emb"), *QUICK_SVC, "--out", str(folder / "model")])
    assert not left.value.code
    return folder / "model"


def test_a_packed_model_is_small_and_says_the_same(model, tmp_path):
    size = pack(model, tmp_path / "small")
    assert size == bundle_bytes(tmp_path / "small") < bundle_bytes(model)
    table = EmbeddingStore.open(model.parent / "emb").load()
    small, whole = load_bundle(tmp_path / "small"), load_bundle(model)
    said = small.predict(table.vectors, table.mask)
    assert said.scores == pytest.approx(whole.predict(table.vectors, table.mask).scores, abs=1e-4)
    assert small.shared_sources(table.sources) == whole.shared_sources(table.sources)
    with pytest.raises(FormatError, match=r"light form.*train it again: earshot train"):
        load_bundle(tmp_path / "small", "full")


def test_a_model_is_not_packed_over_itself_nor_twice(model, tmp_path):
    shutil.copytree(model, tmp_path / "outer")
    shutil.copytree(model, tmp_path / "outer" / "inner")
    for out in (tmp_path / "outer" / "inner", tmp_path / "outer"):
        with pytest.raises(UsageError, match="is or holds the model itself"):
            pack(tmp_path / "outer" / "inner", out)
    with pytest.raises(UsageError, match="packed already; pack the model that it was made from"):
        pack(MODELS / "audioset527", tmp_path / "again", "int8")
    pack(MODELS / "city10", tmp_path / "city")
    assert (tmp_path / "city" / "SHA256SUMS").read_text() == (MODELS / "city10" / "SHA256SUMS").read_text()


@pytest.mark.parametrize("name", ["head.npz", "head.skops", "sources.npy"])
def test_what_is_damaged_is_not_packed_under_checksums_of_its_own(model, tmp_path, name):
    shutil.copytree(model, tmp_path / "model")
    damaged = bytearray((tmp_path / "model" / name).read_bytes())
    damaged[-3] ^= 1
    (tmp_path / "model" / name).write_bytes(damaged)
    with pytest.raises(FormatError, match=rf"{name}: is damaged"):
        pack(tmp_path / "model", tmp_path / "small")
    assert not (tmp_path / "small").exists()


def test_packing_replaces_models_only(model, tmp_path):
    with pytest.raises(UsageError, match="--weights"):
        pack(model, tmp_path / "small", "int8")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="no model"):
        pack(model, tmp_path / "mine")
    assert (tmp_path / "mine" / "thesis.txt").exists()


def test_a_name_stands_for_a_model_that_came_along(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(bundles, "MODELS", tmp_path)
    monkeypatch.chdir(tmp_path.parent)
    pack(model, tmp_path / "three-sounds")
    assert ready_models() == ["three-sounds"]
    assert load_bundle(Path("three-sounds")).folder == tmp_path / "three-sounds"
    code, out, _ = run(capsys, "evaluate", "three-sounds", model.parent / "emb", "--json")
    assert (code, json.loads(out)["n"]) == (0, 90)
    with pytest.raises(UsageError, match="ready: three-sounds"):
        load_bundle(Path("four-sounds"))
    with pytest.raises(UsageError):
        load_bundle(Path("../three-sounds"))


def test_a_folder_of_that_name_comes_first(model, tmp_path, monkeypatch):
    monkeypatch.setattr(bundles, "MODELS", tmp_path / "ready")
    pack(model, tmp_path / "ready" / "mine")
    shutil.copytree(tmp_path / "ready" / "mine", tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert load_bundle(Path("mine")).folder == Path("mine")


def test_list(capsys):
    code, out, _ = run(capsys, "models", "list", "--json")
    assert code == 0
    assert [row["name"] for row in json.loads(out)["models"]] == ready_models()
    assert run(capsys, "models", "list")[0] == 0


def test_native_makes_a_model_of_nothing_but_yamnet(shared, tmp_path, capsys):
    weights = ("--weights", shared / "models")
    argv = ("models", "native", "--classes", "Speech;Dog", "--out", tmp_path / "two", *weights)
    code, out, _ = run(capsys, *argv, "--json")
    assert (code, json.loads(out)["classes"]) == (0, ["Speech", "Dog"])
    assert "nothing" in (tmp_path / "two" / CARD_FILE).read_text().lower()
    sound = shared / "esc10" / "001 - Dog bark" / "1-110389-A.ogg"
    code, out, err = run(capsys, "predict", tmp_path / "two", sound, *weights, "--json")
    assert code == 0, err
    (window,) = json.loads(out)["files"][0]["windows"]
    assert window["answer"] == "Dog"
    code, _, err = run(capsys, "models", "native", "--classes", "Funny music", "--out", tmp_path / "x", *weights)
    assert (code, err.count("\n")) == (2, 1)
    assert "no score for 'Funny music'" in err


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3.15's own
@pytest.mark.parametrize("weights", ["float16", "int8"])
def test_a_keras_head_with_short_weights_says_nearly_the_same(tmp_path, weights):
    store = generated_store(tmp_path / "emb")
    with pytest.raises(SystemExit) as left:
        main(["train", str(store), "--set", "max_steps=60", "--protocol", "none", "--out", str(tmp_path / "model")])
    assert not left.value.code
    pack(tmp_path / "model", tmp_path / "small", weights)
    table = EmbeddingStore.open(store).load()
    said = load_bundle(tmp_path / "small").predict(table.vectors, table.mask).scores
    whole = load_bundle(tmp_path / "model").predict(table.vectors, table.mask).scores
    assert np.abs(said - whole).max() < 0.05
    assert (tmp_path / "small" / "head.tflite").stat().st_size < (tmp_path / "model" / "head.tflite").stat().st_size


@pytest.mark.parametrize("name", ready_models())
def test_what_came_along_is_small_whole_and_speaks_of_no_ones_disk(name):
    folder = MODELS / name
    info, loaded = read_info(folder), load_bundle(folder)
    assert bundle_bytes(folder) <= MAX_BYTES
    assert (folder / CARD_FILE).is_file()
    assert not any(word.startswith("/") for word in [*info.command.split(), info.trained_on["store"]])
    dim, dtype = info.spec.dim, np.dtype(info.spec.dtype)
    said = loaded.predict(np.zeros((2, 3, dim), dtype), np.ones((2, 3), bool))
    assert said.scores.shape == (2, len(info.class_set.classes))
    assert np.isfinite(said.scores).all()


def test_a_model_of_the_released_features_takes_vggish_with_its_projection():
    ours = encoder_row("vggish-pca").spec(weights={"vggish_model.ckpt": "1" * 64, "vggish_pca_params.npz": "2" * 64})
    assert features_spec().mismatch(ours) == []
    assert features_spec().mismatch(encoder_row("vggish").spec())
