"""Per browser: what its script runs share, kept in Streamlit's session state."""

import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from app.live.engine import Engine
from app.live.listening import Listening
from app.live.recording import FULL_SCALE
from app.live.snapshot import Snapshot
from app.page.intake import Intake
from app.page.line import Line
from app.page.parts.heard import Card
from app.page.pictures import mel_of, mel_picture, mp3
from app.page.settings import IceServers, PageSettings
from ingest.audio.clip import Waveform

MOST_CARDS = 6
LEAD_S = 0.5
CARD_S = 10.0
"""How much of a long event a card holds."""


@dataclass
class Session:
    """cards: by listener, number of the event and whether it was open. recorded: the recordings of this session."""

    settings: PageSettings
    engine: Engine
    intake: Intake
    ice: IceServers
    trouble: str = ""
    line: Line = field(default_factory=Line)
    cards: dict[tuple[str, int, bool], Card] = field(default_factory=dict)
    recorded: list[Path] = field(default_factory=list)


def recent_cards(session: Session, listening: Listening | None, snapshot: Snapshot | None) -> list[Card]:
    """Cards of the newest events, newest first. Each is drawn when its event is told and once more when it ends."""
    if listening is None or snapshot is None:
        return []
    found = []
    for event in reversed(snapshot.events[-MOST_CARDS:]):
        key = (listening.id, event.number, event.open)
        if key not in session.cards:
            begin_s, end_s = max(0.0, event.start_s - LEAD_S), min(event.end_s, event.start_s + CARD_S)
            waveform = kept(listening, begin_s, end_s)
            when = moment(snapshot.started_at, event.start_s)
            image = mel_picture(mel_of(waveform), 240) if waveform is not None else ""
            sound = mp3(waveform, listening.engine.grid.sample_rate) if waveform is not None else ""
            card = Card(event.class_name, when, event.peak, event.open, image, sound, end_s - begin_s)
            session.cards[key] = card
            if not event.open:
                session.cards.pop((listening.id, event.number, True), None)
        found.append(session.cards[key])
    for old in list(session.cards)[: -4 * MOST_CARDS]:
        del session.cards[old]
    return found


def kept(listening: Listening, begin_s: float, end_s: float) -> Waveform | None:
    """What the listener still has of a time, float32 mono at its encoder's rate."""
    segment = listening.audio(begin_s, end_s)
    if segment is None:
        return None
    return np.frombuffer(segment.raw_data, "<i2").astype(np.float32) / np.float32(FULL_SCALE)


def moment(started_at: float | None, at_s: float) -> str:
    """The time of day of a second of the session, in the server's zone."""
    return time.strftime("%H:%M:%S", time.localtime((started_at or 0.0) + at_s))
