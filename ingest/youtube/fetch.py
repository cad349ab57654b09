"""Touches network and disk: one segment, from its id to a finished file. The shard function of ingest.

Failures are results, not exceptions: exactly one `FetchResult` comes back for each segment that is asked for.
"""

import hashlib
import io
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from ingest.audioset.segments import Segment
from ingest.errors import FetchError, UsageError
from ingest.ledger.ledger import AudioFile
from ingest.ledger.outcomes import NOT_IN_MIRROR, Outcome, classify
from ingest.places.files import write_whole
from ingest.youtube.cut import QUIETEST, Cut, cut_audio
from ingest.youtube.mirror import Copies
from ingest.youtube.naming import audio_path
from ingest.youtube.remote import MediaStream, NotSeekableError, RemoteFile
from ingest.youtube.sources import Sources
from ingest.youtube.streams import Source

FORMATS = {"flac": "PCM_16", "wav": "PCM_16", "ogg": "VORBIS"}
"""Suffix -> libsndfile's name of the coding."""
SCRATCH = ".scratch"
_BLOCK = 1 << 15  # libsndfile's Vorbis encoder keeps what it is given on the stack


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """What the finished files are, and how long one may take.

    sample_rate: in Hz; None keeps the source's. channels: "mono" or "source".
    timeout_s: for a connection and for each wait for bytes. deadline_s: for all reads of one segment.
    """

    format: str = "flac"
    sample_rate: int | None = 16_000
    channels: str = "mono"
    timeout_s: float = 30.0
    deadline_s: float = 300.0

    def __post_init__(self) -> None:
        if self.format not in FORMATS:
            raise UsageError(
                f"--format must be one of {', '.join(FORMATS)}, got {self.format!r}; leave it out for flac"
            )
        if self.channels not in ("mono", "source"):
            raise UsageError(f"--channels must be mono or source, got {self.channels!r}; leave it out for mono")
        if self.sample_rate is not None and not 1_000 <= self.sample_rate <= 384_000:
            raise UsageError(f"--sample-rate must be `source` or 1000 to 384000 Hz, got {self.sample_rate}; try 16000")


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What came of asking for `segment`: a file, or an outcome, or (when told to stop) neither.

    asked: the names of the sources that were, in order; the file is of the last.
    bytes_read: of the media; from a mirror, of the clip alone. seconds: it all took.
    """

    segment: Segment
    file: AudioFile | None
    outcome: Outcome | None
    asked: tuple[str, ...]
    bytes_read: int
    seconds: float


def fetch_segment(
    segment: Segment, folder: Path, sources: Sources, settings: FetchSettings, stop: threading.Event | None = None
) -> FetchResult:
    """Find, read, cut, check and write one segment below `folder`, from the first source that has it.

    May be called from many threads. What lies with the video (gone, for members, blocked in this country) sends us on
    to the next source; any other failure ends the attempt, as the source we prefer may have it later.
    """
    began, meter = time.monotonic(), _Meter(stop)
    file, outcomes = None, list[Outcome]()
    try:
        for name, source in sources.items():
            meter.asked += (name,)
            found = _try(segment, folder, source, settings, meter)
            if isinstance(found, AudioFile):
                file = found
                break
            outcomes.append(found)
            if not found.failure.asks_elsewhere:
                break
    except InterruptedError:
        outcomes.clear()
    outcome = None if file else _telling(outcomes)
    return FetchResult(segment, file, outcome, meter.asked, meter.bytes_read, time.monotonic() - began)


def _telling(outcomes: Sequence[Outcome]) -> Outcome | None:
    """The one to record: what ended the attempt, else the first, unless it only says that a mirror has no copy."""
    if outcomes and not outcomes[-1].failure.asks_elsewhere:
        return outcomes[-1]
    return min(outcomes, key=lambda outcome: outcome.failure.name == NOT_IN_MIRROR, default=None)


def _try(
    segment: Segment, folder: Path, source: Source | Copies, settings: FetchSettings, meter: "_Meter"
) -> AudioFile | Outcome:
    try:
        if isinstance(source, Copies):
            cut = _cut_copy(segment, source, meter)
        else:
            cut = _cut_video(segment, folder, source, settings, meter)
        return save(cut, segment.key, folder, settings)
    except InterruptedError:
        raise
    except Exception as error:
        return classify(error)


def _cut_copy(segment: Segment, mirror: Copies, meter: "_Meter") -> Cut:
    """The mirror's file is the segment itself: it begins where the segment does."""
    copy = mirror.find(segment)
    if copy is None:
        raise FetchError(NOT_IN_MIRROR, f"the mirror has no clip of {segment.youtube_id} from {segment.start_s:g} s on")
    meter.bytes_read += len(copy)
    return cut_audio(io.BytesIO(copy), 0.0, segment.end_s - segment.start_s)


