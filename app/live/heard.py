"""What one session has heard so far, in bounded memory however long it lasts. Pure; not thread-safe."""

from collections import deque
from dataclasses import dataclass, replace
from typing import Any

from app.live.activity import Activity
from app.live.engine import Engine
from app.live.events import EventTracker
from app.live.run import Scored
from app.live.settings import LiveSettings
from classifiers.prediction import Prediction


@dataclass(frozen=True, slots=True)
class Counters:
    """What was done, and what could not be.

    audio_s: of audio that came. windows: scored. skipped: windows that were due and not scored, for want of time.
    dropped_s: audio that came and was in no window, as the queue was full. runs: unbroken stretches of audio.
    queue_s: audio waiting. window_ms: mean time of work for a window. latency_s: from the arrival of the last sample
        that a window needed to its scores; the newest window's.
    """

    audio_s: float = 0.0
    windows: int = 0
    skipped: int = 0
    dropped_s: float = 0.0
    runs: int = 0
    queue_s: float = 0.0
    window_ms: float = 0.0
    latency_s: float = 0.0

    def to_json(self) -> dict[str, Any]:
        return {
            "audio_s": round(self.audio_s, 2),
            "windows": self.windows,
            "skipped": self.skipped,
            "dropped_s": round(self.dropped_s, 2),
            "runs": self.runs,
            "queue_s": round(self.queue_s, 2),
            "window_ms": round(self.window_ms, 2),
            "latency_s": round(self.latency_s, 3),
        }


class Heard:
    """Predictions, events, activity by the minute, and what was lost.

    history, came_at: predictions, oldest first, and when the last sample came that each of them needed.
    before_gap: audio has broken off since the latest prediction, and a new run begun.
    """

    def __init__(self, engine: Engine, settings: LiveSettings) -> None:
        self._overload_s = settings.overload_s
        self.latest: Prediction | None = None
        self.history: deque[Prediction] = deque(maxlen=settings.history)
        self.came_at: deque[float] = deque(maxlen=settings.history)
        self.before_gap = False
        self.activity = Activity(engine.class_names)
        self.tracker = EventTracker(
            engine.class_names,
            engine.thresholds(settings.leave_share),
            step_s=engine.grid.step / engine.grid.sample_rate,
            margin_s=engine.bundle.spec.patch_s,
            min_event_s=settings.min_event_s,
            keep=settings.events,
        )
        self.audio_s = 0.0
        self.windows = 0
        self._skipped, self._dropped_s, self._runs = 0, 0.0, 0
        self._work_s, self._latency_s = 0.0, 0.0
        self._losses: deque[tuple[float, int, float]] = deque()  # when, windows skipped, seconds dropped

    def counters(self, queue_s: float) -> Counters:
        return Counters(
            audio_s=self.audio_s,
            windows=self.windows,
            skipped=self._skipped,
            dropped_s=self._dropped_s,
            runs=self._runs,
            queue_s=queue_s,
            window_ms=1000 * self._work_s / max(1, self.windows),
            latency_s=self._latency_s,
        )

    def add(self, scored: Scored, *, came_at: float, begun: float, done: float) -> None:
        """A window was scored. The history lets go of its patch scores and attention, which are large."""
        prediction, heard_to_s = scored.prediction, scored.heard_to_s
        self.windows += 1
        self._work_s, self._latency_s = self._work_s + done - begun, done - came_at
        self.latest, self.before_gap = prediction, False
        self.history.append(replace(prediction, patch_scores=None, attention=None))
        self.came_at.append(came_at)
        self.tracker.step(prediction.scores, prediction.known, prediction.start_s, heard_to_s, silent=scored.silent)
        self.activity.add(heard_to_s, prediction.scores, self.tracker.present())

    def begin_run(self) -> None:
        """Audio that does not follow on what came before: open events end."""
        self.tracker.finish()
        self._runs += 1
        self.before_gap = True

    def lose(self, now: float, *, skipped: int = 0, dropped_s: float = 0.0) -> None:
        self._skipped, self._dropped_s = self._skipped + skipped, self._dropped_s + dropped_s
        self._losses.append((now, skipped, dropped_s))
        self._forget(now)

    def lost_lately(self, now: float) -> tuple[int, float]:
        """Windows skipped and seconds dropped in the last `overload_s`."""
        self._forget(now)
        return sum(loss[1] for loss in self._losses), sum(loss[2] for loss in self._losses)

    def since(self, seen: int) -> list[Prediction]:
        """Predictions after the first `seen`, as far as they are held; the latest one with its patch scores."""
        count = min(self.windows - seen, len(self.history))
        if count <= 0 or self.latest is None:
            return []
        return [*list(self.history)[len(self.history) - count : -1], self.latest]

    def _forget(self, now: float) -> None:
        while self._losses and now - self._losses[0][0] > self._overload_s:
            self._losses.popleft()
