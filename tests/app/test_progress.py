"""Progress bars, where they are cut off."""

import subprocess
import sys
from contextlib import suppress

import pytest

from app.terminal.progress import ShareBar, remaining
from ingest.errors import UsageError


def test_a_bar_that_has_not_begun_goes_without_a_word() -> None:
    """A signal may raise within tqdm's constructor; its finalizer then looked for what was not there yet."""
    code = """
from app.terminal.progress import bar_type
bar = bar_type().__new__(bar_type())
bar.disable = False
del bar
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""


def test_what_remains_is_told_of_steps_and_not_of_what_was_before_them() -> None:
    assert remaining(17.0, 0.0, 17.5, 0.001) is None, "one step after the imports told of hours"
    assert remaining(17.0, 0.0, 27.0, 0.1) == pytest.approx(90)
    assert remaining(5.0, 0.5, 15.0, 0.75) == pytest.approx(10), "what an earlier run had done took no time here"


def test_a_training_shows_no_time_to_go_before_it_can_tell(capsys: pytest.CaptureFixture[str]) -> None:
    with ShareBar() as bar:
        bar("fold 1", 0.0)
        bar("fold 1", 0.001)
    assert "to go" not in capsys.readouterr().err
    with ShareBar() as bar:
        bar("fold 1", 0.0)
        bar("fold 2", 0.5)
    assert "to go" in capsys.readouterr().err


def test_a_mistake_that_ends_it_leaves_no_bar_above_the_line_that_says_so(capsys: pytest.CaptureFixture[str]) -> None:
    with suppress(UsageError), ShareBar():
        raise UsageError("--head: no head named 'x'")
    assert capsys.readouterr().err.rpartition("\r")[2] == "", "the line is not wiped"
