"""From scores window by window to events with a start, an end and a peak. Pure.

Hysteresis: a class enters at its threshold and leaves below a share of it, so that a score that hovers there gives one
event and not twenty. An event is told once it has lasted for its least duration.

A window is ten seconds long and a score says that the sound is somewhere in it. The windows of an event narrow that
down: the sound began in what the first of them had and the one before had not, and ended in what the one after the last
had lost; a short sound is where they all overlap. A patch more at both ends, as one that holds only a bit of the sound
may not show it.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.decision import Decision

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Event:
    """One class heard for a while.

    number: counts events of a session from 1, in the order in which they were told.
    start_s, end_s: where the sound is, in seconds of the session; end_s moves on while the event is open.
    peak: the highest score. peak_s: start of the window that had it.
    windows: how many windows it lasted. open: it has not ended yet.
    """

    number: int
    class_name: str
    start_s: float
    end_s: float
    peak: float
    peak_s: float
    windows: int
    open: bool

    def to_json(self) -> dict[str, Any]:
        return {
            "number": self.number,
            "class": self.class_name,
            "start_s": round(self.start_s, 2),
            "end_s": round(self.end_s, 2),
            "peak": round(self.peak, 5),
            "peak_s": round(self.peak_s, 2),
            "windows": self.windows,
            "open": self.open,
        }


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When a class enters an event, and when it leaves it.

    enter: float32 [classes], the score that a class must reach.
    exclusive: only the best class of a window enters, and only when the window is known to hold any: the mode "single".
    known: how likely that must be.
    leave_share: a class stays while its score is at least this share of what it would have to reach to enter.
    """

    enter: Floats
    exclusive: bool = False
    known: float = 0.0
    leave_share: float = 0.7

    @classmethod
    def of(cls, decision: Decision, leave_share: float) -> "Thresholds":
        """A class enters when the bundle says that it is present."""
        enter = np.asarray(decision.thresholds, np.float32)
        return cls(enter, decision.mode == "single", decision.known_threshold, leave_share)

    def compare(self, scores: Floats, known: float) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Which classes would enter, and which would stay, bool [classes] each."""
        if not self.exclusive:
            return scores >= self.enter, scores >= self.leave_share * self.enter
        best = np.arange(len(scores)) == scores.argmax()
        bar = self.leave_share * np.maximum(self.enter, scores.max())
        return (
            best & (scores >= self.enter) & (known >= self.known),
            (scores >= bar) & (known >= self.leave_share * self.known),
        )


@dataclass(slots=True)
class _Run:
    """A class above its threshold: what the windows since it entered have said."""

    first_begin_s: float
    new_from_s: float  # what the first window had and the one before had not
    first_end_s: float
    last_begin_s: float
    last_end_s: float
    peak: float
    peak_s: float
    windows: int
    number: int = 0  # 0 until it has been told


class EventTracker:
    """Takes the windows of one session in order; remembers the last `keep` events that ended.

    Args:
        step_s: between windows. margin_s: by which an event is longer at both ends than its windows say.
    """

    def __init__(
        self,
        class_names: Sequence[str],
        thresholds: Thresholds,
        *,
        step_s: float,
        margin_s: float = 0.0,
        min_event_s: float = 0.0,
        keep: int = 1_000,
    ) -> None:
        self._names, self._thresholds = tuple(class_names), thresholds
        self._step_s, self._margin_s, self._min_event_s = step_s, margin_s, min_event_s
        self._runs: dict[int, _Run] = {}
        self._past: deque[Event] = deque(maxlen=keep)
        self._told = 0
        self._heard_to_s: float | None = None  # where the last window of the run ended

    @property
    def told(self) -> int:
        """Events so far, those forgotten included."""
        return self._told

    def events(self) -> tuple[Event, ...]:
        """Past events and then open ones, in the order in which they were told."""
        open_ = (self._event(index, run, open_=True) for index, run in self._runs.items() if run.number)
        return tuple(sorted((*self._past, *open_), key=lambda event: event.number))

    def present(self) -> npt.NDArray[np.bool_]:
        """Which classes are in an event that has been told, bool [classes]."""
        found = np.zeros(len(self._names), np.bool_)
        found[[index for index, run in self._runs.items() if run.number]] = True
        return found

    def step(self, scores: Floats, known: float, begin_s: float, end_s: float, *, silent: bool = False) -> list[Event]:
        """The next window: its scores [classes], how likely it has any of the classes, and where it lies.

        Args:
            end_s: of the audio that the scores depend on.
            silent: it was digital silence, in which there is nothing to hear, whatever a head says of it.
        Returns:
            Events that began (open) or ended with this window.
        """
        enters, stays = self._thresholds.compare(scores, known)
        if silent:
            enters, stays = np.zeros_like(enters), np.zeros_like(stays)
        new_from_s = begin_s if self._heard_to_s is None else min(max(begin_s, self._heard_to_s), end_s)
        self._heard_to_s = end_s
        changed = [self._end(index) for index in [i for i in self._runs if not (stays[i] or enters[i])]]
        for index in map(int, np.flatnonzero(enters | stays)):
            run = self._runs.get(index)
            if run is None:
                if not enters[index]:
                    continue
                run = self._runs[index] = _Run(begin_s, new_from_s, end_s, begin_s, end_s, -np.inf, begin_s, 0)
            run.last_begin_s, run.last_end_s = begin_s, end_s
            run.windows += 1
            if scores[index] > run.peak:
                run.peak, run.peak_s = float(scores[index]), begin_s
            if not run.number and end_s - run.first_end_s + self._step_s >= self._min_event_s:
                self._told += 1
                run.number = self._told
                changed.append(self._event(index, run, open_=True))
        return [event for event in changed if event is not None]

    def finish(self) -> list[Event]:
        """The audio broke off: open events end. Returns those that had been told."""
        self._heard_to_s = None
        return [event for event in [self._end(index) for index in list(self._runs)] if event is not None]

    def _end(self, index: int) -> Event | None:
        run = self._runs.pop(index)
        if not run.number:
            return None
        event = self._event(index, run, open_=False)
        self._past.append(event)
        return event

    def _event(self, index: int, run: _Run, *, open_: bool) -> Event:
        start_s = max(run.first_begin_s, min(run.new_from_s, run.last_begin_s) - self._margin_s)
        end_s = min(run.last_end_s, max(run.first_end_s, run.last_begin_s + self._step_s) + self._margin_s)
        event = Event(
            number=run.number,
            class_name=self._names[index],
            start_s=start_s,
            end_s=end_s,
            peak=run.peak,
            peak_s=run.peak_s,
            windows=run.windows,
            open=open_,
        )
        return replace(event, end_s=run.last_end_s) if open_ else event
