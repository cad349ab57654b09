"""Touches the disk: any audio becomes clips, windows of at most ten seconds of mono at one sample rate."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from ingest.audio.clip import Clip, Waveform
from ingest.audio.decode import BLOCK_VALUES, MAX_RATE, MIN_RATE, checked_blocks, open_audio
from ingest.audio.resample import Resampler, make_resampler
from ingest.audio.samples import Samples, downmix, require_samples, to_float
from ingest.errors import AudioError, MissingAudioError, UnreadableAudioError, UsageError
from ingest.places.folder import AudioPath

SAMPLE_RATE = 16_000
WINDOW_S = 10.0
MIN_TAIL_S = 0.96
"""A last window shorter than this (one patch) is dropped, unless it is all there is."""


def read_windows(
    path: AudioPath,
    *,
    key: str = "",
    sample_rate: int = SAMPLE_RATE,
    window_s: float = WINDOW_S,
    resampler: str = "soxr",
    min_tail_s: float = MIN_TAIL_S,
) -> Iterator[Clip]:
    """Stream an audio file as consecutive windows, in constant memory however long it is.

    The resampler runs through the whole file, so the windows joined are the file resampled at once.

    Args:
        key: of the clips; the path when empty.
        sample_rate: of the clips, in Hz.
        window_s: length of each window but the last.
        resampler: a name in `ingest.audio.resample.RESAMPLERS`.
        min_tail_s: a shorter last window is dropped, unless it is the only one.
    Yields:
        Clips with `start_s` = 0, window_s, 2 window_s, ...; at least one, unless an error comes first.
    Raises:
        UsageError: no such resampler.
        AudioError: the file is of no use. Truncated and invalid samples may show after some windows.
    """
    blocks = _resampled_blocks(path, sample_rate, resampler)
    yield from _windows(blocks, key or str(path), sample_rate, window_s, min_tail_s)


def cut_windows(
    samples: Samples,
    rate: int,
    *,
    key: str = "samples",
    sample_rate: int = SAMPLE_RATE,
    window_s: float = WINDOW_S,
    resampler: str = "soxr",
    min_tail_s: float = MIN_TAIL_S,
) -> Iterator[Clip]:
    """As `read_windows`, of samples that are in memory: the clips of a file that holds them.

    Args:
        samples: [n] or [n, channels], as `soundfile.read` gives them.
        rate: theirs, in Hz.
    Raises:
        UsageError: another type or shape, a rate that no audio has, or no such resampler.
        AudioError: there is no sample, or one that is not finite.
    """
    given = samples[:, None] if samples.ndim == 1 else samples
    require_samples(given)
    if not MIN_RATE <= rate <= MAX_RATE:
        raise UsageError(f"rate: must be {MIN_RATE} to {MAX_RATE} Hz, got {rate}; say what the samples have")
    mono = (downmix(to_float(given[at : at + BLOCK_VALUES])) for at in range(0, len(given), BLOCK_VALUES))
    resampled = resample_blocks(checked_blocks(key, mono), make_resampler(resampler, rate, sample_rate))
    yield from _windows(resampled, key, sample_rate, window_s, min_tail_s)


def read_clip(path: AudioPath, *, key: str = "", sample_rate: int = SAMPLE_RATE, resampler: str = "soxr") -> Clip:
    """The whole of an audio file as one clip; for short files, see `read_windows` for the arguments and errors."""
    waveform = _join(list(_resampled_blocks(path, sample_rate, resampler)))
    return _clip(key or str(path), waveform, sample_rate, 0.0)


def _windows(
    blocks: Iterable[Waveform], key: str, sample_rate: int, window_s: float, min_tail_s: float
) -> Iterator[Clip]:
    window, min_tail = round(window_s * sample_rate), round(min_tail_s * sample_rate)
    for index, waveform in enumerate(_cut(blocks, window)):
        if index == 0 or len(waveform) >= min_tail:
            yield _clip(key, waveform, sample_rate, index * window / sample_rate)


def _clip(key: str, waveform: Waveform, sample_rate: int, start_s: float) -> Clip:
    waveform.flags.writeable = False
    return Clip(key, waveform, sample_rate, start_s)


def _resampled_blocks(path: AudioPath, sample_rate: int, resampler: str) -> Iterator[Waveform]:
    with _here(path) as file, open_audio(file) as stream:
        yield from resample_blocks(stream.blocks, make_resampler(resampler, stream.sample_rate, sample_rate))


@contextmanager
def _here(path: AudioPath) -> Iterator[Path]:
    """The file on this machine; what lies elsewhere is copied first, and its errors still have its own name."""
    if isinstance(path, Path):
        yield path
        return
    try:
        with path.local() as copy:
            yield copy
    except AudioError as error:
        raise type(error)(str(path), error.rule, error.remedy) from error
    except FileNotFoundError as error:
        raise MissingAudioError(str(path), "there is no such object", "check the address") from error
    except OSError as error:
        reason = str(error).splitlines()[0].removeprefix(f"{path}: ")
        raise UnreadableAudioError(str(path), f"cannot be read ({reason})", "check the keys and the network") from error


def resample_blocks(blocks: Iterable[Waveform], resampler: Resampler) -> Iterator[Waveform]:
    """Blocks at one rate become blocks at another; at least one sample comes out where one went in."""
    given, last = 0, np.zeros(1, np.float32)
    for block in blocks:
        ready = resampler.push(block)
        given, last = given + len(ready), block[-1:]
        yield ready
    rest = resampler.finish()
    yield rest if given + len(rest) else last.copy()


def _cut(blocks: Iterable[Waveform], window: int) -> Iterator[Waveform]:
    """Join and split blocks of any length to windows of `window` samples and one shorter tail."""
    parts: list[Waveform] = []
    missing = window
    for block in blocks:
        while len(block) >= missing:
            yield _join([*parts, block[:missing]])
            block, parts, missing = block[missing:], [], window  # noqa: PLW2901
        if len(block):
            parts.append(block)
            missing -= len(block)
    if parts:
        yield _join(parts)


def _join(parts: list[Waveform]) -> Waveform:
    """One array of its own: never a view that keeps a larger block alive."""
    return np.concatenate(parts)
