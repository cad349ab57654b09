"""Fixtures for every room."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# The same examples on every run, so that a failure is the change's and not the day's, and no deadline, as machines are
# busy. New examples: HYPOTHESIS_PROFILE=explore make test
settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile("explore", deadline=None)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "steady"))

# There are as many workers of pytest-xdist as cores: TensorFlow takes a core in each, and a quarter less time in all.
if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", "1")

# A shell starts what it starts in the background deaf to Ctrl-C, and so would be all that the tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data named by EARSHOT_SHARED; tests that want it are skipped without it."""
    folder = os.environ.get("EARSHOT_SHARED")
    if not folder or not Path(folder).is_dir():
        pytest.skip("EARSHOT_SHARED does not name the folder of shared data")
    return Path(folder).resolve()
