"""The model of the live core's tests, for the page."""

from tests.app.live.conftest import model

__all__ = ["model"]
