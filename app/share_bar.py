"""Progress of a training on standard error. Used by commands."""

import sys
from typing import Any

from app.progress import bar_type

ENOUGH = 0.02
"""A share that must be done before anything is said of what remains: before it, libraries are imported and graphs are
made, and the first steps would promise hours."""


class ShareBar:
    """What is being done and the share that is done; a bar at a terminal, a sparse line in a log."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._begun: tuple[float, float] | None = None

    def __enter__(self) -> "ShareBar":
        interval_s = 0.2 if sys.stderr.isatty() else 10.0
        self._bar = bar_type()(
            total=100.0,
            bar_format="{desc:<11}{percentage:3.0f} %|{bar}| {elapsed}{postfix}",
            mininterval=interval_s,
            maxinterval=interval_s,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, what: str, share: float) -> None:
        self._bar.set_description_str(what, refresh=False)
        elapsed_s = self._bar.format_dict["elapsed"]
        if self._begun is None or share <= self._begun[1]:
            self._begun = elapsed_s, share
        remaining_s = remaining(*self._begun, elapsed_s, share)
        to_go = f"{self._bar.format_interval(remaining_s)} to go" if remaining_s is not None else ""
        self._bar.set_postfix_str(to_go, refresh=False)
        self._bar.update(100 * share - self._bar.n)


def remaining(begun_s: float, begun_share: float, elapsed_s: float, share: float) -> float | None:
    """Seconds to go at the pace since the first step was done; None while too little is done to tell."""
    done = share - begun_share
    return (1 - share) * (elapsed_s - begun_s) / done if done >= ENOUGH else None
