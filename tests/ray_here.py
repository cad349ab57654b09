"""A Ray for tests: skipped, saying so, where it is not installed."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest


def require_ray() -> Any:
    """The package, imported as the commands import it: that is what keeps it quiet."""
    if find_spec("ray") is None:
        pytest.skip("Ray is not installed (pip install earshot[ray])")
    from ingest.ray_engine import import_ray

    return import_ray()


@contextmanager
def ray_of_its_own() -> Iterator[Any]:
    """A Ray of one node. It takes ten seconds to start: have one for a module."""
    require_ray()
    from ingest.ray_engine import connected

    with connected("local") as ray:
        yield ray
