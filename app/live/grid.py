"""Where windows and their patches lie in a signal. Pure; all places in samples of the encoder's rate.

The windows of a stream overlap, and start a whole number of patch hops apart. So a patch lies at the same place in
every window that holds it, and is embedded once. It needs its 96 spectrogram frames and nothing else: a frame every
160 samples, the last one 400 samples long, 15,600 samples in all.
"""

from dataclasses import dataclass

from embeddings.encoders import Encoder, EncoderSpec, PatchEncoder
from embeddings.logmel import PATCH_SAMPLES
from ingest.errors import UsageError


@dataclass(frozen=True, slots=True)
class Grid:
    """The geometry of one encoder's windows.

    window: length of a window. step: between the starts of windows.
    patch, hop: length of a patch, and between the starts of patches; both 0 for an encoder that takes whole windows.
    sample_rate: in Hz.
    """

    window: int
    step: int
    patch: int
    hop: int
    sample_rate: int

    @property
    def patches(self) -> int:
        """Full patches in a window; 0 for whole windows."""
        return self.patches_in(self.window)

    @property
    def patches_per_step(self) -> int:
        return self.step // self.hop if self.hop else 0

    @property
    def reach(self) -> int:
        """Samples of a window that its scores depend on: to the end of the last full patch."""
        return (self.patches - 1) * self.hop + self.patch if self.hop else self.window

    def patches_in(self, samples: int) -> int:
        """Full patches in the first `samples` of a signal."""
        return (samples - self.patch) // self.hop + 1 if self.hop and samples >= self.patch else 0

    def start(self, index: int) -> int:
        """Where window `index` starts."""
        return index * self.step

    def due(self, index: int) -> int:
        """How many samples must have come for window `index` to be scored."""
        return self.start(index) + self.reach

    def windows_due(self, samples: int) -> int:
        """How many windows can be scored once `samples` have come."""
        return (samples - self.reach) // self.step + 1 if samples >= self.reach else 0

    def patch_range(self, index: int) -> tuple[int, int]:
        """First patch of window `index`, and one beyond its last, counted from the start of the signal."""
        first = index * self.patches_per_step
        return first, first + self.patches

    def samples_of(self, first: int, last: int) -> tuple[int, int]:
        """The samples that patches [first, last) need, 0 <= first < last."""
        return first * self.hop, (last - 1) * self.hop + self.patch


def make_grid(encoder: Encoder, step_s: float) -> Grid:
    """The grid of an encoder's windows, about `step_s` apart: a whole number of its patch hops, at least one.

    Raises:
        UsageError: the step is not between 0 and the window.
    """
    spec: EncoderSpec = encoder.spec
    rate = spec.sample_rate
    if not 0 < step_s <= spec.window_s:
        raise UsageError(f"step_s: must be above 0 and at most the window's {spec.window_s:g} s, got {step_s:g}")
    window, step = round(spec.window_s * rate), round(step_s * rate)
    if not isinstance(encoder, PatchEncoder):
        return Grid(window, step, 0, 0, rate)
    hop = round(spec.hop_s * rate)
    return Grid(window, max(1, round(step / hop)) * hop, PATCH_SAMPLES, hop, rate)
