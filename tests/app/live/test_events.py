"""Hysteresis: what begins high ends low, nothing in between makes a second event."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.live.events import Event, EventTracker, Thresholds
from classifiers.decision import Decision
from classifiers.heads import HeadScores

STEP_S, WINDOW_S = 0.96, 10.0
MULTI = Thresholds(np.array([0.5], np.float32), leave_share=0.6)


def track(
    scores: list[float], *, min_event_s: float = 0.0, thresholds: Thresholds = MULTI, finish: bool = True
) -> tuple[EventTracker, list[bool]]:
    """Scores of one class, window by window: the tracker, and in which windows an event was open."""
    tracker = EventTracker(["dog"], thresholds, step_s=STEP_S, min_event_s=min_event_s)
    present = []
    for index, score in enumerate(scores):
        tracker.step(np.array([score], np.float32), 1.0, index * STEP_S, index * STEP_S + WINDOW_S)
        present.append(bool(tracker.present()[0]))
    if finish:
        tracker.finish()
    return tracker, present


def by_definition(scores: list[float]) -> list[bool]:
    """Above 0.5, or above 0.3 without having been below it since it was above 0.5."""
    found = []
    for index in range(len(scores)):
        since_low = list(scores[: index + 1])
        while any(s < np.float32(0.3) for s in map(np.float32, since_low)):
            since_low.pop(0)
        found.append(any(np.float32(s) >= np.float32(0.5) for s in since_low))
    return found


SCORES = st.lists(st.one_of(st.floats(0, 1, width=32), st.sampled_from([0.29, 0.31, 0.49, 0.5, 0.51])), max_size=40)


@given(SCORES)
def test_presence_is_that_of_the_definition(scores: list[float]) -> None:
    leave = Thresholds(np.array([0.5], np.float32), leave_share=0.6)
    scores = [s for s in scores if abs(s - 0.3) > 1e-6]  # 0.6 * 0.5 is not quite 0.3
    assert track(scores, thresholds=leave)[1] == by_definition(scores)


@given(SCORES, st.sampled_from([0.0, 1.5, 4.0]))
def test_what_holds_of_every_event(scores: list[float], min_event_s: float) -> None:
    tracker, _ = track(scores, min_event_s=min_event_s)
    events = tracker.events()
    assert [event.number for event in events] == list(range(1, len(events) + 1))
    for event in events:
        assert not event.open
        assert 0 <= event.start_s < event.end_s <= (len(scores) - 1) * STEP_S + WINDOW_S
        assert event.peak >= 0.5
        assert event.peak == np.float32(scores[round(event.peak_s / STEP_S)])
        assert event.windows * STEP_S >= min_event_s
    every, _ = track(scores)
    assert sum(event.windows for event in events) <= sum(event.windows for event in every.events())


def test_hovering_about_the_threshold_is_one_event() -> None:
    tracker, present = track([0.1, 0.55, 0.45, 0.52, 0.4, 0.6, 0.35, 0.2, 0.1])
    assert present == [False, True, True, True, True, True, True, False, False]
    (event,) = tracker.events()
    assert (event.peak, event.windows) == (np.float32(0.6), 6)


def test_a_long_sound_is_found_from_its_first_window_to_its_last() -> None:
    """A sound from 20 to 50 s is in the windows that end after 20 s and begin before 50 s."""
    scores = [0.9 if i * STEP_S + WINDOW_S > 20 and i * STEP_S < 50 else 0.1 for i in range(80)]
    (event,) = track(scores)[0].events()
    assert event.start_s <= 20 <= event.start_s + STEP_S
    assert event.end_s - STEP_S <= 50 <= event.end_s


def test_a_short_sound_is_where_its_windows_overlap() -> None:
    """A sound from 20 to 21 s, heard only when a window has it whole."""
    scores = [0.9 if i * STEP_S + WINDOW_S > 21 and i * STEP_S < 20 else 0.1 for i in range(80)]
    (event,) = track(scores)[0].events()
    assert event.start_s <= 20
    assert event.end_s >= 21
    assert event.end_s - event.start_s < 4


def test_in_the_first_window_it_may_be_anywhere() -> None:
    (event,) = track([0.9, 0.9, 0.1])[0].events()
    assert (event.start_s, event.end_s) == (0.0, 10.0)


def test_what_is_too_short_is_no_event() -> None:
    assert track([0.1, 0.9, 0.1, 0.9, 0.1], min_event_s=1.5)[0].events() == ()
    (event,) = track([0.1, 0.9, 0.9, 0.1], min_event_s=1.5)[0].events()
    assert event.windows == 2


def test_an_event_is_told_when_it_begins_and_when_it_ends() -> None:
    tracker = EventTracker(["dog"], MULTI, step_s=STEP_S)
    said: list[list[Event]] = [
        tracker.step(np.array([score], np.float32), 1.0, i * STEP_S, i * STEP_S + WINDOW_S)
        for i, score in enumerate([0.9, 0.8, 0.1])
    ]
    assert [[event.open for event in events] for events in said] == [[True], [], [False]]
    assert tracker.told == 1


def test_past_events_are_bounded() -> None:
    tracker = EventTracker(["dog"], MULTI, step_s=STEP_S, keep=3)
    for i in range(20):
        tracker.step(np.array([0.9 * (i % 2)], np.float32), 1.0, i * STEP_S, i * STEP_S + WINDOW_S)
    tracker.finish()
    assert [event.number for event in tracker.events()] == [8, 9, 10]
    assert tracker.told == 10


def test_digital_silence_is_no_event_whatever_the_head_says() -> None:
    tracker = EventTracker(["dog"], MULTI, step_s=STEP_S)
    tracker.step(np.array([0.9], np.float32), 1.0, 0, 10)
    tracker.step(np.array([0.9], np.float32), 1.0, 0.96, 10.96, silent=True)
    assert [event.open for event in tracker.events()] == [False]


class TestSingle:
    """Classes that exclude each other: the best one enters, if the window is known to have any."""

    thresholds = Thresholds.of(Decision("single", (0.0, 0.0, 0.0), known_threshold=0.5), leave_share=0.7)

    def present(self, rows: list[tuple[list[float], float]]) -> list[list[int]]:
        tracker = EventTracker(["a", "b", "c"], self.thresholds, step_s=STEP_S)
        found = []
        for i, (scores, known) in enumerate(rows):
            tracker.step(np.array(scores, np.float32), known, i * STEP_S, i * STEP_S + WINDOW_S)
            found.append(list(map(int, np.flatnonzero(tracker.present()))))
        return found

    def test_the_best_enters_and_the_second_best_leaves_late(self) -> None:
        rows = [([0.8, 0.1, 0.1], 0.9), ([0.45, 0.5, 0.05], 0.9), ([0.2, 0.7, 0.1], 0.9)]
        assert self.present(rows) == [[0], [0, 1], [1]]

    def test_none_of_these(self) -> None:
        rows = [([0.8, 0.1, 0.1], 0.49), ([0.8, 0.1, 0.1], 0.5), ([0.8, 0.1, 0.1], 0.36), ([0.8, 0.1, 0.1], 0.34)]
        assert self.present(rows) == [[], [0], [0], []]


@given(
    st.lists(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=10),
    st.sampled_from(["single", "multi"]),
    st.floats(0, 1, width=32),
)
def test_who_enters_is_who_the_bundle_says_is_present(rows: list[list[float]], mode: str, known: float) -> None:
    decision = Decision(mode, (0.2, 0.5, 0.7), known_threshold=0.4)  # type: ignore[arg-type]
    thresholds = Thresholds.of(decision, 0.7)
    scores = np.array(rows, np.float32)
    answers = decision.decide(HeadScores(scores, known=np.full(len(rows), known, np.float32)))
    for row, present in zip(scores, answers.present, strict=True):
        assert np.array_equal(thresholds.compare(row, float(np.float32(known)))[0], present)


@pytest.mark.parametrize("share", [0.0, 1.0])
def test_the_ends_of_the_leave_share(share: float) -> None:
    """At 1 there is no hysteresis, at 0 an event never ends by itself."""
    _, present = track([0.9, 0.49, 0.51, 0.0], thresholds=Thresholds(np.array([0.5], np.float32), leave_share=share))
    assert present == ([True, False, True, False] if share else [True] * 4)
