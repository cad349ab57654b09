"""What `earshot app` hands over to the page that Streamlit runs. Reads the environment, here and nowhere else."""

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ingest.errors import UsageError

STUN, TURN, TURN_USER, TURN_PASSWORD = "EARSHOT_STUN", "EARSHOT_TURN", "EARSHOT_TURN_USER", "EARSHOT_TURN_PASSWORD"
SECRETS = "webrtc"
"""The section of Streamlit's secrets with the keys stun, turn, turn_user and turn_password."""

_SECRET_KEYS = {STUN: "stun", TURN: "turn", TURN_USER: "turn_user", TURN_PASSWORD: "turn_password"}


@dataclass(frozen=True, slots=True)
class PageSettings:
    """models: bundles that were named, in this order. weights_dir: a folder of the user's own weights.
    keep_dir: where recordings and taught clips go. max_listeners: at once.
    precision: of the encoders that have it; None for that which each bundle was trained on.
    """

    models: tuple[Path, ...] = ()
    weights_dir: Path | None = None
    keep_dir: Path = Path("earshot-sounds")
    max_listeners: int = 16
    precision: str | None = None

    def to_text(self) -> str:
        """One word of a command line."""
        return json.dumps(asdict(self), default=str)

    @classmethod
    def from_text(cls, text: str) -> "PageSettings":
        said = json.loads(text)
        models, own = tuple(map(Path, said["models"])), said["weights_dir"]
        paths = {"models": models, "weights_dir": Path(own) if own else None, "keep_dir": Path(said["keep_dir"])}
        return cls(**{**said, **paths})


@dataclass(frozen=True, slots=True)
class IceServers:
    """The servers that help a browser and this machine to find each other; none by default: nothing calls home.

    stun, turn: addresses like `stun:stun.example.org:3478`, several separated by commas.
    """

    stun: tuple[str, ...] = ()
    turn: tuple[str, ...] = ()
    user: str = ""
    password: str = ""

    def to_rtc(self) -> dict[str, Any]:
        """As `RTCPeerConnection` and aiortc take them."""
        servers: list[dict[str, Any]] = [{"urls": [url]} for url in self.stun]
        if self.turn:
            servers.append({"urls": list(self.turn), "username": self.user, "credential": self.password})
        return {"iceServers": servers}


def ice_servers(secrets: Mapping[str, Any] | None = None, environment: Mapping[str, str] | None = None) -> IceServers:
    """From Streamlit's secrets, and what they leave open from the environment.

    Raises:
        UsageError: an address that is none, or a TURN server without its user or password.
    """
    secrets, environment = secrets or {}, os.environ if environment is None else environment

    def said(name: str) -> str:
        return str(secrets.get(_SECRET_KEYS[name]) or environment.get(name, "")).strip()

    stun, turn = _addresses(STUN, said(STUN), ("stun:", "stuns:")), _addresses(TURN, said(TURN), ("turn:", "turns:"))
    user, password = said(TURN_USER), said(TURN_PASSWORD)
    if turn and not (user and password):
        raise UsageError(f"{TURN}: needs a user and a password; set {TURN_USER} and {TURN_PASSWORD} too")
    return IceServers(stun, turn, user, password)


def _addresses(name: str, text: str, schemes: tuple[str, ...]) -> tuple[str, ...]:
    found = tuple(part for word in text.split(",") if (part := word.strip()))
    for address in found:
        if not address.startswith(schemes):
            raise UsageError(f"{name}: must begin with {' or '.join(schemes)}, got {address!r}; correct it")
    return found
