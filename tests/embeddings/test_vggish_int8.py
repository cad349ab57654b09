"""VGGish in int8 on LiteRT: near float32 on real sound, the same vector in any company, TensorFlow only to convert."""

import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from embeddings.encoders import EncoderSettings, load_encoder
from embeddings.encoding.vggish import LITERT_BATCH, Vggish
from ingest.audio.windows import read_clip
from ingest.errors import WeightsError
from tests.embeddings.references import VggishReference

pytestmark = [pytest.mark.slow, pytest.mark.tensorflow]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache folder of its own: the model is 72 MB, and the user's own cache is not for random weights."""
    folder = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("embeddings.runtimes.litert.cache_folder", lambda: folder)
        yield folder


@pytest.fixture(scope="module")
def int8(reference: VggishReference, cache: Path) -> Vggish:
    return load(reference, "vggish", "int8")


def load(reference: VggishReference, name: str, precision: str) -> Vggish:
    encoder = load_encoder(name, EncoderSettings(weights_dir=reference.folder, precision=precision))
    assert isinstance(encoder, Vggish)
    return encoder


def cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return (a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)


def test_against_the_slim_definition(int8: Vggish, reference: VggishReference) -> None:
    """Lowest of six patches of noise when this was written: .9998."""
    assert cosines(int8.encode_patches(reference.patches), reference.outputs["fc2"]).min() > 0.9995


def test_near_float32_on_real_sound(int8: Vggish, reference: VggishReference, shared: Path) -> None:
    """Of 250 patches of ESC-10, lowest cosine .99975; of the 8-bit values 47 % the same, the farthest 6 levels off.

    What all vectors have in common makes cosines high; without their mean they were .992 at the lowest.
    """
    files = sorted((shared / "esc10").rglob("*.ogg"))[::16]
    patches = np.concatenate([int8.patches(read_clip(file).waveform) for file in files])
    float32 = load(reference, "vggish-pca", "float32")
    vectors, expected = int8.encode_patches(patches), load(reference, "vggish", "float32").encode_patches(patches)
    assert cosines(vectors, expected).min() > 0.9995
    assert cosines(vectors - expected.mean(axis=0), expected - expected.mean(axis=0)).min() > 0.98
    levels = load(reference, "vggish-pca", "int8").encode_patches(patches).astype(int)
    apart = np.abs(levels - float32.encode_patches(patches))
    assert apart.max() <= 12
    assert 0 < apart.mean() < 1


def test_a_patch_is_the_same_in_any_company(int8: Vggish, reference: VggishReference) -> None:
    """Int8 scales what goes into a layer by its largest value: were that the call's and not the patch's, it would show.

    Companions: digital silence, and sounds no recording reaches.
    """
    patch = reference.patches[0]
    (alone,) = int8.encode_patches(patch[None])
    others = [np.full_like(patch, level) for level in (np.log(0.01), 8, 800)]
    for count in range(1, LITERT_BATCH):
        together = np.stack([*(others * 3)[:count], patch])
        np.testing.assert_array_equal(int8.encode_patches(together)[-1], alone)
    many = np.tile(reference.patches, (5, 1, 1))
    np.testing.assert_array_equal(int8.encode_patches(many)[-6:], int8.encode_patches(reference.patches))


def test_threads_give_the_same(int8: Vggish, reference: VggishReference) -> None:
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(int8.encode_patches, [reference.patches] * 2)
    np.testing.assert_array_equal(first, second)


def test_the_spec_says_so(int8: Vggish, reference: VggishReference) -> None:
    assert (int8.spec.engine, int8.spec.precision) == ("litert", "int8")
    assert load(reference, "vggish", "float32").spec.mismatch(int8.spec) == ["precision: float32 against int8"]


def test_converted_once_and_no_tensorflow_from_then_on(int8: Vggish, reference: VggishReference, cache: Path) -> None:
    """`int8` is asked for so that the conversion is done; another one would be an error here."""
    (model,) = (cache / "litert").iterdir()
    assert model.name.endswith("-int8-v1.tflite")
    assert model.stat().st_size < 75e6
    code = f"""if True:
        import sys, numpy as np
        from pathlib import Path
        import embeddings.runtimes.litert
        from embeddings.encoders import EncoderSettings, load_encoder
        embeddings.runtimes.litert.cache_folder = lambda: Path({str(cache)!r})
        embeddings.runtimes.litert.subprocess.run = None
        settings = EncoderSettings(weights_dir=Path({str(reference.folder)!r}), precision="int8")
        encoder = load_encoder("vggish-pca", settings)
        assert encoder.encode([np.zeros(32_000, np.float32)])[0].shape == (2, 128)
        assert not {{"tensorflow", "keras"}} & set(sys.modules)
    """
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2], capture_output=True)


def test_text_is_no_checkpoint(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "vggish_model.ckpt").write_text("not a checkpoint")
    rule = r"vggish_model\.ckpt: could not be converted .*not a TensorFlow checkpoint"
    with pytest.raises(WeightsError, match=rule) as error:
        load_encoder("vggish", EncoderSettings(weights_dir=tmp_path, precision="int8"))
    assert "\n" not in str(error.value)
