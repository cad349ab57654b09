"""One contract for every row of ENCODERS."""

from pathlib import Path

import numpy as np
import pytest

from embeddings.encoders import ENCODERS, PATCH_S, Encoder, EncoderSettings, encoder_row, load_encoder
from embeddings.pca import Pca, save_pca
from embeddings.weights import WEIGHTS
from ingest.errors import UsageError, WeightsError

RATE = 16_000
TEN_SECONDS_PATCHES = {0.96: 10, 0.48: 19, 0.01: 998}
"""Full patches only. (YAMNet's reference code pads the tail with silence and gets 20.)"""


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-0.5, 0.5, round(seconds * RATE)).astype(np.float32)


def _settings(name: str, request: pytest.FixtureRequest, folder: Path) -> EncoderSettings:
    """Weights for a row: real ones where the shared data holds them, else random ones in the official layout."""
    if name.endswith("-hub"):
        return EncoderSettings(model=str(request.getfixturevalue(f"{name.removesuffix('-hub')}_folder")))
    if name.startswith("vggish"):
        return EncoderSettings(weights_dir=request.getfixturevalue("reference").folder)
    if not name.startswith("yamnet"):
        return EncoderSettings()
    directions = np.random.default_rng(0).standard_normal((128, 1024)).astype(np.float32) / 10
    save_pca(Pca(directions, np.full(1024, 0.2, np.float32)), folder / "pca.npz")
    return EncoderSettings(weights_dir=request.getfixturevalue("shared") / "models", pca=folder / "pca.npz")


NEEDS_TENSORFLOW = [pytest.mark.slow, pytest.mark.tensorflow]
ROWS = [
    pytest.param(row.name, marks=NEEDS_TENSORFLOW if "tensorflow" in row.engine else []) for row in ENCODERS.values()
]


@pytest.fixture(scope="module", params=ROWS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Encoder:
    return load_encoder(request.param, _settings(request.param, request, tmp_path_factory.mktemp("pca")))


def test_spec_is_the_rows(encoder: Encoder) -> None:
    row = ENCODERS[encoder.spec.encoder]
    for field in ("dim", "dtype", "patch_s", "hop_s", "sample_rate", "engine"):
        assert getattr(encoder.spec, field) == getattr(row, field)
    assert encoder.spec.precision == row.precisions[0]
    assert set(row.weights) <= set(encoder.spec.weights)
    assert encoder.spec == type(encoder.spec).from_json(encoder.spec.to_json())


def test_ten_seconds(encoder: Encoder) -> None:
    (vectors,) = encoder.encode([noise(10)])
    assert vectors.shape == (TEN_SECONDS_PATCHES[encoder.spec.hop_s], encoder.spec.dim)
    assert vectors.dtype == encoder.spec.dtype
    assert np.isfinite(vectors).all()
    assert vectors.std() > 0


@pytest.mark.parametrize("samples", [0, 1, 399, 400, 8_000, 15_599, 15_600])
def test_short_clips_give_at_least_one_patch(encoder: Encoder, samples: int) -> None:
    """One patch of 0.96 s needs 15,600 samples, one frame 400; what is there beyond is counted in whole hops."""
    spec = encoder.spec
    needed = 15_600 if spec.patch_s == PATCH_S else round(spec.patch_s * RATE)
    (vectors,) = encoder.encode([noise(1)[:samples]])
    assert vectors.shape == (1 + max(0, samples - needed) // round(spec.hop_s * RATE), spec.dim)
    assert np.isfinite(vectors).all()


def test_a_batch_equals_one_by_one(encoder: Encoder) -> None:
    waveforms = [noise(10, 1), noise(0.4, 2), noise(3.3, 3), np.zeros(RATE, np.float32)]
    for together, waveform in zip(encoder.encode(waveforms), waveforms, strict=True):
        (alone,) = encoder.encode([waveform])
        assert together.shape == alone.shape
        tolerance = 1 if alone.dtype == np.uint8 else 1e-4
        np.testing.assert_allclose(together.astype(np.float32), alone.astype(np.float32), rtol=1e-4, atol=tolerance)


def test_different_sounds_differ(encoder: Encoder) -> None:
    tone = (0.5 * np.sin(2 * np.pi * 440 * np.arange(2 * RATE) / RATE)).astype(np.float32)
    one, other = encoder.encode([noise(2), tone])
    assert (one != other).any(axis=1).all()


def test_waveforms_are_left_alone(encoder: Encoder) -> None:
    """Clips are read-only: an encoder must neither write to them nor need to."""
    waveform = noise(2)
    waveform.flags.writeable = False
    encoder.encode([waveform])


def test_no_waveforms_no_vectors(encoder: Encoder) -> None:
    assert encoder.encode([]) == []


@pytest.mark.parametrize("row", ENCODERS.values(), ids=lambda row: row.name)
def test_rows_are_complete(row) -> None:
    assert row.summary
    assert row.source
    assert set(row.weights) <= set(WEIGHTS)
    assert row.dtype in ("float32", "uint8")
    assert row.hop_s in TEN_SECONDS_PATCHES


def test_an_unknown_encoder_lists_them_all() -> None:
    with pytest.raises(UsageError, match="handcrafted"):
        encoder_row("wavenet")


def test_a_precision_that_it_has_not() -> None:
    with pytest.raises(UsageError, match="--precision: yamnet has float32, not bfloat16"):
        load_encoder("yamnet", EncoderSettings(precision="bfloat16"))


def test_missing_weights_say_where_to_get_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embeddings.weights.cache_folder", lambda: tmp_path)
    monkeypatch.delenv("EARSHOT_WEIGHTS", raising=False)
    for name in ("yamnet", "yamnet-128"):
        with pytest.raises(WeightsError, match=r"https://\S+/yamnet\.h5.*SHA-256") as error:
            load_encoder(name, EncoderSettings(pca=tmp_path / "any.npz"))
        assert "\n" not in str(error.value)
