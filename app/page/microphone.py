"""What the page says before any sound has come, and while nobody listens. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from app.live.states import Facts, State, Status, Transport, status_of

CONNECT_S = 12.0
"""For so long a connection may take before we say that something is wrong with it."""

IDLE = Status(State.ENDED, "Press Listen, and allow the microphone when the browser asks.", "")

_TROUBLES = {
    "insecure": Status(
        State.NO_AUDIO,
        "This page is not secure, and browsers give out the microphone over HTTPS or on localhost only.",
        "Open it over https:// or, on the same machine, at http://localhost. A recording can be uploaded either way.",
    ),
    "NotFoundError": Status(
        State.NO_AUDIO,
        "No microphone was found.",
        "Plug one in, or choose one in the system's settings; then try again.",
    ),
    "NotReadableError": Status(
        State.NO_AUDIO,
        "The microphone is there but cannot be opened.",
        "Close other programs that hold it, then try again.",
    ),
}
"""Names of getUserMedia's errors -> what they mean."""

_DENIED = Status(
    State.NO_AUDIO,
    "The browser was not allowed to use the microphone.",
    "Allow it for this page (the sign beside the address, or the site settings), then press Listen again.",
)


@dataclass(frozen=True, slots=True)
class Microphone:
    """What the button told: whether to listen, and what the browser said to that.

    permission: "" unknown, "asking", "granted", "denied". secure: see `Transport`.
    trouble: "insecure", or the name of the error that came instead of the microphone.
    """

    on: bool = False
    permission: str = ""
    secure: bool | None = None
    trouble: str = ""

    @classmethod
    def of(cls, said: Mapping[str, Any] | None) -> "Microphone":
        said = said or {}
        return cls(
            on=bool(said.get("on")),
            permission=str(said.get("permission", "")),
            secure=said.get("secure"),
            trouble=str(said.get("trouble", "")),
        )

    def transport(self, *, turn: bool, flowing: bool) -> Transport:
        """flowing: whether audio has come over this connection."""
        permission = self.permission if self.permission in ("asking", "granted", "denied") else ""
        return Transport(
            kind="webrtc",
            permission=cast("Any", permission),
            secure=self.secure,
            ice="connected" if flowing else "checking",
            turn=turn,
        )


def status_without_sound(microphone: Microphone, *, waited_s: float, turn: bool, window_s: float) -> Status:
    """How it stands while no sound has come over this connection.

    waited_s: since the microphone was granted.
    """
    if microphone.permission == "denied":
        return _DENIED
    if microphone.trouble:
        unknown = Status(State.NO_AUDIO, f"The microphone could not be opened ({microphone.trouble}).", "Try again.")
        return _TROUBLES.get(microphone.trouble, unknown)
    if not microphone.on and microphone.permission != "asking":
        return IDLE
    facts = Facts(
        transport=microphone.transport(turn=turn, flowing=False),
        waited_s=waited_s,
        quiet_s=None,
        filled_s=0.0,
        window_s=window_s,
    )
    return status_of(facts, stall_s=CONNECT_S, muted_s=1.0)
