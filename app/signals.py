"""Uses threads: Ctrl-C and SIGTERM end a command wherever it is."""

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

SENT_AGAIN_AFTER_S = 0.05


class Ended(KeyboardInterrupt):
    """A type of our own, because of CPython: a plain KeyboardInterrupt that passes through `exec` of a string (named
    tuples and dataclasses are made so) makes `python -m` die of SIGINT at its end, whatever was caught meanwhile."""


@contextmanager
def heeding_signals(terminated: list[int]) -> Iterator[None]:
    """SIGTERM is taken for Ctrl-C, so that whatever ends well by the one ends well by the other; `terminated` gets the
    signal. Servers set handlers of their own. Only the main thread may set any.

    A signal may come while Python runs what ignores every error, a `__del__` or the callback of a weak reference: it is
    sent again then.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    last: list[int] = []

    def interrupt(number: int, frame: FrameType | None) -> None:
        last[:] = [number]
        raise Ended

    def end(number: int, frame: FrameType | None) -> None:
        terminated.append(number)
        of_ctrl_c = signal.getsignal(signal.SIGINT)  # a shell that starts a job in the background has it ignored
        (of_ctrl_c if callable(of_ctrl_c) else interrupt)(number, frame)

    def ignored(what: Any) -> None:
        if what.exc_type is Ended:  # a thread of `threading` takes locks, which whoever is interrupted may hold
            _thread.start_new_thread(_send_again, (last[0],))
        else:
            hook(what)

    hook, sys.unraisablehook = sys.unraisablehook, ignored
    before = {signal.SIGTERM: signal.signal(signal.SIGTERM, end)}
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        before[signal.SIGINT] = signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        sys.unraisablehook = hook


def _send_again(number: int) -> None:
    time.sleep(SENT_AGAIN_AFTER_S)
    os.kill(os.getpid(), number)
