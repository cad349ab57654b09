"""What a listener shows of itself at one moment. Pure."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.live.activity import ActivityGrid
from app.live.events import Event
from app.live.heard import Counters
from app.live.run import Look
from app.live.states import Status
from classifiers.prediction import Prediction
from embeddings.logmel import YAMNET_OFFSET, log_mel

Floats = npt.NDArray[np.float32]

LEVEL_S = 0.5
"""The level is that of so much audio."""
FLOOR_DBFS = -120.0
COLUMNS = 500


@dataclass(frozen=True, slots=True)
class Pictures:
    """The newest audio, for drawing; at most a window's length of it.

    start_s, end_s: in seconds of the session.
    waveform: float32 [columns, 2], the lowest and highest sample of each column.
    log_mel: float32 [frames, 64], natural logarithm, a frame every 10 ms, low bands first.
    """

    start_s: float
    end_s: float
    waveform: Floats
    log_mel: Floats

    def to_json(self) -> dict[str, Any]:
        return {
            "start_s": round(self.start_s, 2),
            "end_s": round(self.end_s, 2),
            "waveform": np.round(self.waveform, 4).tolist(),
            "log_mel": np.round(self.log_mel, 2).tolist(),
        }


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One listener at one moment.

    id: the listener's. started_at: when its first audio came, Unix time; None before. Seconds of the session count
        from then.
    filled_s, window_s: audio in the window, and what it takes.
    level_dbfs, peak_dbfs: mean power and peak of the last half second, 0 is full scale, never below -120.
    prediction: the latest. stale: it is not of now: it is about sound from before a gap or from too long ago, or
        listening has ended.
    history: of this session, the last few hundred, oldest first; their patch scores and attention are let go, the
        latest one's are not. came_at: when the last sound came that each of them needed, on the clock of `now`.
    events: past and open ones in the order in which they were told.
    pictures: only when they were asked for.
    """

    id: str
    status: Status
    started_at: float | None
    filled_s: float
    window_s: float
    level_dbfs: float
    peak_dbfs: float
    prediction: Prediction | None
    stale: bool
    history: tuple[Prediction, ...]
    came_at: tuple[float, ...]
    now: float
    events: tuple[Event, ...]
    counters: Counters
    pictures: Pictures | None = None
    activity: ActivityGrid | None = None

    @property
    def current(self) -> Prediction | None:
        """The latest prediction, while it is of now."""
        return None if self.stale else self.prediction

    @property
    def age_s(self) -> float | None:
        """How long ago the last sound came that the latest prediction needed; None before the first."""
        return self.now - self.came_at[-1] if self.came_at else None

    def to_json(self, *, history: bool = False, events: int | None = None) -> dict[str, Any]:
        """Plain JSON types; `prediction` is null when there is none of now.

        Args:
            history: the past predictions too, which are many.
            events: only the newest so many.
        """
        shown = self.events if events is None else self.events[max(0, len(self.events) - events) :]
        said: dict[str, Any] = {
            "id": self.id,
            **self.status.to_json(),
            "started_at": self.started_at,
            "filled_s": round(self.filled_s, 2),
            "window_s": self.window_s,
            "level_dbfs": round(self.level_dbfs, 1),
            "peak_dbfs": round(self.peak_dbfs, 1),
            "prediction": self.current.to_json() if self.current else None,
            "age_s": None if self.age_s is None else round(self.age_s, 2),
            "stale": self.stale,
            "events": [event.to_json() for event in shown],
            "counters": self.counters.to_json(),
        }
        if history:
            said["history"] = [prediction.to_json() for prediction in self.history]
        if self.pictures:
            said["pictures"] = self.pictures.to_json()
        if self.activity:
            said["activity"] = self.activity.to_json()
        return said


def levels(look: Look | None, sample_rate: int) -> tuple[float, float]:
    """Mean power and peak of the newest half second, in dBFS."""
    last = np.zeros(0, np.float32) if look is None else look.newest[-round(LEVEL_S * sample_rate) :]
    if not len(last):
        return FLOOR_DBFS, FLOOR_DBFS
    return dbfs(float((last**2).mean()) ** 0.5), dbfs(float(abs(last).max()))


def make_pictures(look: Look, sample_rate: int) -> Pictures:
    """Draw the audio of a look; a millisecond or two for ten seconds."""
    return Pictures(
        start_s=look.end_s - len(look.newest) / sample_rate,
        end_s=look.end_s,
        waveform=envelope(look.newest),
        log_mel=log_mel(look.newest, log_offset=YAMNET_OFFSET),
    )


def dbfs(value: float) -> float:
    """An amplitude in [0, 1] in decibels of full scale, never below -120."""
    return max(FLOOR_DBFS, 20 * float(np.log10(max(value, 1e-9))))


def envelope(waveform: Floats, columns: int = COLUMNS) -> Floats:
    """The lowest and highest sample of each of at most `columns` equal parts, float32 [columns, 2]."""
    if not len(waveform):
        return np.zeros((0, 2), np.float32)
    starts = np.unique(np.arange(columns) * len(waveform) // columns)
    return np.stack([np.minimum.reduceat(waveform, starts), np.maximum.reduceat(waveform, starts)], axis=1)
