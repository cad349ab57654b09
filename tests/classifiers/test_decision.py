"""What a bundle decides, and how far it can be believed."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers import calibration
from classifiers.background import known_scores
from classifiers.calibration import (
    fit_sigmoid,
    fit_temperature,
    log_scores,
    logit,
    mean_nll,
    sigmoid,
    softmax,
)
from classifiers.decision import Decision, cross_fitted, fit_decision, select_scores
from classifiers.heads import HeadScores
from classifiers.measures.measured import RowFacts, measure_rows
from classifiers.measures.metrics import measure
from classifiers.measures.rejection import measure_rejection
from classifiers.measures.reliability import measure_calibration
from ingest.audioset.class_sets import Mode

N, CLASSES = 400, 4
SEEDS = st.integers(0, 10_000)


def single(seed: int, *, sharpness: float = 3.0, background: bool = True) -> tuple[np.ndarray, HeadScores]:
    """Truth and scores of a head that is right more often than not and too sure of itself; a third is background."""
    rng = np.random.default_rng(seed)
    truth = np.eye(CLASSES, dtype=np.float32)[rng.integers(0, CLASSES, N)]
    if background:
        truth[rng.random(N) < 1 / 3] = 0
    scores = softmax(sharpness * (1.5 * truth + rng.normal(0, 1, truth.shape))).astype(np.float32)
    known = sigmoid(4 * truth.max(axis=1) - 3 + rng.normal(0, 2, N)).astype(np.float32)
    return truth, HeadScores(scores, known=known if background else None)


def multi(seed: int, n_classes: int = CLASSES) -> tuple[np.ndarray, HeadScores]:
    rng = np.random.default_rng(seed)
    truth = (rng.random((N, n_classes)) < 0.2).astype(np.float32)
    return truth, HeadScores(sigmoid(3 * (truth + rng.normal(0, 1, truth.shape)) + 2).astype(np.float32))


@given(SEEDS, st.floats(0.2, 1.0))
def test_the_working_point_keeps_what_it_promises_on_the_rows_it_was_chosen_on(seed: int, keep: float) -> None:
    truth, said = single(seed)
    decision = fit_decision(truth, said, "single", keep)
    answers = decision.decide(decision.calibrated(said))
    kept = (answers.answer >= 0)[truth.any(axis=1)].mean()
    assert keep <= kept <= keep + 0.02
    assert (answers.present.sum(axis=1) == (answers.answer >= 0)).all()


@given(SEEDS)
def test_calibration_leaves_the_order_as_it_was(seed: int) -> None:
    truth, said = single(seed)
    after = fit_decision(truth, said, "single").calibrated(said)
    np.testing.assert_array_equal(np.argsort(after.scores.argmax(axis=1)), np.argsort(said.scores.argmax(axis=1)))
    assert said.known is not None
    assert after.known is not None
    assert (np.diff(after.known[np.argsort(said.known, kind="stable")]) >= 0).all()
    assert after.known.min() >= 0
    assert after.known.max() <= 1
    truth, said = multi(seed)
    after = fit_decision(truth, said, "multi").calibrated(said)
    for before, now in zip(said.scores.T, after.scores.T, strict=True):
        assert (np.diff(now[np.argsort(before, kind="stable")]) >= 0).all()


@given(SEEDS, st.floats(0.3, 6))
def test_the_temperature_never_raises_the_loss_of_the_rows_it_was_chosen_on(seed: int, sharpness: float) -> None:
    truth, said = single(seed, sharpness=sharpness, background=False)
    logits = log_scores(said.scores)
    assert mean_nll(truth, logits / fit_temperature(truth, logits)) <= mean_nll(truth, logits)


def test_a_head_whose_scores_lie_close_together_is_calibrated_too() -> None:
    """Naive Bayes of fifty classes scores all of them near .02, and is right all the same."""
    rng = np.random.default_rng(0)
    truth = np.eye(50, dtype=np.float32)[rng.integers(0, 50, 1000)]
    sharp = 6 * truth + rng.normal(0, 1.5, truth.shape)
    said = HeadScores(softmax(sharp / 400).astype(np.float32))
    assert said.scores.max() < 0.03
    decision = fit_decision(truth, said, "single")
    assert error_of(truth, decision.calibrated(said).scores, "single") < 0.05
    few = 0.1 * truth[:5].astype(np.float64)  # all of five rows right is no proof
    assert 0.7 < softmax(few / fit_temperature(truth[:5], few)).max(axis=1).mean() < 0.95


def test_many_rows_and_classes_take_a_temperature_from_some(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    truth = np.eye(200, dtype=np.float32)[rng.integers(0, 200, 2000)]
    logits = 2 * (4 * truth + rng.normal(0, 1, truth.shape))
    whole = fit_temperature(truth, logits)
    monkeypatch.setattr(calibration, "CELLS", 10_000)
    assert fit_temperature(truth, logits) == pytest.approx(whole, rel=0.1)


def test_calibration_mends_a_head_that_is_too_sure() -> None:
    truth, said = single(0, background=False)
    fresh, unseen = single(1, background=False)
    decision = fit_decision(truth, said, "single")
    assert decision.temperature > 1.5
    before = error_of(fresh, unseen.scores, "single")
    assert error_of(fresh, decision.calibrated(unseen).scores, "single") < before / 2
    truth, said = multi(0)
    fresh, unseen = multi(1)
    after = fit_decision(truth, said, "multi").calibrated(unseen)
    assert error_of(fresh, after.scores, "multi") < error_of(fresh, unseen.scores, "multi") / 3


def error_of(truth: np.ndarray, scores: np.ndarray, mode: str) -> float:
    return measure_calibration(truth > 0.5, scores, mode).ece


def test_the_sigmoid_finds_what_made_the_data_and_agrees_with_scikit_learn() -> None:
    from sklearn.linear_model import LogisticRegression

    rng = np.random.default_rng(0)
    x = rng.normal(0, 2, 20_000)
    truth = rng.random(len(x)) < sigmoid(0.7 * x - 1.2)
    slope, offset = fit_sigmoid(truth, x)
    assert (slope, offset) == pytest.approx((0.7, -1.2), abs=0.06)
    theirs = LogisticRegression(C=np.inf).fit(x[:, None], truth)
    assert (slope, offset) == pytest.approx((theirs.coef_[0, 0], theirs.intercept_[0]), abs=0.01)
    assert fit_sigmoid(np.ones(5, bool), x[:5]) == (1.0, 0.0)


def test_scores_worse_than_chance_become_about_the_share_that_is_right() -> None:
    rng = np.random.default_rng(0)
    truth = rng.random(2000) < 0.1
    x = np.where(truth, -8, -4) + rng.normal(0, 1, 2000)  # the wrong way round, as it may be of few rows out of fold
    slope, offset = fit_sigmoid(truth, x)
    assert slope > 0
    scores = sigmoid(slope * x + offset)
    assert scores.mean() == pytest.approx(truth.mean(), abs=0.002)
    assert np.ptp(scores) < 0.01


def test_known_is_even_at_one_half_where_background_is_as_common_as_the_classes() -> None:
    truth, said = single(3)
    after = fit_decision(truth, said, "single").calibrated(said)
    assert after.known is not None
    has_class = truth.any(axis=1)
    evenly = (after.known[has_class].mean() + after.known[~has_class].mean()) / 2
    assert evenly == pytest.approx(0.5, abs=0.02)


def test_a_head_that_knows_nothing_does_not_find_a_rare_class_everywhere() -> None:
    truth = (np.arange(N) % 50 == 0).astype(np.float32)[:, None]
    said = HeadScores(np.full((N, 1), 0.3, np.float32))
    decision = fit_decision(truth, said, "multi")
    calibrated = decision.calibrated(said)
    assert calibrated.scores[0, 0] == pytest.approx(truth.mean(), abs=0.01)
    assert not decision.decide(calibrated).present.any()
    decision = fit_decision(1 - truth, said, "multi")
    assert decision.decide(decision.calibrated(said)).present.all()


def test_rare_classes_of_multi_share_the_sigmoid_and_the_threshold_of_all() -> None:
    truth, said = multi(0, 6)
    truth[:, 4:] = 0
    truth[:3, 4] = 1
    decision = fit_decision(truth, said, "multi")
    assert decision.slopes[4] == decision.slopes[5] != decision.slopes[0]
    assert decision.thresholds[4] == decision.thresholds[5]


def test_what_is_reported_was_not_chosen_on_the_same_rows() -> None:
    """A group's answers do not change when its own truth does."""
    truth, said = single(0)
    groups = np.arange(N) % 5
    scores, answers = cross_fitted(truth, said, groups, "single")
    changed = truth.copy()
    changed[groups == 2] = np.roll(changed[groups == 2], 1, axis=1)
    again, answers_again = cross_fitted(changed, said, groups, "single")
    own = groups == 2
    np.testing.assert_array_equal(scores.scores[own], again.scores[own])
    np.testing.assert_array_equal(answers.answer[own], answers_again.answer[own])
    assert not np.array_equal(scores.scores[~own], again.scores[~own])


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_a_decision_survives_json(mode: str) -> None:
    truth, said = single(0) if mode == "single" else multi(0)
    decision = fit_decision(truth, said, mode)  # type: ignore[arg-type]
    assert Decision.from_json(decision.to_json()) == decision
    assert decision != Decision.neutral(mode, CLASSES)  # type: ignore[arg-type]


