"""Progress of a training on standard error. Used by commands."""

import sys
from typing import Any

from app.progress import bar_type


class ShareBar:
    """What is being done and the share that is done; a bar at a terminal, a sparse line in a log."""

    def __init__(self) -> None:
        self._bar: Any = None

    def __enter__(self) -> "ShareBar":
        interval_s = 0.2 if sys.stderr.isatty() else 10.0
        self._bar = bar_type()(
            total=100.0,
            bar_format="{desc:<11}{percentage:3.0f} %|{bar}| {elapsed}, {remaining} to go",
            mininterval=interval_s,
            maxinterval=interval_s,
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def __call__(self, what: str, share: float) -> None:
        self._bar.set_description_str(what, refresh=False)
        self._bar.update(100 * share - self._bar.n)
