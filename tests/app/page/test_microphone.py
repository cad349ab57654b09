"""What is said before there is any sound."""

import pytest

from app.live.states import State
from app.page.microphone import CONNECT_S, Microphone, status_without_sound


def status(microphone: Microphone, waited_s: float = 1.0, turn: bool = False) -> tuple[State, str, str]:
    said = status_without_sound(microphone, waited_s=waited_s, turn=turn, window_s=10)
    return said.state, said.message, said.remedy


def test_nobody_asked_for_anything() -> None:
    assert status(Microphone())[0] is State.ENDED
    assert Microphone.of(None) == Microphone()


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"permission": "denied"}, ("not allowed", "Allow it for this page")),
        ({"trouble": "insecure", "secure": False}, ("not secure", "https://")),
        ({"trouble": "NotFoundError"}, ("No microphone", "Plug one in")),
        ({"trouble": "NotReadableError"}, ("cannot be opened", "Close other programs")),
        ({"trouble": "AbortError"}, ("AbortError", "Try again")),
    ],
)
def test_what_the_browser_refuses_comes_with_a_remedy(said: dict[str, object], words: tuple[str, str]) -> None:
    state, message, remedy = status(Microphone.of({"on": False, **said}))
    assert state is State.NO_AUDIO
    assert words[0] in message
    assert words[1] in remedy


def test_asking_connecting_and_no_way_through() -> None:
    assert status(Microphone.of({"permission": "asking"}))[0] is State.PERMISSION
    granted = Microphone.of({"on": True, "permission": "granted", "secure": True})
    assert status(granted)[0] is State.CONNECTING
    state, message, remedy = status(granted, CONNECT_S + 1)
    assert (state, "ICE" in message) == (State.NO_AUDIO, True)
    assert "Set up a TURN server" in remedy
    assert "Check the TURN server" in status(granted, CONNECT_S + 1, turn=True)[2]
