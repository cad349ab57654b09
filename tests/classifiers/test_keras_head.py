"""What stands around a network: how vectors are scaled, how many rows are scored at once."""

import numpy as np

from classifiers.networks.keras_head import batches, divisors


def test_a_dimension_is_divided_by_its_spread_unless_it_never_changes() -> None:
    spread = np.array([2.0, 1e-3, 1e-7, 0.0])
    np.testing.assert_allclose(divisors(spread), [2, 1e-3, 1, 1])
    np.testing.assert_allclose(divisors(1e30 * spread), [2e30, 1e27, 1e23, 1])
    np.testing.assert_allclose(divisors(1e-9 * spread), [2e-9, 1e-12, 1, 1])  # tiny vectors are vectors too
    assert np.isfinite(1 / divisors(1e-40 * spread)).all()


def test_rows_of_many_patches_are_scored_few_at_once() -> None:
    assert batches(1030, 10) == [slice(0, 512), slice(512, 1024), slice(1024, 1536)]
    assert batches(21, 1000) == [slice(0, 10), slice(10, 20), slice(20, 30)]
    assert batches(2, 10**6) == [slice(0, 1), slice(1, 2)]
    assert batches(0, 10) == []
