"""What a session heard, minute by minute: one row a minute, one column a class. Pure; not thread-safe."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class ActivityGrid:
    """A picture of a session.

    first_minute: which minute of the session the first row is.
    windows: int32 [minutes], scored in each. present: int32 [minutes, classes], of them with the class in an event.
    mean, highest: float32 [minutes, classes], of the scores; 0 in minutes without windows.
    """

    class_names: tuple[str, ...]
    first_minute: int
    windows: npt.NDArray[np.int32]
    present: npt.NDArray[np.int32]
    mean: npt.NDArray[np.float32]
    highest: npt.NDArray[np.float32]

    @property
    def share(self) -> npt.NDArray[np.float32]:
        """Share of each minute's windows with the class in an event, float32 [minutes, classes] in [0, 1]."""
        share: npt.NDArray[np.float32] = (self.present / np.maximum(self.windows, 1)[:, None]).astype(np.float32)
        return share

    def to_json(self) -> dict[str, Any]:
        return {
            "classes": list(self.class_names),
            "first_minute": self.first_minute,
            "windows": self.windows.tolist(),
            "present": self.present.tolist(),
            "mean": np.round(self.mean, 4).tolist(),
            "highest": np.round(self.highest, 4).tolist(),
        }


class Activity:
    """Counts windows into minutes; holds the last `keep_minutes` of them, so that a session may last for days."""

    def __init__(self, class_names: Sequence[str], keep_minutes: int = 24 * 60) -> None:
        self._names, self._keep = tuple(class_names), keep_minutes
        self._rows: dict[int, tuple[int, npt.NDArray[np.int32], npt.NDArray[np.float32], npt.NDArray[np.float32]]] = {}

    def add(self, at_s: float, scores: npt.NDArray[np.float32], present: npt.NDArray[np.bool_]) -> None:
        """One window that ended `at_s` into the session: scores and presence [classes]."""
        minute, width = int(at_s // MINUTE_S), len(self._names)
        empty = 0, np.zeros(width, np.int32), np.zeros(width, np.float32), np.zeros(width, np.float32)
        windows, there, total, highest = self._rows.get(minute, empty)
        self._rows[minute] = windows + 1, there + present, total + scores, np.maximum(highest, scores)
        for old in [m for m in self._rows if m <= minute - self._keep]:
            del self._rows[old]

    def grid(self) -> ActivityGrid:
        """The minutes from the first to the last one held; those without windows are empty rows."""
        first, last = (min(self._rows), max(self._rows)) if self._rows else (0, -1)
        shape = last - first + 1, len(self._names)
        windows, present = np.zeros(shape[0], np.int32), np.zeros(shape, np.int32)
        mean, highest = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
        for minute, (count, there, total, most) in self._rows.items():
            row = minute - first
            windows[row], present[row], mean[row], highest[row] = count, there, total / count, most
        return ActivityGrid(self._names, first, windows, present, mean, highest)
