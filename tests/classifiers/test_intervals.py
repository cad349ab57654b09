"""Intervals, calibration and slices: against scikit-learn, against simulated truth."""

import json

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from classifiers.measures.intervals import OVERALL, draw_sources, interval, measure_intervals, n_replicates, replicate
from classifiers.measures.metrics import answers, measure
from classifiers.measures.reliability import N_BINS, measure_calibration, measure_confidence
from classifiers.measures.slices import MAX_SLICES, NOT_STATED, OTHERS, measure_slices

NAMES = ("a", "b", "c")
TIED = arrays(np.float64, (40, 3), elements=st.sampled_from(np.linspace(0, 1, 9).tolist()))
WEIGHTS = arrays(np.uint16, 40, elements=st.integers(0, 3))


@settings(deadline=None, max_examples=12)
@given(arrays(np.int8, (40, 3), elements=st.integers(0, 1)), TIED, WEIGHTS)
def test_replicates_agree_with_scikit_learns_weighted_measures(
    labels: np.ndarray, scores: np.ndarray, drawn: np.ndarray
) -> None:
    """A row that was drawn twice counts twice: what scikit-learn calls sample_weight; equal scores and all."""
    from sklearn import metrics as sk

    assume(drawn.any())
    truth, said = labels > 0, scores >= 0.5
    made = replicate(truth, scores, said, drawn[None], "multi")
    for c in range(3):
        positives, negatives = drawn[truth[:, c]].sum(), drawn[~truth[:, c]].sum()
        if positives:
            expected = sk.average_precision_score(truth[:, c], scores[:, c], sample_weight=drawn)
            assert made.per_class["ap"][0, c] == pytest.approx(expected)
            expected = sk.recall_score(truth[:, c], said[:, c], sample_weight=drawn)
            assert made.per_class["recall"][0, c] == pytest.approx(expected)
        else:
            assert np.isnan(made.per_class["ap"][0, c])
        if positives and negatives:
            one = replicate(truth[:, [c]], scores[:, [c]], said[:, [c]], drawn[None], "multi").overall["auc"][0]
            assert one == pytest.approx(sk.roc_auc_score(truth[:, c], scores[:, c], sample_weight=drawn))


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_the_first_replicate_is_the_rows_as_they_are(mode: str) -> None:
    rng = np.random.default_rng(0)
    truth, scores = np.eye(3)[rng.integers(0, 3, 60)] > 0, rng.random((60, 3))
    drawn = draw_sources([f"s{i // 2}" for i in range(60)], rng, 20)
    made, whole = replicate(truth, scores, answers(scores, mode), drawn, mode), measure(truth, scores, NAMES, mode)
    for name in OVERALL:
        assert made.overall[name][0] == pytest.approx(getattr(whole, name))
    for c, row in enumerate(whole.per_class):
        for name in ("ap", "recall", "precision", "f1"):
            assert made.per_class[name][0, c] == pytest.approx(getattr(row, name))


def test_rows_of_a_source_are_drawn_together() -> None:
    drawn = draw_sources(["x", "y", "x", "z", "y"], np.random.default_rng(0), 50)
    assert drawn.shape == (51, 5)
    np.testing.assert_array_equal(drawn[:, 0], drawn[:, 2])
    np.testing.assert_array_equal(drawn[:, 1], drawn[:, 4])
    assert set(drawn[1:, [0, 1, 3]].sum(axis=1)) == {3}


