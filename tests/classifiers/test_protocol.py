import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.protocol import PROTOCOLS, Split, check_no_leak, grouped_folds, make_splits
from ingest.errors import UsageError


def problem(n: int, classes: int, per_source: int, seed: int) -> tuple[np.ndarray, list[str]]:
    rng = np.random.default_rng(seed)
    source = np.sort(rng.integers(0, max(2 * classes, n // per_source), n))
    return np.eye(classes, dtype=np.float32)[source % classes], [f"s{s}" for s in source]


@given(st.integers(40, 200), st.integers(2, 5), st.integers(1, 4), st.integers(0, 99), st.integers(2, 5))
def test_a_source_has_one_fold_and_classes_spread(n: int, classes: int, per_source: int, seed: int, k: int) -> None:
    targets, sources = problem(n, classes, per_source, seed)
    folds = grouped_folds(targets, sources, k, np.random.default_rng(seed))
    assert all(len({f for f, s in zip(folds, sources, strict=True) if s == source}) == 1 for source in set(sources))
    largest = max(sources.count(source) for source in set(sources))
    for column in targets.T:
        per_fold = [column[folds == fold].sum() for fold in range(k)]
        assert max(per_fold) - min(per_fold) <= largest


@pytest.mark.parametrize("protocol", ["cv5", "split", "auto"])
@given(seed=st.integers(0, 50))
def test_no_protocol_leaks_and_the_seed_decides(protocol: str, seed: int) -> None:
    targets, sources = problem(120, 3, 3, seed)
    none = np.full(120, -1, np.int32)
    (_, splits), (_, again) = (make_splits(protocol, targets, sources, none, np.random.default_rng(seed)) for _ in "12")
    for split, twin in zip(splits, again, strict=True):
        assert not {sources[i] for i in split.train} & {sources[i] for i in split.test}
        assert sorted([*split.train, *split.test]) == list(range(120))
        np.testing.assert_array_equal(split.test, twin.test)
    tested = np.concatenate([split.test for split in splits])
    assert len(np.unique(tested)) == len(tested)
    assert protocol == "split" or len(tested) == 120


def test_auto_takes_the_data_sets_own_folds() -> None:
    targets, sources = np.eye(2, dtype=np.float32)[[0, 1] * 4], [f"s{i}" for i in range(8)]
    folds = np.array([1, 1, 2, 2, 3, 3, 7, 7], np.int32)
    name, splits = make_splits("auto", targets, sources, folds, np.random.default_rng(0))
    assert name == "folds"
    assert [split.name for split in splits] == ["fold 1", "fold 2", "fold 3", "fold 7"]
    assert splits[3].test.tolist() == [6, 7]


def test_auto_falls_back_when_a_row_has_no_fold() -> None:
    targets, sources = np.eye(2, dtype=np.float32)[[0, 1] * 4], [f"s{i}" for i in range(8)]
    folds = np.array([1, 1, 2, 2, 3, 3, 4, -1], np.int32)
    name, splits = make_splits("auto", targets, sources, folds, np.random.default_rng(0))
    assert name == "cv5"
    assert len(splits) == 4  # the rarer class has four sources
    with pytest.raises(UsageError, match="1 rows without"):
        make_splits("folds", targets, sources, folds, np.random.default_rng(0))


def test_a_leak_is_an_error() -> None:
    with pytest.raises(UsageError, match="'b' has rows in both"):
        check_no_leak([Split("fold 1", np.array([0, 1]), np.array([2]))], ["a", "b", "b"])
    folds = np.array([1, 2, 1, 2], np.int32)
    with pytest.raises(UsageError, match="--protocol cv5"):
        make_splits("folds", np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], list("aabb"), folds, np.random.default_rng(0))


def test_a_class_of_one_source_cannot_be_tested() -> None:
    targets = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    with pytest.raises(UsageError, match="one source only"):
        make_splits("cv5", targets, ["a", "b", "c", "c"], np.full(4, -1, np.int32), np.random.default_rng(0))


def test_none_has_no_splits_and_every_protocol_is_described() -> None:
    targets = np.eye(2, dtype=np.float32)[[0, 1]]
    assert make_splits("none", targets, ["a", "b"], np.full(2, -1, np.int32), np.random.default_rng(0)) == ("none", [])
    assert all(PROTOCOLS.values())
