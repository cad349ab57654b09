"""What comes from the system: signals, whatever the command, in real processes; and a clock that somebody sets."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from ingest.youtube.run import Clock

ROOT = Path(__file__).resolve().parent.parent
SLEEPER = """
import signal, sys, time
from unittest.mock import patch
import click
from app import cli
if sys.argv[1] == "ignored":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
@click.command(context_settings={"ignore_unknown_options": True})
@click.argument("words", nargs=-1)
def sleep(words):
    try:
        exec("print('ready', flush=True); time.sleep(100)")  # where CPython would have `python -m` die of SIGINT
    finally:
        print("tidied up", flush=True)
with patch.object(cli, "earshot", sleep):
    cli.main(sys.argv[2:])
"""

DEAF = """
import os, sys, time, weakref
from unittest.mock import patch
import click
from app import cli
number, where = int(sys.argv[1]), sys.argv[2]
def send(_=None):
    os.kill(os.getpid(), number)
    for _ in range(100):  # a handler runs between two steps of Python's
        pass
class Thing:
    def __del__(self):
        if where == "__del__":
            send()
@click.command()
def sleep():
    thing = Thing()
    ref = weakref.ref(thing, send) if where == "weakref" else None
    del thing
    print("went on", flush=True)
    time.sleep(100)
with patch.object(cli, "earshot", sleep):
    cli.main([])
"""

GOES_ON = "nothing half-done is left, run the same command again to go on where it stopped"
ANEW = "nothing half-done is left, run the same command again to do it anew"


@pytest.mark.parametrize(
    ("heard", "words", "number", "code", "message"),
    [
        ("heard", "embed x", signal.SIGINT, 130, f"interrupted; {GOES_ON}"),
        ("heard", "ingest youtube x", signal.SIGTERM, 143, f"ended by SIGTERM; {GOES_ON}"),
        ("ignored", "train x", signal.SIGTERM, 143, f"ended by SIGTERM; {ANEW}"),
    ],
)
def test_a_signal_is_one_line_and_an_exit_code(  # noqa: PLR0917 - pytest passes them all by name
    heard: str, words: str, number: signal.Signals, code: int, message: str, tmp_path: Path
) -> None:
    (tmp_path / "sleeper.py").write_text(SLEEPER)
    process = subprocess.Popen(
        [sys.executable, "-m", "sleeper", heard, *words.split()], env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout and process.stdout.readline() == "ready\n"
    process.send_signal(number)
    out, said = process.communicate(timeout=60)
    assert (process.returncode, out, said.strip()) == (code, "tidied up\n", f"earshot: {message}")


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("where", ["__del__", "weakref"])
def test_a_signal_is_not_lost_where_python_ignores_what_is_raised(where: str, number: int, code: int) -> None:
    """Importing has such places: a SIGTERM was lost in one, and the command went on to its end."""
    command = [sys.executable, "-c", DEAF, str(int(number)), where]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout) == (code, "went on\n"), done.stderr
    (line,) = done.stderr.strip().splitlines()
    assert line.endswith(ANEW)


def test_a_clock_that_is_set_in_the_middle_of_an_ingest_moves_no_due_time(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, real = Clock(), time.time
    began = clock.now()
    assert abs(began - real()) < 60
    for days in (-1, 365):
        monkeypatch.setattr(time, "time", lambda days=days: real() + 86_400 * days)
        assert 0 <= clock.now() - began < 60
