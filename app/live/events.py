"""From scores window by window to events with a start, an end and a peak. Pure.

Hysteresis: a class enters at its threshold and leaves below a share of it, so that a score that hovers there gives one
event and not twenty. An event is told once it has lasted for its least duration.

A window is ten seconds long and a score says that the sound is somewhere in it. The windows of an event narrow that
down: the sound began in what the first of them had and the one before had not, and ended in what the one after the last
had lost; a short sound is where they all overlap.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

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
    """Scores at which each class enters and below which it leaves, float32 [classes], leave <= enter.

    known_enter, known_leave: the same for the score that any of the classes is there at all; 0 lets everything pass.
    """

    enter: Floats
    leave: Floats
    known_enter: float = 0.0
    known_leave: float = 0.0

    @classmethod
    def of(cls, enter: npt.ArrayLike, leave_share: float, known: float = 0.0) -> "Thresholds":
        enter = np.asarray(enter, np.float32)
        return cls(enter, enter * np.float32(leave_share), known, known * leave_share)


@dataclass(slots=True)
class _Run:
    """A class above its threshold: what the windows since it entered have said."""

    first_begin_s: float
    first_end_s: float
    last_begin_s: float
    last_end_s: float
    peak: float
    peak_s: float
    windows: int
    number: int = 0  # 0 until it has been told


class EventTracker:
    """Takes the windows of one session in order; remembers the last `keep` events that ended."""

    def __init__(
        self,
        class_names: Sequence[str],
        thresholds: Thresholds,
        *,
        step_s: float,
        min_event_s: float = 0.0,
        keep: int = 1_000,
    ) -> None:
        self._names, self._thresholds = tuple(class_names), thresholds
        self._step_s, self._min_event_s = step_s, min_event_s
        self._runs: dict[int, _Run] = {}
        self._past: deque[Event] = deque(maxlen=keep)
        self._told = 0

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

    def step(self, scores: Floats, begin_s: float, end_s: float, known: float = 1.0) -> list[Event]:
        """The next window: its scores [classes], where it lies, and how sure it is that any of the classes is there.

        Returns:
            Events that began (open) or ended with this window.
        """
        t = self._thresholds
        enters = (scores >= t.enter) & (known >= t.known_enter)
        stays = (scores >= t.leave) & (known >= t.known_leave)
        changed = [self._end(index) for index in [i for i in self._runs if not (stays[i] or enters[i])]]
        for index in map(int, np.flatnonzero(enters | stays)):
            run = self._runs.get(index)
            if run is None:
                if not enters[index]:
                    continue
                run = self._runs[index] = _Run(begin_s, end_s, begin_s, end_s, -np.inf, begin_s, 0)
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
        return [event for event in [self._end(index) for index in list(self._runs)] if event is not None]

    def _end(self, index: int) -> Event | None:
        run = self._runs.pop(index)
        if not run.number:
            return None
        event = self._event(index, run, open_=False)
        self._past.append(event)
        return event

    def _event(self, index: int, run: _Run, *, open_: bool) -> Event:
        start_s = max(run.first_begin_s, min(run.first_end_s - self._step_s, run.last_begin_s))
        end_s = min(run.last_end_s, max(run.first_end_s, run.last_begin_s + self._step_s))
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
