"""Heads are asked about many rows some at a time, and what they saw of patches is kept of one class."""

from dataclasses import replace

import numpy as np
import pytest

from classifiers import scoring
from classifiers.decision import cross_fitted
from classifiers.heads import HeadScores
from classifiers.measures.measured import PatchEvidence, RowFacts, measure_rows
from classifiers.report.examples import choose_examples
from classifiers.scoring import score_rows

N, PATCHES, CLASSES, DIM = 70, 4, 3, 5


class Watching:
    """A head whose scores tell which row it was asked about, and which remembers how many at a time."""

    def __init__(self, *, known: bool = False) -> None:
        self.known, self.asked = known, list[int]()

    def predict(self, vectors: np.ndarray, mask: np.ndarray) -> HeadScores:
        self.asked.append(len(vectors))
        row = vectors[:, 0, 0]
        scores = np.stack([row / 100, 1 - row / 100, np.zeros(len(row))], axis=1).astype(np.float32)
        attention = mask[..., None] / mask.sum(axis=1)[:, None, None] * np.ones(CLASSES)
        return HeadScores(scores, scores[:, None] * mask[..., None], attention, row / 200 if self.known else None)


@pytest.mark.parametrize("known", [False, True])
def test_rows_are_asked_in_parts_and_come_back_in_their_order(monkeypatch: pytest.MonkeyPatch, known: bool) -> None:
    rng = np.random.default_rng(0)
    vectors = np.broadcast_to(np.arange(N, dtype=np.float32)[:, None, None], (N, PATCHES, DIM))
    mask = np.arange(PATCHES) < rng.integers(1, PATCHES + 1, N)[:, None]
    rows = rng.permutation(N)[:50]
    monkeypatch.setattr(scoring, "MOST_ROWS", 16)
    head = Watching(known=known)
    said, seen = score_rows(head.predict, vectors, mask, rows)
    assert head.asked == [16, 16, 16, 2]
    whole = Watching(known=known).predict(vectors[rows], mask[rows])
    np.testing.assert_array_equal(said.scores, whole.scores)
    assert (said.known is None) == (not known)
    if known:
        np.testing.assert_array_equal(said.known, whole.known)
    assert said.patch_scores is said.attention is None
    assert seen is not None
    expected = PatchEvidence.of(whole, mask[rows])
    assert expected is not None
    for name in ("best", "scores", "attention", "n_patches"):
        np.testing.assert_array_equal(getattr(seen, name), getattr(expected, name))
    assert score_rows(head.predict, vectors, mask)[0].scores.shape == (N, CLASSES)


def test_attention_is_shown_of_the_class_that_it_was_paid_to() -> None:
    """Calibration may let another class of "multi" score best than the one whose patches were kept."""
    rng = np.random.default_rng(0)
    n = 400
    truth = (rng.random((n, 2)) < (0.5, 0.05)).astype(np.float32)
    scores = np.clip(np.stack([0.3 + 0.2 * truth[:, 0], 0.6 + 0.3 * truth[:, 1]], axis=1), 0, 1).astype(np.float32)
    raw = HeadScores((scores + rng.normal(0, 0.02, scores.shape)).astype(np.float32))
    keys = [f"r{i}" for i in range(n)]
    facts = RowFacts(keys, keys, [""] * n, np.zeros(n), np.full(n, 9.6), np.zeros(n, bool))
    calibrated, decided = cross_fitted(truth, raw, np.arange(n) % 5, "multi")
    best = raw.scores.argmax(axis=1)
    assert (best != calibrated.scores.argmax(axis=1)).any()
    attention = np.stack([np.tile([0.9, 0.05, 0.05], (n, 1)), np.tile([0.05, 0.05, 0.9], (n, 1))], axis=2)
    patches = PatchEvidence.of(replace(raw, patch_scores=attention, attention=attention), np.ones((n, 3), bool))
    measured = measure_rows(
        truth, raw, calibrated, decided, rows=facts, class_names=("first", "last"), mode="multi", patches=patches
    )
    shown = [one for one in choose_examples(measured) if one.patches]
    assert shown
    for one in shown:
        assert np.argmax([patch.attention for patch in one.patches]) == {"first": 0, "last": 2}[one.said]
