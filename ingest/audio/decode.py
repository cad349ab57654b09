"""Touches the disk: an audio file becomes blocks of mono samples at its own rate, in constant memory.

libsndfile (soundfile) decodes what it can read; FFmpeg's libraries (PyAV) decode everything else. The content alone
decides what a file is: no name is taken for a format, an option or an address.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import Any

import numpy as np

from ingest.audio.clip import Waveform
from ingest.audio.samples import downmix
from ingest.audio.truncation import (
    begins_like_audio,
    check_container,
    check_ogg,
    check_pcm_sizes,
    declared_frames,
)
from ingest.errors import (
    EmptyAudioError,
    InvalidSamplesError,
    MissingAudioError,
    NotAudioError,
    TruncatedAudioError,
    UnreadableAudioError,
)

BLOCK_VALUES = 1 << 19
"""Samples times channels held at once: 2 MB of float32, ten seconds of one channel at 44.1 kHz and more."""

_CONTAINERS = (
    "mov,matroska,webm,ogg,aac,ac3,eac3,amr,ape,asf,avi,caf,dsf,dts,flac,flv,mp3,mpeg,mpegts,rm,tta,voc,wav,wv,xwma"
)
"""FFmpeg's formats that begin with a signature. Left out are those that it takes a file for by its suffix alone, and
playlists, which would open other files."""

_OPTIONS = {"format_whitelist": _CONTAINERS, "protocol_whitelist": "file"}

MIN_RATE, MAX_RATE = 1_000, 1_000_000
"""Hz. What lies outside is damage or malice: a block of a file that says 1 Hz would become gigabytes at 16 kHz."""

MAX_SAMPLE = 1e12
"""Full scale is 1, and integers of 32 bits that nobody scaled reach 2e9. What lies beyond is damage: sums of such
samples, as a resampler's or a spectrum's, leave the range of float32 and become NaN."""


@dataclass(frozen=True, slots=True)
class AudioStream:
    """An open audio file.

    sample_rate: of the samples, in Hz.
    blocks: mono float32 [samples], within +-MAX_SAMPLE, never empty, at least one block in all. May be read once;
        the errors that only decoding reveals (truncated, invalid samples) come out of it.
    """

    sample_rate: int
    blocks: Iterator[Waveform]


@contextmanager
def open_audio(path: Path) -> Iterator[AudioStream]:
    """Open an audio file for streaming.

    Raises:
        AudioError: one of its kinds, see `ingest.errors`; here, or while the blocks are read.
    """
    with _open_file(path) as file:
        head = file.read(64)
        if not head:
            raise EmptyAudioError(path, "the file has no bytes", "fetch or export it again")
        check_ogg(path, file, head)
        file.seek(0)
        opened = _open_soundfile(file)
        with opened if opened is not None else _open_pyav(path, head) as sound:
            if opened is not None:
                rate, blocks = sound.samplerate, _soundfile_blocks(path, file, sound)
            else:
                rate, blocks = sound.streams.audio[0].codec_context.sample_rate, _pyav_blocks(path, sound)
            if not MIN_RATE <= rate <= MAX_RATE:
                raise NotAudioError(
                    path, f"declares {rate} samples a second, outside {MIN_RATE} to {MAX_RATE}", "export it again"
                )
            yield AudioStream(rate, checked_blocks(path, blocks))


def declared_seconds(path: Path) -> float | None:
    """The length that a file declares, which need not be true; None where it says nothing, or is of no use."""
    import av

    try:
        with av.open(f"file:{path}", metadata_errors="ignore", options=_OPTIONS) as container:
            return container.duration / av.time_base if container.duration else None
    except (av.FFmpegError, OSError):
        return None


def _open_file(path: Path) -> FileIO:
    try:
        if not path.is_file() and path.exists() and not path.is_dir():  # a pipe would be waited for, for ever
            raise NotAudioError(path, "this is no ordinary file", "name a file with sound in it")
        return path.open("rb", buffering=0)
    except FileNotFoundError as error:
        raise MissingAudioError(path, "there is no such file", "check the path, or list the folder again") from error
    except IsADirectoryError as error:
        raise NotAudioError(path, "this is a folder", "name a file in it") from error
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise UnreadableAudioError(path, f"cannot be read ({reason})", "check its permissions and the disk") from error


def _open_soundfile(file: FileIO) -> Any | None:
    """A SoundFile, or None when libsndfile does not know the format, or gives up on healthy files of it: on Opus whose
    packets are small, as those of silence are (libsndfile 1.2.2)."""
    import soundfile

    try:
        sound = soundfile.SoundFile(file.fileno(), closefd=False)
    except soundfile.LibsndfileError:
        return None
    if sound.subtype == "OPUS":
        sound.close()
        return None
    return sound


def _soundfile_blocks(path: Path, file: FileIO, sound: Any) -> Iterator[Waveform]:
    import soundfile

    check_pcm_sizes(path, sound)
    declared, slack = declared_frames(file, sound)
    frames, decoded = max(1, BLOCK_VALUES // sound.channels), 0
    try:
        while len(block := sound.read(frames, dtype="float32", always_2d=True)):
            decoded += len(block)
            yield downmix(block)
    except soundfile.LibsndfileError as error:
        raise _broken_off(path, decoded / sound.samplerate, error) from error
    if decoded < declared - slack:
        raise TruncatedAudioError(
            path, f"declares {declared} samples but holds {decoded}", "fetch or export the file again"
        )


def _open_pyav(path: Path, head: bytes) -> Any:
    """A PyAV container that has an audio stream."""
    import av

    try:
        # the prefix keeps a name with a colon from being an address
        container = av.open(f"file:{path}", metadata_errors="ignore", options=_OPTIONS)
    except av.FFmpegError as error:
        if begins_like_audio(head):
            raise TruncatedAudioError(
                path, "begins like audio but its header is cut or damaged", "fetch or export the file again"
            ) from error
        raise NotAudioError(path, "no decoder recognises it as audio", "convert it to WAV or FLAC") from error
    if not container.streams.audio:
        container.close()
        raise NotAudioError(path, "it has no audio stream", "leave it out, or name the file that has the sound")
    if not (context := container.streams.audio[0].codec_context) or not context.sample_rate:
        container.close()
        raise NotAudioError(path, "its audio stream is of no known kind", "convert it to WAV or FLAC")
    return container


def _pyav_blocks(path: Path, container: Any) -> Iterator[Waveform]:
    import av

    stream = container.streams.audio[0]
    rate, end_s, fed = stream.codec_context.sample_rate, 0.0, False
    # Frames of some 20 ms are joined to blocks in C, and every sample format becomes float.
    joiner = av.AudioResampler(format="fltp", rate=rate, frame_size=1 << 16)
    try:
        for packet in container.demux():
            if packet.pts is not None and packet.duration:
                end_s = max(end_s, float((packet.pts + packet.duration) * packet.time_base))
            if packet.stream is stream:
                for frame in packet.decode():
                    fed = True
                    for block in joiner.resample(frame):
                        yield downmix(block.to_ndarray().T)
        for block in joiner.resample(None) if fed else ():
            yield downmix(block.to_ndarray().T)
    except (av.FFmpegError, ValueError) as error:  # ValueError: the layout changes in midstream
        raise _broken_off(path, end_s, error) from error
    check_container(path, container, end_s)


def _broken_off(path: Path, after_s: float, error: Exception) -> TruncatedAudioError:
    reason = str(error).splitlines()[0].rstrip(".")
    return TruncatedAudioError(
        path, f"truncated or damaged: decoding breaks off beyond {after_s:.2f} s ({reason})", "fetch or export it again"
    )


def checked_blocks(path: Path | str, blocks: Iterable[Waveform]) -> Iterator[Waveform]:
    """The same blocks: all samples within +-MAX_SAMPLE, none empty, one at least.

    Args:
        path: what errors call them.
    Raises:
        InvalidSamplesError, EmptyAudioError: they are not so.
    """
    seen = 0
    for block in blocks:
        usable = np.abs(block) <= MAX_SAMPLE  # NaN is not
        if not usable.all():
            first = int(np.argmin(usable))
            what = f"between -{MAX_SAMPLE:g} and {MAX_SAMPLE:g}" if np.isfinite(block[first]) else "a finite number"
            raise InvalidSamplesError(
                path, f"sample {seen + first} is {block[first]:g}, not {what}", "export the file again"
            )
        seen += len(block)
        if len(block):
            yield block
    if not seen:
        raise EmptyAudioError(path, "it holds zero samples", "record or export it again")