def _cut_video(segment: Segment, folder: Path, source: Source, settings: FetchSettings, meter: "_Meter") -> Cut:
    stream = source.find(segment.youtube_id)
    if stream.seekable:
        try:
            return _cut_remote(segment, stream, settings, meter)
        except NotSeekableError:
            pass
    scratch = folder / SCRATCH
    scratch.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch) as temporary:
        whole = source.download(segment.youtube_id, Path(temporary), settings.deadline_s)
        meter.bytes_read += whole.stat().st_size
        with whole.open("rb") as file:
            return cut_audio(file, segment.start_s, segment.end_s, stream.duration_s)


def _cut_remote(segment: Segment, stream: MediaStream, settings: FetchSettings, meter: "_Meter") -> Cut:
    file = RemoteFile(stream, timeout_s=settings.timeout_s, deadline_s=settings.deadline_s, stop=meter.stop)
    try:
        return cut_audio(file, segment.start_s, segment.end_s, stream.duration_s)
    finally:
        meter.bytes_read += file.bytes_read
        file.close()


def save(cut: Cut, key: str, folder: Path, settings: FetchSettings) -> AudioFile:
    """Downmix, resample, encode and write, whole or not at all.

    Raises:
        FetchError: silent: the channels cancel each other.
        OSError: the disk does not take it.
    """
    samples, rate = shape(cut, settings)
    if np.abs(samples).max() < QUIETEST:
        raise FetchError("silent", "nothing is left of it once the channels are mixed")
    data = encode(samples, rate, settings.format)
    relative = audio_path(key, settings.format)
    write_whole(folder / relative, data)
    sha256 = hashlib.sha256(data).hexdigest()
    return AudioFile(str(relative), len(data), sha256, samples.shape[0] / rate, rate)


def shape(cut: Cut, settings: FetchSettings) -> tuple[npt.NDArray[np.float32], int]:
    """float32 [samples, channels] and their rate, as the settings want them."""
    import soxr

    samples = cut.samples.mean(axis=0, keepdims=True) if settings.channels == "mono" else cut.samples
    rate = settings.sample_rate or cut.sample_rate
    shaped = np.ascontiguousarray(samples.T)
    if rate != cut.sample_rate:
        shaped = soxr.resample(shaped, cut.sample_rate, rate, quality="HQ")
    return shaped, rate


def encode(samples: npt.NDArray[np.float32], rate: int, suffix: str) -> bytes:
    """In memory: so a full disk shows as what it is, and the checksum is of what was meant."""
    import soundfile

    buffer = io.BytesIO()
    with soundfile.SoundFile(
        buffer, "w", rate, samples.shape[1], format=suffix.upper(), subtype=FORMATS[suffix]
    ) as out:
        for start in range(0, len(samples), _BLOCK):
            out.write(samples[start : start + _BLOCK])
    return buffer.getvalue()


@dataclass(slots=True)
class _Meter:
    """Whom it took and what, so far; outlives the exception that ends it."""

    stop: threading.Event | None
    asked: tuple[str, ...] = ()
    bytes_read: int = 0