def simulated(rng: np.random.Generator, sources: int, rows: int) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Rows of a source are right or wrong together, most of the time; 0.7 of them are right in the end."""
    skill = rng.beta(0.7, 0.3, sources)
    right = rng.random((sources, rows)) < skill[:, None]
    truth = np.eye(2)[rng.integers(0, 2, sources * rows)] > 0
    scores = np.where(right.reshape(-1, 1), truth, ~truth) * 0.5 + rng.random((len(truth), 1)) * 0.1
    return truth, scores, [f"s{i}" for i in np.repeat(np.arange(sources), rows)]


def test_intervals_hold_the_truth_as_often_as_they_say_and_row_by_row_ones_do_not() -> None:
    rng, held, held_by_row = np.random.default_rng(0), 0, 0
    for _ in range(100):
        truth, scores, sources = simulated(rng, 60, 5)
        said = answers(scores, "single")
        for names, by_row in ((sources, False), ([str(i) for i in range(len(truth))], True)):
            drawn = draw_sources(names, rng, 200)
            low, high = interval(replicate(truth, scores, said, drawn, "single").overall["accuracy"]) or (0, 0)
            held, held_by_row = (
                held + (not by_row and low <= 0.7 <= high),
                held_by_row + (by_row and low <= 0.7 <= high),
            )
    assert held >= 90
    assert held_by_row < 80


def test_intervals_of_rare_classes_hold_the_truth() -> None:
    """Unmoved, replicates of mAP would lie too high: they repeat rows, and few positives then rank together."""
    rng, names = np.random.default_rng(1), tuple(f"c{i}" for i in range(30))
    sources = [f"s{i // 3}" for i in range(450)]

    def draw() -> tuple[np.ndarray, np.ndarray]:
        truth = rng.random((450, 30)) < 0.02
        alike = np.repeat(rng.normal(0, 0.7, (150, 30)), 3, axis=0)
        return truth, truth * 1.5 + alike + rng.normal(0, 0.7, truth.shape)

    expected = np.mean([measure(*draw(), names, "multi").mAP for _ in range(60)])
    held, held_unmoved = 0, 0
    for _ in range(40):
        truth, scores = draw()
        drawn = draw_sources(sources, rng, 100)
        values = replicate(truth, scores, scores > 1, drawn, "multi").overall["mAP"]
        low, high = interval(values) or (0, 0)
        held += low <= expected <= high
        low, high = np.quantile(values[1:], [0.025, 0.975])
        held_unmoved += low <= expected <= high
    assert held >= 35
    assert held_unmoved < held


def test_what_cannot_be_said_has_no_interval() -> None:
    truth = np.eye(3)[[0, 0, 1, 1, 1, 0]] > 0
    scores = np.random.default_rng(0).random((6, 3))
    said = answers(scores, "single")
    one = measure_intervals(truth, scores, said, sources=["x"] * 6, class_names=NAMES, mode="single")
    assert set(one.overall.values()) == {None}
    sources = ["x", "x", "y", "z", "z", "x"]
    some = measure_intervals(truth, scores, said, sources=sources, class_names=NAMES, mode="single")
    assert some.per_class["a"]["ap"] is None  # of one source
    assert some.per_class["b"]["ap"] is not None
    assert some.per_class["c"]["ap"] is None  # without rows
    assert some.overall["accuracy"] is not None
    json.dumps(some.to_json(), allow_nan=False)


def test_an_interval_holds_what_the_rows_themselves_gave() -> None:
    """One replicate of a thousand lacks a class, and its mean over the classes is another: all others stay."""
    low, high = interval(np.array([1 / 3, 0.5, *[1 / 3] * 999])) or (0, 0)
    assert low <= 1 / 3 <= high
    assert high - low < 1e-3


def test_many_rows_and_classes_get_fewer_replicates() -> None:
    assert n_replicates(400, 10) == 1000
    assert n_replicates(20_000, 527) == 100


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_calibration_agrees_with_scikit_learn(mode: str) -> None:
    from sklearn.calibration import calibration_curve
    from sklearn.metrics import brier_score_loss

    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(3), 500)
    truth = np.eye(3)[[rng.choice(3, p=row**2 / (row**2).sum()) for row in scores]] > 0
    made = measure_calibration(truth, scores, mode)
    happened, said = truth.ravel(), scores.ravel()
    if mode == "single":
        happened, said = truth[np.arange(500), scores.argmax(axis=1)], scores.max(axis=1)
    right, confidence = calibration_curve(happened, said, n_bins=N_BINS)
    assert [v for v in made.right if v is not None] == pytest.approx(right)
    assert [v for v in made.confidence if v is not None] == pytest.approx(confidence)
    assert made.brier == pytest.approx(brier_score_loss(happened, said))
    count = np.array([n for n in made.count if n])
    assert made.ece == pytest.approx((np.abs(right - confidence) * count).sum() / len(said))
    assert made.n == sum(made.count) == len(said)


def test_scores_that_can_be_believed_have_little_error_and_boasts_have_much() -> None:
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(4), 5000)
    truth = np.eye(4)[[rng.choice(4, p=row) for row in scores]] > 0
    boast = scores**5 / (scores**5).sum(axis=1, keepdims=True)
    assert measure_calibration(truth, scores, "single").ece < 0.03
    assert measure_calibration(truth, boast, "single").ece > 0.15


def test_confidence_counts_every_answer() -> None:
    scores = np.array([[0.9, 0.1], [0.3, 0.7], [1.0, 0.0], [0.6, 0.4]])
    truth = np.eye(2)[[0, 0, 0, 1]] > 0
    made = measure_confidence(truth, scores, answers(scores, "single"))
    assert (made.right, made.wrong) == (2, 2)
    assert (made.mean_right, made.mean_wrong) == (pytest.approx(0.95), pytest.approx(0.65))
    assert made.right_bins[-1] == 1  # 1.0 is in the last bin, not behind it
    nothing = measure_confidence(truth, scores, np.zeros_like(truth))
    assert (nothing.mean_right, nothing.mean_wrong) == (None, None)


def test_slices_are_measured_apart_and_missing_values_are_one() -> None:
    rng = np.random.default_rng(0)
    truth = np.eye(3)[rng.integers(0, 3, 90)] > 0
    good = np.arange(90) < 30
    scores = np.where(good[:, None], truth * 0.8, ~truth * 0.4) + 0.01
    values = ["f"] * 30 + ["m"] * 40 + [""] * 20
    made = measure_slices(
        truth, scores, answers(scores, "single"), values=values, sources=[str(i // 2) for i in range(90)],
        class_names=NAMES, mode="single",
    )  # fmt: skip
    assert [(part.value, part.metrics.n, part.sources) for part in made] == [
        ("m", 40, 20), ("f", 30, 15), (NOT_STATED, 20, 10),
    ]  # fmt: skip
    by_value = {part.value: part.metrics.accuracy for part in made}
    assert by_value["f"] == 1
    assert by_value["m"] == 0
    assert made[1].to_json()["interval"] == {"accuracy": (1.0, 1.0)}


def test_many_different_numbers_are_bands_in_their_order() -> None:
    ages = [str(18 + i % 60) for i in range(120)]
    truth = np.eye(3)[np.arange(120) % 3] > 0
    common = {"sources": [str(i) for i in range(121)], "class_names": NAMES, "mode": "single"}
    made = measure_slices(truth, truth * 0.9, truth, values=ages, **common)
    assert [(part.value, part.metrics.n) for part in made] == [
        ("10 to under 20", 4), *((f"{d} to under {d + 10}", 20) for d in (20, 30, 40, 50, 60)), ("70 to under 80", 16),
    ]  # fmt: skip
    ages[::3] = [""] * 40
    assert measure_slices(truth, truth * 0.9, truth, values=ages, **common)[-1].value == NOT_STATED
    few = [str(i % 3) for i in range(120)]
    assert {part.value for part in measure_slices(truth, truth * 0.9, truth, values=few, **common)} == {"0", "1", "2"}
    ages[1] = "old"
    assert "20 to under 30" not in {m.value for m in measure_slices(truth, truth * 0.9, truth, values=ages, **common)}


def test_too_many_values_share_a_slice() -> None:
    truth = np.eye(3)[np.arange(120) % 3] > 0
    values = [f"v{i % 60}" for i in range(120)]
    made = measure_slices(
        truth, truth * 0.9, truth, values=values, sources=[str(i) for i in range(120)], class_names=NAMES, mode="single"
    )
    assert len(made) == MAX_SLICES
    assert made[-1].value == OTHERS
    assert sum(part.metrics.n for part in made) == 120