def test_nothing_measured_changes_nothing() -> None:
    _, said = single(0)
    neutral = Decision.neutral("single", CLASSES)
    np.testing.assert_array_equal(neutral.calibrated(said).scores, said.scores)
    np.testing.assert_array_equal(neutral.decide(said).answer, said.scores.argmax(axis=1))


def test_a_head_without_background_is_known_by_its_calibrated_best_score() -> None:
    truth, said = single(0, background=False)
    decision = fit_decision(truth, said, "single", 0.8)
    after = decision.calibrated(said)
    np.testing.assert_array_equal(known_scores(after, "single"), after.scores.max(axis=1))
    assert (decision.decide(after).answer >= 0).mean() == pytest.approx(0.8, abs=0.01)


def test_rejection_by_hand() -> None:
    truth = np.array([[1, 0], [1, 0], [1, 0], [0, 1], [0, 0], [0, 0], [0, 0], [0, 0]], np.float32)
    scores = np.array([[0.9, 0.1]] * 3 + [[0.2, 0.8]] * 3 + [[0.9, 0.1]] * 2, np.float32)
    said = HeadScores(scores, known=np.array([0.9, 0.8, 0.3, 0.7, 0.6, 0.5, 0.4, 0.1], np.float32))
    answers = replace(Decision.neutral("single", 2), known_threshold=0.55).decide(said)
    related = np.array([True] * 5 + [False] * 3)
    found = measure_rejection(truth, said, answers, ("a", "b"), keep=0.75, related=related)
    assert found.n == 4
    assert (found.n_unrelated, found.accepted_unrelated) == (3, pytest.approx(2 / 3))
    assert found.auc_unrelated == pytest.approx(10 / 12)
    assert found.auc == pytest.approx(13 / 16)
    assert (found.kept, found.accepted) == (0.75, 0.25)
    assert found.accepted_at_keep == 0.75 if found.shares["a"] else 0.0
    assert sum(found.shares.values()) == pytest.approx(1)
    assert found.largest_share_ratio == pytest.approx(max(found.shares["a"] / 0.75, found.shares["b"] / 0.25))


