"""Keeps the connection of streamlit-webrtc in step with the browser's, where load lets the two fall apart.

Its frame tells its state (idle, an offer, playing) as the value of a component, and Streamlit tells a script only the
latest value. A browser whose connection broke off goes idle and makes a new offer within a second. A script that is
busy for so long never sees it idle: the server's end of the old connection then stays, the new offer gets no answer,
and the browser waits for ever. `Line` notices the second offer and has the frame stop until the script has seen it.
"""

from collections.abc import Mapping, MutableMapping
from typing import Any


class Line:
    """Ask it in every run of the script: `see`, then `wanted`; `settled` behind the component."""

    def __init__(self) -> None:
        self._answered = ""
        self._idle = False
        self._restarting = False

    def see(self, value: Mapping[str, Any] | None) -> None:
        """value: of the component, as it is when a run begins; None tells nothing."""
        if value is None:
            return
        offer = str((value.get("sdpOffer") or {}).get("sdp", ""))
        self._idle = not value.get("playing") and not offer
        if self._idle:
            self._answered = ""
        elif offer and not self._answered:
            self._answered = offer
        elif offer and offer != self._answered:
            self._restarting = True

    def wanted(self, on: bool) -> bool:
        """Whether the frame is to play. on: whether somebody wants to listen."""
        return on and not self._restarting

    def settled(self) -> bool:
        """Whether a restart is over, so that the script must run again to tell the frame."""
        if not (self._restarting and self._idle):
            return False
        self._restarting = False
        return True


def keep_rendered(state: MutableMapping[Any, Any], key: str) -> None:
    """Before `webrtc_streamer(key)`: it is drawn in every run.

    The package takes a component for one that was not, and closes its connection, when the count of the session's runs
    went up by two since it was last drawn. The count is kept in another thread, which under load is late: then it goes
    up by two at once. Without a last time there is nothing to compare.
    """
    context = state.get(key)
    if context is not None:
        context._last_rendered_run_count = None
