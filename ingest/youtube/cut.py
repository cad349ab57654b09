"""Touches what it reads from: exact seconds out of an audio or video file, near or far. Writes nothing.

Positions are the presentation times that the container states, in the source's own samples: what the codec puts in
front (the pre-skip of Opus, the priming of AAC, edit lists) is already taken off by then. Decoding starts a little
before the cut, as most codecs need some packets to settle after a seek, and what comes too early is thrown away.
"""

from dataclasses import dataclass
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from ingest.audio.samples import to_float
from ingest.errors import FetchError
from ingest.youtube.remote import RemoteFile

SETTLE_S = 0.25
"""Decoded and thrown away before the cut; Opus asks for 0.08, AAC for one frame."""
MISSING_AT_END_S = 0.25
"""How much earlier than the segment a video may end: AudioSet's times and sites' durations are that coarse."""
QUIETEST = 2.0**-16
"""Below half a step of 16 bits everything is digital silence, whatever a lossy codec makes of it."""
_JUMP_S = 0.01
"""Time stamps in milliseconds wobble by less than this; more is a real gap or overlap."""
_CONTAINERS = "mov,matroska,webm,ogg,aac,flac,flv,mp3,mpegts,wav"
"""No playlists: they would have the decoder open other addresses."""
_EXACT_SEEK = {"matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2", "ogg", "wav", "flac"}
"""Formats that know where they are after a seek, and whose zero is the zero of the recording. The others (MP3, MPEG-TS)
guess, so they are decoded from their start, and count from wherever that is."""


@dataclass(frozen=True, slots=True)
class Cut:
    """samples: float32 [channels, samples] in [-1, 1]. container: its name in libav."""

    samples: npt.NDArray[np.float32]
    sample_rate: int
    container: str

    @property
    def duration_s(self) -> float:
        return self.samples.shape[1] / self.sample_rate


def cut_audio(source: IO[bytes] | RemoteFile, start_s: float, end_s: float, duration_s: float | None = None) -> Cut:
    """The audio of [start_s, end_s) of `source`, in its own rate and channels, first and last sample exact.

    Args:
        source: a binary file, seekable. A `RemoteFile` is told how many bytes will be wanted.
        duration_s: of the whole recording as others state it, to tell a short video from a broken download.
    Raises:
        FetchError: no-audio, undecodable, truncated (it states more than it holds), too-short (the recording ends
            before the segment does) or silent (every sample zero).
        Exception: whatever `source` raises.
    """
    import av

    try:
        with av.open(source, metadata_errors="ignore", options={"format_whitelist": _CONTAINERS}) as container:
            if not container.streams.audio:
                raise FetchError("no-audio", "the file has no audio stream")
            stream = container.streams.audio[0]
            _announce(source, container, end_s - start_s)
            exact = container.format.name in _EXACT_SEEK
            cut = _decode(container, stream, start_s, end_s, seek=exact)
            if cut is None and exact:  # the index pointed behind the start
                cut = _decode(container, stream, start_s, end_s, seek=False)
            known_s = max(_stated_duration_s(container, stream), duration_s or 0.0)
            return _checked(cut, container.format.name, start_s, end_s, known_s)
    except av.error.FFmpegError as error:
        if failure := getattr(source, "failure", None):
            raise failure from error
        raise FetchError("undecodable", f"{type(error).__name__}: {error.strerror or error}") from error
    except FetchError as error:
        failure = getattr(source, "failure", None)
        if failure and failure is not error:
            raise failure from error  # why it looked short or broken
        raise


def _announce(source: IO[bytes] | RemoteFile, container: Any, wanted_s: float) -> None:
    """Let a remote source fetch the segment in about one request."""
    if isinstance(source, RemoteFile) and container.duration:
        bytes_per_s = source.size / (container.duration / 1_000_000)
        source.read_ahead = int(min(max(bytes_per_s * (wanted_s + SETTLE_S), 16 * 1024), 1024 * 1024))


def _decode(
    container: Any, stream: Any, start_s: float, end_s: float, *, seek: bool
) -> tuple[npt.NDArray[np.float32], int] | None:
    """Samples [channels, samples] and rate; None when decoding began behind `start_s` after a seek."""
    absolute = container.format.name in _EXACT_SEEK
    origin_s = 0.0 if absolute else (container.start_time or 0) / 1_000_000
    container.seek(round((max(0.0, start_s - SETTLE_S) + origin_s if seek else 0.0) / stream.time_base), stream=stream)
    rate = samples = None
    first = wanted = expected = filled = 0
    ticks = None
    for frame in container.decode(stream):
        if frame.pts is None or not frame.samples:
            continue
        ticks = ticks or frame.time_base  # asked for once: fractions took as long as the samples
        time_s = frame.pts * ticks.numerator / ticks.denominator - origin_s
        block = _samples(frame)
        if samples is None:
            rate = frame.sample_rate
            first, wanted = round(start_s * rate), round((end_s - start_s) * rate)
            samples = np.zeros((len(block), wanted), np.float32)
            if seek and time_s > start_s and time_s > _JUMP_S:
                return None
            expected = round(time_s * rate) - first
        if frame.sample_rate != rate or len(block) != len(samples):
            raise FetchError("undecodable", "rate or channels change within the segment")
        position = round(time_s * rate) - first
        if abs(position - expected) <= _JUMP_S * rate:
            position = expected
        filled = max(filled, _place(samples, block, position))
        expected = position + block.shape[1]
        if expected >= wanted:
            break
    return None if samples is None or rate is None else (samples[:, :filled], rate)


def _place(samples: npt.NDArray[np.float32], block: npt.NDArray[np.float32], position: int) -> int:
    """Copy the part of `block` that falls inside `samples`; the end of what is filled by it."""
    start, end = max(0, position), min(samples.shape[1], position + block.shape[1])
    if start >= end:
        return 0
    samples[:, start:end] = block[:, start - position : end - position]
    return end


def _samples(frame: Any) -> npt.NDArray[np.float32]:
    """A decoded PyAV frame as float32 [channels, samples] in [-1, 1]."""
    array = frame.to_ndarray()
    return to_float(array if frame.format.is_planar else array.reshape(-1, frame.layout.nb_channels).T)


def _stated_duration_s(container: Any, stream: Any) -> float:
    """By the container itself; 0 when it does not say."""
    if stream.duration is not None:
        return float(stream.duration * stream.time_base)
    return (container.duration or 0) / 1_000_000


def _checked(
    decoded: tuple[npt.NDArray[np.float32], int] | None, container: str, start_s: float, end_s: float, known_s: float
) -> Cut:
    """Refuse what is not the segment: another duration, nothing at all, or digital silence."""
    samples, rate = decoded if decoded else (np.zeros((1, 0), np.float32), 1)
    got_s = samples.shape[1] / rate
    if not np.isfinite(samples).all():
        raise FetchError("undecodable", "the decoder gave NaN or infinite samples")
    if start_s + got_s < end_s - MISSING_AT_END_S or not samples.size:
        if known_s >= end_s - MISSING_AT_END_S:
            raise FetchError(
                "truncated", f"{got_s:.2f} of {end_s - start_s:.2f} s decode, of a video of {known_s:.1f} s"
            )
        raise FetchError("too-short", f"the video ends after {known_s:.1f} s, the segment after {end_s:g} s")
    if np.abs(samples).max() < QUIETEST:
        raise FetchError("silent", f"every sample from {start_s:g} to {end_s:g} s is zero")
    return Cut(samples, rate, container)