def test_background_taken_for_a_class_without_rows_has_no_share_to_compare_with() -> None:
    truth = np.array([[1, 0], [1, 0], [0, 0], [0, 0]], np.float32)
    scores = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.9, 0.1]], np.float32)
    said = HeadScores(scores, known=np.array([0.9, 0.8, 0.95, 0.1], np.float32))
    answers = Decision.neutral("single", 2).decide(said)
    found = measure_rejection(truth, said, answers, ("a", "b"), keep=0.9, related=np.zeros(4, bool))
    assert found.shares == {"a": 0, "b": 1}
    assert found.largest_share_ratio is None


def test_calibration_error_by_hand() -> None:
    ten = np.full((10, 1), 0.9)
    assert error_of(np.array([[1]] * 9 + [[0]]), ten, "multi") == pytest.approx(0)
    assert error_of(np.array([[1]] * 5 + [[0]] * 5), ten, "multi") == pytest.approx(0.4)


def test_logit_and_sigmoid_undo_each_other_and_scores_are_chosen() -> None:
    np.testing.assert_allclose(sigmoid(logit([0.1, 0.5, 0.9])), [0.1, 0.5, 0.9])
    assert len(select_scores(single(0)[1], np.arange(N) < 7).scores) == 7


def test_how_well_classes_are_ranked_does_not_hang_on_how_they_are_calibrated() -> None:
    """Rare classes get another calibration from each group of rows; that must not shuffle rows of different groups."""
    truth, said = multi(0)
    truth[:, 0] = np.arange(N) % 50 == 0
    names = tuple(map(str, range(CLASSES)))
    calibrated, decided = cross_fitted(truth, said, np.arange(N) % 5, "multi")
    keys = [str(i) for i in range(N)]
    facts = RowFacts(keys, keys, keys, np.zeros(N), np.ones(N), np.zeros(N, bool))
    measured = measure_rows(truth, said, calibrated, decided, rows=facts, class_names=names, mode="multi")
    plain = measure(truth, said.scores, names, "multi")
    assert (measured.metrics.mAP, measured.metrics.auc) == (plain.mAP, plain.auc)
    assert measured.metrics.mAP != measure(truth, calibrated.scores, names, "multi").mAP
    assert measured.intervals.overall["mAP"][0] < plain.mAP < measured.intervals.overall["mAP"][1]
    np.testing.assert_array_equal(measured.scores, calibrated.scores)


@pytest.mark.parametrize("mode", ["multi", "single"])
def test_scores_of_two_values_only_are_told_apart_when_the_next_training_shifts_them(mode: Mode) -> None:
    truth = np.repeat([[1.0], [0.0]], 100, axis=0).astype(np.float32)
    said = np.where(truth > 0, 0.8, 0.2).astype(np.float32)
    said[::10] = 1 - said[::10]
    decision = fit_decision(truth, HeadScores(said, known=said[:, 0]), mode, keep=0.85)
    shifted = HeadScores(said - np.float32(0.01), known=said[:, 0] - np.float32(0.01))
    present = decision.decide(decision.calibrated(shifted)).present
    np.testing.assert_array_equal(present, said > 0.5)
