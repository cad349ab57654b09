"""Touches the disk: the audio of a few examples, small enough to stand in the report itself."""

import base64
import io
from collections.abc import Iterable
from pathlib import Path

from classifiers.report.examples import Example
from ingest.errors import AudioError

MAX_BYTES = 3_000_000
"""Of all players in a page: about seventy examples of ten seconds."""
FARTHEST_S = 900.0
"""A window is reached by decoding its file from the start; one that begins later is left out."""
SAMPLE_RATE = 16_000


def load_players(examples: Iterable[Example], max_bytes: int = MAX_BYTES) -> dict[str, str]:
    """The examples whose audio is there, as MP3 in data addresses: key -> address. What cannot be read is left out."""
    players: dict[str, str] = {}
    room = max_bytes
    for example in examples:
        if not example.path or example.offset_s > FARTHEST_S or example.key in players:
            continue
        sound = _mp3(example)
        if sound and len(sound) <= room:
            players[example.key] = sound
            room -= len(sound)
    return players


def _mp3(example: Example) -> str | None:
    import soundfile

    from ingest.audio.windows import read_windows

    try:
        windows = read_windows(Path(example.path), sample_rate=SAMPLE_RATE)
        clip = next((clip for clip in windows if abs(clip.start_s - example.offset_s) < 0.5), None)
    except AudioError:
        return None
    if clip is None:
        return None
    file = io.BytesIO()
    soundfile.write(
        file, clip.waveform.clip(-1, 1), SAMPLE_RATE, format="MP3", bitrate_mode="VARIABLE", compression_level=0.7
    )
    return "data:audio/mpeg;base64," + base64.b64encode(file.getvalue()).decode()
