"""VGGish against an independent tf-slim definition, both filled from one random checkpoint in the official layout."""

from pathlib import Path

import numpy as np
import pytest

from embeddings.encoders import EncoderSettings, load_encoder
from embeddings.encoding.vggish import Vggish
from ingest.errors import WeightsError
from tests.embeddings.references import VggishReference

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]

RATE = 16_000


@pytest.fixture(scope="module")
def vggish(reference: VggishReference) -> Vggish:
    return load(reference, "vggish")


def load(reference: VggishReference, name: str, precision: str | None = None) -> Vggish:
    encoder = load_encoder(name, EncoderSettings(weights_dir=reference.folder, precision=precision))
    assert isinstance(encoder, Vggish)
    return encoder


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, round(seconds * RATE)).astype(np.float32)


def test_the_checkpoint_is_v1(reference: VggishReference) -> None:
    """One file, as the official one is; V2 would be an index and shards."""
    files = [path.name for path in reference.folder.glob("vggish_model*")]
    assert files == ["vggish_model.ckpt"]
    assert (reference.folder / "vggish_model.ckpt").stat().st_size == pytest.approx(291_108_469, rel=0.01)


@pytest.mark.parametrize("quick", [False, True])
def test_layer_by_layer(reference: VggishReference, quick: bool) -> None:
    from embeddings.encoding import vggish_model

    weights = vggish_model.read_checkpoint(reference.folder / "vggish_model.ckpt")
    outputs = vggish_model.vggish_layers(reference.patches, vggish_model.quick(weights) if quick else weights)
    assert outputs.keys() == reference.outputs.keys()
    for layer, expected in reference.outputs.items():
        np.testing.assert_allclose(outputs[layer].numpy(), expected, atol=1e-4, err_msg=layer)


def test_engine(vggish: Vggish, reference: VggishReference) -> None:
    expected = reference.outputs["fc2"]
    assert 0.1 < expected.std() < 10  # the tolerance says something
    assert expected.min() < 0  # no ReLU after the last layer
    np.testing.assert_allclose(vggish.encode_patches(reference.patches), expected, atol=1e-4)


def test_post_processed(reference: VggishReference) -> None:
    """Equal to the reference's formula in float64, but where a value falls on a step."""
    with np.load(reference.folder / "vggish_pca_params.npz") as arrays:
        matrix, means = arrays["pca_eigen_vectors"].astype(np.float64), arrays["pca_means"].astype(np.float64)
    projected = (matrix @ (reference.outputs["fc2"].T - means)).T
    levels = (np.clip(projected, -2, 2) + 2) * 255 / 4
    found = load(reference, "vggish-pca").encode_patches(reference.patches)
    assert found.dtype == np.uint8
    differs = found != levels.astype(np.uint8)
    assert (np.abs(levels - np.round(levels))[differs] < 1e-2).all()
    assert differs.mean() < 0.01


def test_bfloat16_is_close(vggish: Vggish, reference: VggishReference) -> None:
    found = load(reference, "vggish", "bfloat16")
    assert found.spec.precision == "bfloat16"
    one, other = found.encode_patches(reference.patches), vggish.encode_patches(reference.patches)
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    assert cosines.min() > 0.9995
    assert (one != other).any()


def test_more_patches_than_a_batch(vggish: Vggish) -> None:
    waveforms = [noise(10, seed) for seed in range(5)]
    together = vggish.encode(waveforms)
    assert [len(vectors) for vectors in together] == [10] * 5
    np.testing.assert_allclose(together[4], vggish.encode(waveforms[4:])[0], atol=1e-5)


def test_nothing_in_nothing_out(vggish: Vggish) -> None:
    assert vggish.encode([]) == []


def test_threads_give_the_same(vggish: Vggish) -> None:
    from concurrent.futures import ThreadPoolExecutor

    waveforms = [noise(2, seed) for seed in range(8)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda waveform: vggish.encode([waveform])[0], waveforms))
    for one, other in zip(found, vggish.encode(waveforms), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_the_spec_names_the_weights(reference: VggishReference) -> None:
    spec = load(reference, "vggish-pca").spec
    assert set(spec.weights) == {"vggish_model.ckpt", "vggish_pca_params.npz"}
    assert (spec.dim, spec.dtype) == (128, "uint8")


def test_text_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "vggish_model.ckpt").write_text("not a checkpoint")
    check_refused(tmp_path, "not a TensorFlow checkpoint")


@pytest.mark.parametrize(("name", "shape"), [("vggish/conv1/weights", [3, 3, 1, 32]), ("other/weights", [1])])
def test_other_variables_are_named(tmp_path: Path, name: str, shape: list[int]) -> None:
    import tensorflow

    v1 = tensorflow.compat.v1
    with tensorflow.Graph().as_default(), v1.Session() as session:
        v1.get_variable(name, shape)
        session.run(v1.global_variables_initializer())
        saver = v1.train.Saver(write_version=v1.train.SaverDef.V1)
        saver.save(session, str(tmp_path / "vggish_model.ckpt"), write_meta_graph=False, write_state=False)
    check_refused(tmp_path, r"vggish/conv1/weights must have shape \[3, 3, 1, 64\]")


def check_refused(folder: Path, rule: str) -> None:
    with pytest.raises(WeightsError, match=rule) as error:
        load_encoder("vggish", EncoderSettings(weights_dir=folder))
    assert "\n" not in str(error.value)
