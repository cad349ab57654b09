"""What workers do in the tests of the engines, importable in their processes. It computes, so mixed-up tasks show."""

import os
import time
from collections.abc import Generator
from pathlib import Path

from ingest.errors import UsageError


def load(factor: int, log: str = "") -> int:
    """Leaves a line for every time it is called."""
    if log:
        with Path(log).open("a") as file:
            file.write(f"{os.getpid()}\n")
    return factor


def load_badly(message: str) -> int:
    raise UsageError(message)


def multiply(factor: int, task: int) -> Generator[str, None, int]:
    yield f"{task}: begins"
    time.sleep(0.01)
    yield f"{task}: ends"
    return factor * task


def refuse(factor: int, task: int) -> Generator[str, None, int]:
    yield "begins"
    raise UsageError(f"task {task}: not to be had; ask for another")


def fall_over(factor: int, task: int) -> Generator[str, None, int]:
    yield "begins"
    os._exit(1)


def fall_over_once(factor: int, task: tuple[str, int]) -> Generator[str, None, int]:
    """Ends its process at the first try: the mark is a file."""
    mark, number = Path(task[0]), task[1]
    yield "begins"
    if number == 1 and not mark.exists():
        mark.touch()
        os._exit(1)
    return factor * number


def wait(factor: int, seconds: float) -> Generator[str, None, int]:
    yield "begins"
    time.sleep(seconds)
    return factor


def hang(factor: int, task: int) -> Generator[str, None, int]:
    yield "begins"
    time.sleep(3600)
    return factor * task
