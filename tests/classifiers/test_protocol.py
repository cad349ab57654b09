import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.protocol import Split, check_no_leak, grouped_folds, make_splits, sources_of_classes
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
    assert len(splits) == 5
    with pytest.raises(UsageError, match="1 row without"):
        make_splits("folds", targets, sources, folds, np.random.default_rng(0))


def test_a_leak_is_an_error() -> None:
    with pytest.raises(UsageError, match="'b' has rows in both"):
        check_no_leak([Split("fold 1", np.array([0, 1]), np.array([2]))], ["a", "b", "b"])
    folds = np.array([1, 2, 1, 2], np.int32)
    with pytest.raises(UsageError, match="--protocol cv5"):
        make_splits("folds", np.eye(2, dtype=np.float32)[[0, 1, 0, 1]], list("aabb"), folds, np.random.default_rng(0))


def test_a_class_of_one_source_cannot_be_tested() -> None:
    targets = np.eye(2, dtype=np.float32)[[0, 0, 1, 1]]
    none = np.full(4, -1, np.int32)
    with pytest.raises(UsageError, match="class '2' has sounds of one source only"):
        make_splits("cv5", targets, ["a", "b", "c", "c"], none, np.random.default_rng(0))
    many = np.eye(9, dtype=np.float32)[[0, *range(9)]]
    none = np.full(10, -1, np.int32)
    with pytest.raises(UsageError, match=r"classes 'b', 'c', 'd', 'e', 'f' and 3 more have .* --min-sources 2"):
        make_splits("cv5", many, [*"abcdefghij"], none, np.random.default_rng(0), names="abcdefghi")
    with pytest.raises(UsageError, match="every class has sounds of one source"):
        make_splits("cv5", many[1:], [*"abcdefghi"], none[1:], np.random.default_rng(0), names="abcdefghi")


@given(st.integers(0, 500), st.integers(2, 12), st.integers(10, 40))
def test_every_training_part_holds_rows_with_and_without_each_class(seed: int, classes: int, n: int) -> None:
    """Also of classes that few sources have, or all but few, and that stand together by chance."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, classes)) < rng.choice([0.02, 0.1, 0.98], classes)).astype(np.float32)
    targets[rng.integers(0, n, classes), np.arange(classes)] = 1
    sources = [f"s{i // 2}" for i in range(n)]
    with_it, without = sources_of_classes(targets, sources)
    for column, has, lacks in zip(targets.T, with_it, without, strict=True):
        assert has == len({s for s, t in zip(sources, column, strict=True) if t})
        assert lacks == len({s for s, t in zip(sources, column, strict=True) if not t})
    targets = targets[:, (with_it > 1) & (without > 1)]
    if not targets.shape[1]:
        return
    _, splits = make_splits("cv5", targets, sources, np.full(n, -1, np.int32), rng)
    assert len(splits) == 5
    for split in splits:
        assert targets[split.train].any(axis=0).all()
        assert not targets[split.train].all(axis=0).any()


def test_one_fifth_is_held_out_that_tests_the_most_classes() -> None:
    targets = np.eye(6, dtype=np.float32)[[0] * 20 + [1] * 20 + [2, 2, 3, 3, 4, 4, 5, 5]]
    sources = [f"s{i}" for i in range(len(targets))]
    for seed in range(10):
        none = np.full(len(targets), -1, np.int32)
        _, (split,) = make_splits("split", targets, sources, none, np.random.default_rng(seed))
        assert len(split.test) in (9, 10)
        assert targets[split.test].any(axis=0).sum() >= 4


def test_none_has_no_splits() -> None:
    targets = np.eye(2, dtype=np.float32)[[0, 1]]
    assert make_splits("none", targets, ["a", "b"], np.full(2, -1, np.int32), np.random.default_rng(0)) == ("none", [])
