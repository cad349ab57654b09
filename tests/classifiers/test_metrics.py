import json
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from app.terminal.tables import metrics_table
from classifiers.measures.metrics import Metrics, d_prime, measure, roc_auc
from ingest.errors import FormatError

NAMES = ("a", "b", "c")
SCORES = arrays(np.float64, (40, 3), elements=st.sampled_from(np.linspace(0, 1, 9).tolist()))  # with many equals


@settings(deadline=None)
@given(arrays(np.int8, 40, elements=st.integers(0, 2)), SCORES)
def test_single_agrees_with_scikit_learn(labels: np.ndarray, scores: np.ndarray) -> None:
    from sklearn import metrics as sk

    truth, said = np.eye(3)[labels], scores.argmax(axis=1)
    ours = measure(truth, scores, NAMES, "single")
    assert ours.accuracy == pytest.approx(sk.accuracy_score(labels, said))
    np.testing.assert_array_equal(ours.confusion, sk.confusion_matrix(labels, said, labels=[0, 1, 2]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns of predicted classes that do not occur
        assert ours.balanced_accuracy == pytest.approx(sk.balanced_accuracy_score(labels, said))
    table = sk.precision_recall_fscore_support(labels, said, labels=[0, 1, 2], zero_division=0)
    for c, row in enumerate(ours.per_class):
        *measures, support = (column[c] for column in table)
        assert row.support == support
        assert (row.precision, row.recall, row.f1) == (pytest.approx(measures) if support else (None, None, None))


@settings(deadline=None)
@given(arrays(np.int8, (40, 3), elements=st.integers(0, 1)), SCORES)
def test_multi_agrees_with_scikit_learn(truth: np.ndarray, scores: np.ndarray) -> None:
    from sklearn import metrics as sk

    ours = measure(truth, scores, NAMES, "multi")
    assert ours.accuracy == pytest.approx(sk.accuracy_score(truth, scores >= 0.5))
    np.testing.assert_array_equal(ours.confusion, sk.multilabel_confusion_matrix(truth, scores >= 0.5))
    scored = [c for c in range(3) if 0 < truth[:, c].sum() < 40]
    for c, row in enumerate(ours.per_class):
        if truth[:, c].any():
            assert row.ap == pytest.approx(sk.average_precision_score(truth[:, c], scores[:, c]))
        else:
            assert row.ap is None
        expected = sk.roc_auc_score(truth[:, c], scores[:, c]) if c in scored else None
        assert row.auc == (pytest.approx(expected) if expected is not None else None)
    assert ours.classes_scored == len(scored)
    if scored:
        expected = np.mean([sk.average_precision_score(truth[:, c], scores[:, c]) for c in scored])
        assert ours.mAP == pytest.approx(expected)
    else:
        assert ours.mAP is ours.auc is ours.d_prime is None


FEW = st.integers(1, 6).flatmap(
    lambda n: st.tuples(
        arrays(np.int8, (n, 3), elements=st.integers(0, 1)),
        arrays(np.float32, (n, 3), elements=st.sampled_from([0.0, 0.2, 0.5, 1.0])),
    )
)


@given(FEW)
def test_a_handful_of_rows_agrees_with_scikit_learn_too(rows: tuple[np.ndarray, np.ndarray]) -> None:
    """One row, one score for all, a class with no rows or with all of them: what they define, we say the same of."""
    from sklearn import metrics as sk

    truth, scores = rows
    said = scores >= 0.5
    ours = measure(truth, scores, NAMES, "multi")
    both = [c for c in range(3) if 0 < truth[:, c].sum() < len(truth)]
    for c, row in enumerate(ours.per_class):
        table = sk.precision_recall_fscore_support(truth[:, c], said[:, c], average="binary", zero_division=0)
        if row.support:
            assert (row.precision, row.recall, row.f1) == pytest.approx(table[:3])
            assert row.ap == pytest.approx(sk.average_precision_score(truth[:, c], scores[:, c]))
        assert (row.auc is None) == (c not in both)
        if c in both:
            assert row.auc == pytest.approx(sk.roc_auc_score(truth[:, c], scores[:, c]))
    if both:
        each = [sk.balanced_accuracy_score(truth[:, c], said[:, c]) for c in both]
        assert ours.balanced_accuracy == pytest.approx(np.mean(each))
    assert 0 <= ours.balanced_accuracy <= 1
    json.dumps(ours.to_json(), allow_nan=False)


def test_thousands_of_classes_have_no_square_of_counts() -> None:
    labels = np.arange(600) % 510
    truth = np.eye(510, dtype=np.float32)[labels]
    names = tuple(map(str, range(510)))
    assert measure(truth, truth, names, "single").confusion is None
    few = measure(truth[:, :500][labels < 500], truth[:, :500][labels < 500], names[:500], "single")
    np.testing.assert_array_equal(few.confusion, np.diag([2] * 90 + [1] * 410))


@given(SCORES)
def test_measures_do_not_depend_on_the_order_of_rows(scores: np.ndarray) -> None:
    truth = np.eye(3)[np.arange(40) % 3]
    order = np.random.default_rng(0).permutation(40)
    one, other = measure(truth, scores, NAMES, "single"), measure(truth[order], scores[order], NAMES, "single")
    assert one.confusion == other.confusion
    assert (one.mAP, one.auc) == pytest.approx((other.mAP, other.auc))


def test_perfect_scores_measure_one_and_their_reverse_an_auc_of_zero() -> None:
    truth = np.eye(3)[np.arange(30) % 3]
    perfect = measure(truth, truth, NAMES, "single")
    assert (perfect.accuracy, perfect.balanced_accuracy, perfect.mAP, perfect.auc) == (1, 1, 1, 1)
    assert perfect.d_prime is None
    assert measure(truth, 1 - truth, NAMES, "multi").auc == 0


def test_d_prime_of_published_auc() -> None:
    """Hershey et al. 2017 print both: AUC .926 is d' 2.041, AUC .959 is d' 2.452 (their AUC is rounded)."""
    assert d_prime(0.926) == pytest.approx(2.041, abs=0.01)
    assert d_prime(0.959) == pytest.approx(2.452, abs=0.02)
    assert d_prime(0.5) == pytest.approx(0)


def test_equal_scores_are_chance() -> None:
    assert roc_auc(np.array([True, False, True, False, False]), np.zeros(5)) == 0.5


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_json_and_back(mode: str) -> None:
    truth = np.eye(3)[np.arange(9) % 2]  # class c has no row
    metrics = measure(truth, np.random.default_rng(0).random((9, 3)), NAMES, mode)
    nothing = {"support": 0} | dict.fromkeys(("precision", "recall", "f1", "ap", "auc"))
    assert metrics.to_json()["per_class"]["c"] == nothing
    assert metrics.classes_scored == 2
    text = json.dumps(metrics.to_json(), allow_nan=False)
    assert Metrics.from_json(json.loads(text)) == metrics
    earlier = json.loads(text)
    earlier["per_class"]["c"] |= {"precision": 0.0, "recall": 0.0, "f1": 0.0}
    assert Metrics.from_json(earlier) == metrics


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_a_class_without_rows_has_no_measures_and_is_in_no_mean(mode: str) -> None:
    """Said or not, it is as if it were none of the classes that are measured."""
    rng = np.random.default_rng(0)
    truth, scores = np.eye(3)[np.arange(30) % 2], rng.random((30, 3))
    said = scores == scores.max(axis=1, keepdims=True)
    assert said[:, 2].any()
    with_it, without = (measure(truth[:, :n], scores[:, :n], NAMES[:n], mode, said[:, :n]) for n in (3, 2))
    assert with_it.per_class[:2] == without.per_class
    for mean in ("balanced_accuracy", "mAP", "auc", "classes_scored"):
        assert getattr(with_it, mean) == getattr(without, mean), mean
    (line,) = [line for line in metrics_table(with_it).splitlines() if line.startswith("  c ")]
    assert line.split() == ["c", "–", "–", "–", "–", "0"]


@pytest.mark.parametrize(
    ("targets", "scores"),
    [
        (np.ones((2, 3)), np.ones((3, 3))),
        (np.ones((0, 3)), np.ones((0, 3))),
        (np.ones((2, 3)), np.full((2, 3), np.nan)),
    ],
)
def test_what_cannot_be_measured_is_an_error(targets: np.ndarray, scores: np.ndarray) -> None:
    with pytest.raises(FormatError, match="measure"):
        measure(targets, scores, NAMES, "single")
