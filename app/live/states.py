"""How a listener is doing, in one word and one sentence, and what would help. Pure: facts in, status out."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

from ingest.counted import counted


class State(StrEnum):
    """What a listener is doing. The order is that of a session's life."""

    PERMISSION = "permission"
    """The browser is asking for the microphone."""
    CONNECTING = "connecting"
    FILLING = "filling"
    """Audio comes, but less than a window so far."""
    LISTENING = "listening"
    MUTED = "muted"
    """Audio comes, and it is digital silence."""
    NO_AUDIO = "no_audio"
    """Connected or not, nothing comes; the message says what is likely."""
    OVERLOADED = "overloaded"
    """Windows had to be skipped."""
    ENDED = "ended"


Ice = Literal["", "new", "checking", "connected", "completed", "disconnected", "failed", "closed"]


@dataclass(frozen=True, slots=True)
class Transport:
    """What is known of the way the audio comes. Whoever owns the connection keeps it up to date.

    kind: "webrtc" has a permission, ICE and maybe TURN; "stream" is a client that sends, as over a WebSocket.
    permission: "" when unknown; "asking" while the browser asks; "granted", "denied".
    secure: whether the page came over HTTPS or from localhost, where browsers give out microphones; None if unknown.
    ice: `iceConnectionState` of the peer connection, "" when unknown. turn: whether a TURN server is configured.
    """

    kind: Literal["webrtc", "stream"] = "stream"
    permission: Literal["", "asking", "granted", "denied"] = ""
    secure: bool | None = None
    ice: Ice = ""
    turn: bool = False


CONNECTED = Transport()
"""A client that sends, and needs neither permission nor ICE."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a listener's state follows from; all times in seconds.

    waited_s: since the listener was opened. quiet_s: since audio last came; None before the first.
    filled_s, window_s: audio in the window, and what it takes. silent_s: of digital silence at the end.
    skipped, dropped_s: windows and audio lost in the last seconds.
    ended: why it ended, None while it has not.
    """

    transport: Transport
    waited_s: float
    quiet_s: float | None
    filled_s: float
    window_s: float
    silent_s: float = 0.0
    skipped: int = 0
    dropped_s: float = 0.0
    ended: str | None = None


@dataclass(frozen=True, slots=True)
class Status:
    """state, in words, and what to do about it ("" when nothing needs doing)."""

    state: State
    message: str
    remedy: str = ""

    def to_json(self) -> dict[str, Any]:
        return {"state": self.state.value, "message": self.message, "remedy": self.remedy}


def status_of(facts: Facts, *, stall_s: float, muted_s: float) -> Status:
    """The state that counts most: one that keeps us from hearing goes before one that tells how it goes."""
    if facts.ended is not None:
        return Status(State.ENDED, facts.ended or "Listening has ended.")
    if facts.quiet_s is None:
        return _before_audio(facts, stall_s)
    if facts.quiet_s > stall_s:
        return _no_audio(facts, f"No audio for {facts.quiet_s:.0f} s")
    return _with_audio(facts, muted_s)


def _with_audio(facts: Facts, muted_s: float) -> Status:
    if facts.skipped or facts.dropped_s:
        lost = [f"{counted(facts.skipped, 'window')} skipped"] if facts.skipped else []
        lost += [f"{facts.dropped_s:.1f} s of audio dropped"] if facts.dropped_s else []
        return Status(
            State.OVERLOADED,
            f"This machine cannot keep up: {', '.join(lost)} in the last seconds.",
            "Close other listeners or other work on it, or score less often (step_s).",
        )
    if facts.silent_s >= muted_s:
        return Status(
            State.MUTED,
            f"Digital silence for {facts.silent_s:.0f} s: the source sends nothing but zeros.",
            "Unmute the microphone, in the system's settings too, or choose another one.",
        )
    if facts.filled_s < facts.window_s:
        return Status(State.FILLING, f"Filling the first window: {facts.filled_s:.1f} of {facts.window_s:g} s.")
    return Status(State.LISTENING, "Listening.")


def _before_audio(facts: Facts, stall_s: float) -> Status:
    transport = facts.transport
    if transport.permission == "asking":
        return Status(
            State.PERMISSION,
            "Waiting for permission to use the microphone.",
            "Allow it in the browser: the request is at the address bar.",
        )
    hopeless = transport.permission == "denied" or transport.secure is False or transport.ice in _BROKEN
    if hopeless or facts.waited_s > stall_s:
        return _no_audio(facts, f"No audio after {facts.waited_s:.0f} s")
    return Status(State.CONNECTING, "Connecting.")


_BROKEN = ("failed", "disconnected", "closed")

_DIAGNOSES: tuple[tuple[Callable[[Transport], bool], str, str], ...] = (
    (
        lambda t: t.permission == "denied",
        "the browser was not allowed to use the microphone",
        "Allow it in the browser's settings for this site, then start again.",
    ),
    (
        lambda t: t.secure is False,
        "the page is not secure, and browsers give out the microphone over HTTPS or on localhost only",
        "Open the page over https:// or, on the same machine, at http://localhost.",
    ),
    (
        lambda t: t.kind == "webrtc" and t.ice in ("failed", "disconnected", "checking", "new") and not t.turn,
        "the browser and this machine found no way to each other (ICE), and no TURN server is set up",
        "Set up a TURN server, or come from the same network; a firewall that blocks UDP does this.",
    ),
    (
        lambda t: t.kind == "webrtc" and t.ice in ("failed", "disconnected", "checking", "new"),
        "the browser and this machine found no way to each other (ICE), not even over TURN",
        "Check the TURN server's address, user and password, and that its port is open.",
    ),
    (
        lambda t: t.ice == "closed",
        "the connection was closed at the other end",
        "Start again.",
    ),
    (
        lambda t: t.kind == "webrtc",
        "the connection stands but the microphone gives nothing",
        "Check that it is plugged in, that no other program holds it, and that the right one is chosen.",
    ),
    (
        lambda t: True,
        "the client is connected but sends nothing",
        "Check that it sends its audio, and in chunks of a second or less.",
    ),
)
"""First that fits: when, what is likely, what to do."""


def _no_audio(facts: Facts, seen: str) -> Status:
    cause, remedy = next((cause, remedy) for fits, cause, remedy in _DIAGNOSES if fits(facts.transport))
    return Status(State.NO_AUDIO, f"{seen}: {cause}.", remedy)
