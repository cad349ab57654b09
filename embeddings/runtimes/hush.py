"""Touches file descriptor 2: C++ libraries that announce themselves on standard error whatever the log level."""

import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

_ONE_AT_A_TIME = threading.Lock()


@contextmanager
def hushed_stderr() -> Iterator[None]:
    """Send what is written to standard error nowhere, for the moment that loading a library takes.

    Errors still come out as exceptions. Other threads' lines of that moment are lost too, so keep it short.
    """
    with _ONE_AT_A_TIME:
        sys.stderr.flush()
        kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
        try:
            os.dup2(nowhere, 2)
            yield
        finally:
            os.dup2(kept, 2)
            os.close(kept)
            os.close(nowhere)
