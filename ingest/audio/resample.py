"""Resampling block by block: what comes out, joined, is what the whole signal resampled at once would be."""

import math
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np

from ingest.audio.clip import Waveform
from ingest.errors import UsageError

_NOTHING: Waveform = np.empty(0, np.float32)


class Resampler(Protocol):
    """The state of one signal's resampling."""

    def push(self, block: Waveform) -> Waveform:
        """Take the next samples, float32 [samples]; give those that are ready, maybe none."""
        ...

    def finish(self) -> Waveform:
        """The signal has ended: give the rest."""
        ...


class _Unchanged:
    def push(self, block: Waveform) -> Waveform:
        return block

    def finish(self) -> Waveform:
        return _NOTHING


class _Soxr:
    """The SoX resampler at its high quality; n samples become round(n * rate_out / rate_in)."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        import soxr

        self._stream: Any = soxr.ResampleStream(rate_in, rate_out, num_channels=1, dtype="float32", quality="HQ")

    def push(self, block: Waveform) -> Waveform:
        ready: Waveform = self._stream.resample_chunk(block)
        return ready

    def finish(self) -> Waveform:
        rest: Waveform = self._stream.resample_chunk(_NOTHING, last=True)
        return rest


class _Resampy:
    """resampy's `kaiser_best`, as AudioSet's reference code uses it; n samples become floor(n * out / in).

    resampy itself takes whole signals only. Its filter is finite, though, and input and output instants meet
    every rate_in / gcd samples; so blocks that begin there, with the filter's width on both sides, give the
    whole signal's result but for the rounding of the instants (below 1e-6).

    Source: Smith, Digital Audio Resampling; McFee, resampy (core.resample).
    """

    FILTER = "kaiser_best"
    BLOCK_S = 4

    def __init__(self, rate_in: int, rate_out: int) -> None:
        from resampy.filters import get_filter

        window, per_zero, _ = get_filter(self.FILTER)
        common = math.gcd(rate_in, rate_out)
        self._rates = rate_in, rate_out
        self._step_in, self._step_out = rate_in // common, rate_out // common
        self._width = len(window) // int(min(1.0, rate_out / rate_in) * int(per_zero)) + 1
        self._held: Waveform = _NOTHING  # begins at a multiple of step_in
        self._given = 0  # steps of the held samples that have been given already and are only context now

    def push(self, block: Waveform) -> Waveform:
        self._held = np.concatenate([self._held, block])
        steps = (len(self._held) - self._width) // self._step_in
        if (steps - self._given) * self._step_in < self.BLOCK_S * self._rates[0]:
            return _NOTHING
        ready = self._resample(self._held[: steps * self._step_in + self._width])
        ready = ready[self._given * self._step_out : steps * self._step_out]
        self._given = math.ceil(self._width / self._step_in)
        self._held = self._held[(steps - self._given) * self._step_in :]
        return ready

    def finish(self) -> Waveform:
        return self._resample(self._held)[self._given * self._step_out :]

    def _resample(self, samples: Waveform) -> Waveform:
        import resampy

        if len(samples) * self._step_out < self._step_in:
            return _NOTHING
        resampled: Waveform = resampy.resample(samples, *self._rates, filter=self.FILTER)
        return resampled


RESAMPLERS: dict[str, Callable[[int, int], Resampler]] = {"soxr": _Soxr, "resampy": _Resampy}


def make_resampler(name: str, rate_in: int, rate_out: int) -> Resampler:
    """A fresh resampler from `rate_in` to `rate_out` Hz; equal rates pass through.

    Raises:
        UsageError: there is no resampler of that name.
    """
    if name not in RESAMPLERS:
        raise UsageError(f"--resampler: no resampler named {name!r}; choose one of {', '.join(RESAMPLERS)}")
    return _Unchanged() if rate_in == rate_out else RESAMPLERS[name](rate_in, rate_out)
