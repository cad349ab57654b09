"""Progress on standard error. Used by commands."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from functools import cache
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from embeddings.embed import Progress


@cache
def bar_type() -> Any:
    """tqdm, which says nothing where a signal ends it before it has begun: it would print a traceback of its own."""
    from tqdm import tqdm

    class Bar(tqdm):
        def __del__(self) -> None:
            with suppress(AttributeError):
                super().__del__()

    return Bar


class ClipBar:
    """Clips, clips/s, what remains and times real time, on standard error; sparse where that is a file."""

    def __init__(self, delay_s: float = 0) -> None:
        """delay_s: nothing shows before."""
        self._bar: Any = None
        self._delay_s = delay_s

    def __enter__(self) -> "ClipBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()

    def __call__(self, progress: "Progress") -> None:
        if self._bar is None:
            self._bar = self._start(progress)
        elapsed_s = max(self._bar.format_dict["elapsed"], 1e-3)
        audio = timedelta(seconds=round(progress.audio_s))
        self._bar.set_postfix_str(f"{audio} of audio, {progress.audio_s / elapsed_s:.0f} x real time", refresh=False)
        self._bar.update(progress.items - self._bar.n)

    def say(self, text: str) -> None:
        """A line on standard error, above the bar where one shows: tqdm's own writing would show it before its time."""
        if self._bar is None or self._bar.format_dict["elapsed"] < self._delay_s:
            click.echo(text, err=True)
        else:
            self._bar.write(text, file=sys.stderr)

    def _start(self, progress: "Progress") -> Any:
        interval_s = 0.5 if sys.stderr.isatty() else 10.0
        return bar_type()(
            total=progress.total,
            initial=progress.items,
            unit="clip",
            mininterval=interval_s,
            maxinterval=interval_s,
            dynamic_ncols=True,
            delay=self._delay_s,
        )


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

    def __exit__(self, kind: object, *_: object) -> None:
        self._bar.leave = kind is None  # a line that says why stands better alone
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


@contextmanager
def download_bar(name: str, size: int | None) -> Iterator[Callable[[int, int | None], None]]:
    """A progress bar of bytes on standard error; yields what is to be called with bytes done and bytes in all."""
    with bar_type()(
        total=size, desc=name, unit="B", unit_scale=True, mininterval=0.5, file=sys.stderr, leave=False
    ) as bar:

        def show(done: int, total: int | None) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show
