"""Progress bars, where they are cut off."""

import subprocess
import sys


def test_a_bar_that_has_not_begun_goes_without_a_word() -> None:
    """A signal may raise within tqdm's constructor; its finalizer then looked for what was not there yet."""
    code = """
from app.progress import bar_type
bar = bar_type().__new__(bar_type())
bar.disable = False
del bar
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == ""
