"""How a long ingest shows itself on standard error: a bar in a terminal, a line now and then in a log."""

import sys
import textwrap
import time
from datetime import timedelta
from typing import Any, Self

from app.terminal.progress import bar_type
from ingest.ledger.ledger import State
from ingest.youtube.governor import Standing
from ingest.youtube.pace import Phase
from ingest.youtube.run import Progress

_LINE_EVERY_S = 30.0
_SHOWN_REASON = 70


def describe(progress: Progress) -> str:
    """`ok 812, gone 97, waiting 5, failed 0 | 301/h, 2 days, 23:10:00 left | paused 52:10: bot-check: ...`"""
    counts = progress.counts
    parts = [", ".join(f"{word} {counts[state]}" for word, state in _WORDS)]
    if progress.rate_per_hour and progress.remaining_s is not None:
        parts.append(f"{progress.rate_per_hour:.0f}/h, {_duration(progress.remaining_s)} left")
    if progress.phase is not Phase.RUNNING:
        for_s = f" {_duration(progress.paused_for_s)}" if progress.phase is Phase.PAUSED else ""
        parts.append(f"{progress.phase}{for_s}: {progress.pause}")
    elif not counts[State.PENDING] and not counts[State.RUNNING] and counts[State.WAITING]:
        parts.append("waiting until some may be tried again")
    elif held := [standing for standing in progress.addresses if standing.phase is not Phase.RUNNING]:
        parts.append(f"{len(held)} of {len(progress.addresses)} addresses held up: {'; '.join(map(_standing, held))}")
    return " | ".join(parts)


def given_up(progress: Progress) -> dict[str, str]:
    """Address -> why it is not asked from any more, while others are."""
    return {standing.name: standing.reason for standing in progress.addresses if standing.phase is Phase.STOPPED}


def _standing(standing: Standing) -> str:
    """`http://two:8080 paused 52:10 (bot-check: ...)`"""
    for_s = f" {_duration(standing.paused_for_s)}" if standing.phase is Phase.PAUSED else ""
    return f"{standing.name} {standing.phase}{for_s} ({textwrap.shorten(standing.reason, _SHOWN_REASON)})"


_WORDS = (("ok", State.DONE), ("gone", State.GONE), ("waiting", State.WAITING), ("failed", State.FAILED))
_SETTLED = (State.DONE, State.GONE, State.FAILED)


class ProgressDisplay:
    """Call it with every `Progress`; a context manager."""

    def __init__(self) -> None:
        self._bar: Any = None
        self._told_at = 0.0
        self._told: Progress | None = None
        self._last: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        elif self._last is not None and self._last is not self._told:
            self._tell(self._last)

    def __call__(self, progress: Progress) -> None:
        self._last = progress
        if sys.stderr.isatty():
            self._draw(progress)
        elif (
            self._told is None
            or _phases(progress) != _phases(self._told)
            or time.monotonic() - self._told_at >= _LINE_EVERY_S
        ):
            self._tell(progress)

    def _tell(self, progress: Progress) -> None:
        self._told_at, self._told = time.monotonic(), progress
        settled = sum(progress.counts[state] for state in _SETTLED)
        print(f"{settled}/{progress.requested} | {describe(progress)}", file=sys.stderr, flush=True)

    def _draw(self, progress: Progress) -> None:
        if self._bar is None:
            layout = "{percentage:3.0f}%|{bar:20}| {n_fmt}/{total_fmt} | {desc}"
            self._bar = bar_type()(total=progress.requested, bar_format=layout, dynamic_ncols=True, file=sys.stderr)
        self._bar.n = sum(progress.counts[state] for state in _SETTLED)
        self._bar.set_description_str(describe(progress), refresh=True)


def _phases(progress: Progress) -> list[Phase]:
    return [progress.phase, *(standing.phase for standing in progress.addresses)]


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
