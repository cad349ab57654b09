"""Settings arrive whole; servers come from secrets or the environment."""

from pathlib import Path

import pytest

from app.page.settings import STUN, TURN, TURN_PASSWORD, TURN_USER, IceServers, PageSettings, ice_servers
from ingest.errors import UsageError


def test_settings_survive_the_command_line() -> None:
    for settings in (PageSettings(), PageSettings((Path("a b"), Path('c"d')), Path("w"), Path("k"), 3, "int8")):
        assert PageSettings.from_text(settings.to_text()) == settings


def test_no_server_is_asked_unless_somebody_says_so() -> None:
    assert ice_servers({}, {}) == IceServers()
    assert IceServers().to_rtc() == {"iceServers": []}


def test_secrets_go_before_the_environment() -> None:
    environment = {STUN: "stun:a:1, stun:b:2", TURN: "turn:t:3", TURN_USER: "u", TURN_PASSWORD: "p"}
    found = ice_servers({"turn_password": "better"}, environment)
    assert found == IceServers(("stun:a:1", "stun:b:2"), ("turn:t:3",), "u", "better")
    assert found.to_rtc()["iceServers"] == [
        {"urls": ["stun:a:1"]},
        {"urls": ["stun:b:2"]},
        {"urls": ["turn:t:3"], "username": "u", "credential": "better"},
    ]


@pytest.mark.parametrize(
    ("environment", "named"),
    [({STUN: "example.org"}, STUN), ({TURN: "stun:x"}, TURN), ({TURN: "turn:x", TURN_USER: "u"}, TURN_PASSWORD)],
)
def test_mistakes_name_the_variable(environment: dict[str, str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        ice_servers({}, environment)
