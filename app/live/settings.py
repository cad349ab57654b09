"""What may be chosen about listening. Pure."""

from dataclasses import dataclass, fields
from typing import Any

from ingest.errors import UsageError


@dataclass(frozen=True, slots=True)
class LiveSettings:
    """How to listen. Nothing here changes the scores of a window but `smoothing`.

    queue_s: audio that may wait to be worked on; beyond it the oldest is dropped, and counted.
    skip_after: windows of one listener that may be due at once; when there are more, only the newest is scored.
    stall_s: without any audio for so long, the stream counts as dead, and what comes later starts afresh.
    muted_s: of digital silence before we say so.
    fresh_s: an answer about sound that came longer ago is not of now.
    overload_s: for how long a skipped window or dropped audio is told of.
    idle_s: without any audio for so long, a listener is ended.
    keep_s: audio that is kept for playing back and saving, in seconds.
    history: predictions that are kept. events: past events that are kept.
    smoothing: share of the last window's scores in the next one's, 0 (off) to below 1.
    leave_share: an event ends when the score falls below this share of the threshold that it had to reach.
    min_event_s: what stays above its threshold for less is no event.
    max_listeners: at once, in one hub.
    workers: threads that embed and score; 0 for one a core.
    """

    queue_s: float = 10.0
    skip_after: int = 2
    stall_s: float = 2.5
    muted_s: float = 2.0
    fresh_s: float = 5.0
    overload_s: float = 5.0
    idle_s: float = 300.0
    keep_s: float = 300.0
    history: int = 600
    events: int = 1_000
    smoothing: float = 0.0
    leave_share: float = 0.7
    min_event_s: float = 1.5
    max_listeners: int = 64
    workers: int = 0

    def __post_init__(self) -> None:
        require_bounds(
            self,
            **dict.fromkeys(("queue_s", "stall_s", "muted_s", "fresh_s", "overload_s", "idle_s"), (0.1, 86_400)),
            **dict.fromkeys(("keep_s", "min_event_s"), (0, 86_400)),
            **dict.fromkeys(("skip_after", "history", "events", "max_listeners"), (1, 1_000_000)),
            smoothing=(0, 0.99),
            leave_share=(0, 1),
            workers=(0, 256),
        )


def require_bounds(settings: Any, **bounds: tuple[float, float]) -> None:
    """Raise UsageError unless each of these fields of a dataclass lies within its bounds."""
    for name, (low, high) in bounds.items():
        value = getattr(settings, name)
        if not low <= value <= high:
            default = next(field.default for field in fields(settings) if field.name == name)
            raise UsageError(
                f"{name}: must be between {low:g} and {high:g}, got {value:g}; leave it out for {default:g}"
            )
