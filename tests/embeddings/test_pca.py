"""The post-processing: invariants of the fit, the reference's formula, and files that do not fit."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embeddings.pca import Pca, fit_pca, load_pca, quantize, save_pca
from ingest.errors import UsageError, WeightsError


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    rng = np.random.default_rng(0)
    mixing = rng.standard_normal((16, 40))
    return (rng.standard_normal((2000, 16)) @ mixing + rng.standard_normal(40) * 5).astype(np.float32)


def test_a_fit_whitens(vectors: np.ndarray) -> None:
    projected = fit_pca(vectors, dim=8).project(vectors)
    np.testing.assert_allclose(projected.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(projected.T @ projected / len(vectors), np.eye(8), atol=1e-3)


def test_a_fit_matches_singular_values(vectors: np.ndarray) -> None:
    centred = vectors - vectors.mean(axis=0)
    _, values, directions = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    expected = directions[:8] / (values[:8, None] / np.sqrt(len(vectors)))
    found = fit_pca(vectors, dim=8).eigen_vectors
    signs = np.sign((found * expected).sum(axis=1, keepdims=True))
    np.testing.assert_allclose(found, expected * signs, atol=1e-4)


def test_directions_without_variance_stay_silent(vectors: np.ndarray) -> None:
    """16 directions hold all variance: the others must not blow rounding up to full scale."""
    projected = fit_pca(vectors, dim=20).project(vectors)
    assert np.isfinite(projected).all()
    assert np.abs(projected[:, 16:]).max() < 1


@pytest.mark.parametrize(("count", "dim"), [(8, 8), (100, 41)])
def test_too_little_to_fit(vectors: np.ndarray, count: int, dim: int) -> None:
    with pytest.raises(UsageError, match="--fit-pca"):
        fit_pca(vectors[:count], dim=dim)


@given(st.floats(-5, 5, width=32))
def test_quantizing_truncates(value: float) -> None:
    """255 steps over [-2, 2]: never above the value, never a step below, ends included."""
    (level,) = quantize(np.array([value], np.float32))
    clipped = min(2.0, max(-2.0, value))
    assert level <= (clipped + 2) * 255 / 4 + 1e-3
    assert level > (clipped + 2) * 255 / 4 - 1 - 1e-3
    assert {-2.0: level == 0, 2.0: level == 255}.get(clipped, True)


def test_calling_projects_and_quantizes() -> None:
    pca = Pca(np.array([[2.0, 0.0]], np.float32), np.array([1.0, 7.0], np.float32))
    np.testing.assert_array_equal(pca(np.array([[1.5, 0], [1.0, 9], [9, 9]], np.float32)), [[191], [127], [255]])


def test_files_keep_the_official_names(tmp_path: Path, vectors: np.ndarray) -> None:
    pca = fit_pca(vectors, dim=8)
    save_pca(pca, tmp_path / "pca.npz")
    with np.load(tmp_path / "pca.npz") as arrays:
        assert set(arrays) == {"pca_eigen_vectors", "pca_means"}
    again = load_pca(tmp_path / "pca.npz", dim_in=40, dim=8)
    np.testing.assert_array_equal(again(vectors), pca(vectors))


def test_means_may_be_a_column(tmp_path: Path) -> None:
    np.savez(tmp_path / "pca.npz", pca_eigen_vectors=np.eye(3), pca_means=np.ones((3, 1)))
    assert load_pca(tmp_path / "pca.npz", dim_in=3, dim=3).means.shape == (3,)


def _no_file(_: Path) -> None: ...


def _text(path: Path) -> None:
    path.write_text("not an npz")


def _other_names(path: Path) -> None:
    np.savez(path, a=np.eye(128))


def _other_shape(path: Path) -> None:
    np.savez(path, pca_eigen_vectors=np.eye(64), pca_means=np.zeros(64))


def _pickled(path: Path) -> None:
    np.savez(path, pca_eigen_vectors=np.array([{}], dtype=object), pca_means=np.zeros(128))


def _said_to_be_encrypted(path: Path) -> None:
    np.savez(path, pca_eigen_vectors=np.eye(128), pca_means=np.zeros(128))
    data = bytearray(path.read_bytes())
    data[data.index(b"PK\x01\x02") + 8] |= 1  # of the first file's flags in the directory at the end
    data[data.index(b"PK\x03\x04") + 6] |= 1
    path.write_bytes(data)


@pytest.mark.parametrize("make", [_no_file, _text, _other_names, _other_shape, _pickled, _said_to_be_encrypted])
def test_a_file_that_does_not_fit_is_named_in_one_line(tmp_path: Path, make) -> None:
    path = tmp_path / "pca.npz"
    make(path)
    with pytest.raises(WeightsError, match=r"pca\.npz") as error:
        load_pca(path, dim_in=128)
    assert "\n" not in str(error.value)
