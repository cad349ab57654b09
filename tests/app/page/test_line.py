"""The connection under load: what the browser told in between is lost, and the count of runs comes late."""

from types import SimpleNamespace
from typing import Any

import pytest

from app.page.line import Line, keep_rendered

IDLE = {"playing": False, "sdpOffer": "", "iceCandidates": {}}
PLAYING = {"playing": True, "sdpOffer": "", "iceCandidates": {}}


def offer(sdp: str) -> dict[str, Any]:
    return {"playing": False, "sdpOffer": {"type": "offer", "sdp": sdp}, "iceCandidates": {}}


def seen(line: Line, *values: dict[str, Any] | None) -> list[tuple[bool, bool]]:
    """What each run of the script does: whether it wants the frame to play, whether it runs again."""
    runs = []
    for value in values:
        line.see(value)
        runs.append((line.wanted(True), line.settled()))
    return runs


def test_a_connection_that_comes_and_goes_in_order_is_left_alone() -> None:
    told = [None, IDLE, offer("a"), offer("a"), PLAYING, PLAYING, IDLE, offer("b"), PLAYING, None, PLAYING]
    line = Line()
    assert seen(line, *told) == [(True, False)] * len(told)
    assert not line.wanted(False)


@pytest.mark.parametrize("before", [PLAYING, offer("a")])
def test_a_second_offer_without_a_stop_stops_the_frame_until_that_was_seen(before: dict[str, Any]) -> None:
    line = Line()
    assert seen(line, IDLE, offer("a"), before, offer("b"), offer("b")) == [
        (True, False), (True, False), (True, False), (False, False), (False, False),
    ]  # fmt: skip
    assert seen(line, IDLE, IDLE, offer("c"), PLAYING) == [(False, True), (True, False), (True, False), (True, False)]


def test_the_package_takes_a_late_count_for_another_page_and_is_kept_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against the installed streamlit-webrtc, so that an update that does otherwise is noticed."""
    from streamlit_webrtc import component

    session_state: dict[str, Any] = {}
    info, resets = SimpleNamespace(script_run_count=5), list[object]()
    monkeypatch.setattr(component, "get_this_session_info", lambda: info)
    monkeypatch.setattr(component, "_reset_context", resets.append)
    monkeypatch.setattr(component.st, "session_state", session_state)

    def run(count: int) -> None:
        info.script_run_count = count
        component._get_or_create_context("sound")

    run(5)
    run(7)
    assert len(resets) == 1, "the package counts no more: `keep_rendered` has nothing to do"
    keep_rendered(session_state, "sound")
    run(9)
    assert len(resets) == 1
    assert session_state["sound"]._last_rendered_run_count == 9
    keep_rendered({}, "sound")
