"""Is all of the file there? What each kind of file declares, against what it holds.

WAV, AIFF, AU, W64   the size of the sample data in the header, against the file's size
Ogg                  the size of the last page, against the file's size
FLAC                 the number of samples in the header, against those decoded
MP3                  the same from a Xing or Info header; without one nothing is declared
MP4, Matroska, WebM  the duration, against the end of the last packet
"""

import re
from io import FileIO
from pathlib import Path
from typing import Any

from ingest.errors import TruncatedAudioError

TOLERANCE_S = 0.25
"""A lossy file's declared and decoded lengths may differ by its encoder's delay and padding, but by no more."""

_REMEDY = "fetch or export the file again"
_MAGIC = (b"RIFF", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b"caff", b"\x1aE\xdf\xa3")
_DECLARED_SIZE = re.compile(r"^\s*(?:data|SSND|riff|Data Size)\s*: (\d+) \(should be (\d+)\)", re.MULTILINE)
_UNKNOWN_SIZES = (range(0x7FFFF000, 0x80000000), range(0xFFFFF000, 0x100000000))
"""What programs that write to a pipe put in place of a size that they cannot know."""
_OGG_PAGE_HEADER, _OGG_PAGE_MAX = 27, 27 + 255 + 255 * 255


def begins_like_audio(head: bytes) -> bool:
    """Whether the first bytes are those of an audio container, so that a decoder's refusal means damage."""
    return head.startswith(_MAGIC) or head[4:8] == b"ftyp"


def check_ogg(path: Path, file: FileIO, head: bytes) -> None:
    """Raise TruncatedAudioError when the last Ogg page is cut. A cut between two pages cannot be seen."""
    if not head.startswith(b"OggS"):
        return
    size = file.seek(0, 2)
    file.seek(max(0, size - _OGG_PAGE_MAX))
    tail = file.read(_OGG_PAGE_MAX)
    page = tail[tail.rfind(b"OggS") :]
    lacing = page[_OGG_PAGE_HEADER : _OGG_PAGE_HEADER + page[26]] if len(page) >= _OGG_PAGE_HEADER else b""
    whole = len(page) >= _OGG_PAGE_HEADER and len(lacing) == page[26]
    rest = len(page) - _OGG_PAGE_HEADER - len(lacing) - sum(lacing)
    if not whole or rest < 0 or (0 < rest < 4 and b"OggS".startswith(page[-rest:])):
        raise TruncatedAudioError(path, "its last Ogg page is cut", _REMEDY)


def check_pcm_sizes(path: Path, sound: Any) -> None:
    """Raise TruncatedAudioError when libsndfile had to correct a declared size downwards."""
    for declared, actual in _DECLARED_SIZE.findall(sound.extra_info):
        unknown = any(int(declared) in sizes for sizes in _UNKNOWN_SIZES)
        if int(declared) > int(actual) and not unknown:
            raise TruncatedAudioError(path, f"declares {declared} bytes of samples but holds {actual}", _REMEDY)


def declared_frames(file: FileIO, sound: Any) -> tuple[int, int]:
    """How many samples a channel the file declares, and how many fewer are still well; 0 when it declares none."""
    if sound.format == "FLAC" and sound.frames < 1 << 36:
        return sound.frames, 0
    if sound.format == "MP3" and _has_xing_frames(file):
        return sound.frames, round(TOLERANCE_S * sound.samplerate)
    return 0, 0


def _has_xing_frames(file: FileIO) -> bool:
    """Whether an MP3's first frame is a Xing or Info header that holds the number of frames."""
    position = file.tell()  # the decoder reads from the same descriptor
    file.seek(0)
    start = file.read(10)
    if start.startswith(b"ID3"):
        file.seek(10 + sum((byte & 0x7F) << shift for byte, shift in zip(start[6:10], (21, 14, 7, 0), strict=False)))
    else:
        file.seek(0)
    frame = file.read(64)
    file.seek(position)
    found = max(frame.find(b"Xing"), frame.find(b"Info"))
    return found >= 0 and len(frame) >= found + 8 and bool(frame[found + 7] & 1)


def check_container(path: Path, container: Any, end_s: float) -> None:
    """Raise TruncatedAudioError when the packets of an MP4 or Matroska end before the declared duration.

    Other containers declare none, or FFmpeg estimates it from the bit rate; so do recordings still being written.
    """
    declares = {"mov", "matroska"} & set(container.format.name.split(","))
    declared_s = (container.duration or 0) / 1e6
    if declares and end_s < declared_s - TOLERANCE_S:
        raise TruncatedAudioError(path, f"declares {declared_s:.2f} s but holds {end_s:.2f} s", _REMEDY)
