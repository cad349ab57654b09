"""Uses locks: one encoder and one bundle, loaded once, that any number of listeners share.

A listener's windows overlap by nine seconds; `WindowEncoder` embeds what is new in each.
"""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.live.events import Thresholds
from app.live.grid import Grid, make_grid
from app.live.stream import Window
from app.predicting import encoder_for
from classifiers.bundle import Bundle, load_bundle
from classifiers.heads import Head, HeadScores
from classifiers.prediction import Prediction, make_predictions
from embeddings.embedding import Vectors, window_key
from embeddings.encoders import Encoder, PatchEncoder
from ingest.audio.clip import Waveform

STEP_S = 0.96
"""About one window a second: every second patch hop of YAMNet."""

ReadSamples = Callable[[int, int], Waveform]
"""Samples [begin, end) of a run, as `Ring.read` gives them."""


class _OneAtATime:
    """A head for several threads: a light one has a single interpreter, which takes one caller at a time."""

    def __init__(self, head: Head) -> None:
        self._head, self._lock = head, threading.Lock()

    def predict(self, vectors: Vectors, mask: npt.NDArray[np.bool_]) -> HeadScores:
        with self._lock:
            return self._head.predict(vectors, mask)


class Engine:
    """Scores windows. All methods, `bundle` and `encoder` may be used from several threads at once.

    Args:
        step_s: between windows; rounded to whole patch hops.
    """

    def __init__(self, bundle: Bundle, encoder: Encoder, *, step_s: float = STEP_S) -> None:
        self.bundle, self.encoder = replace(bundle, head=_OneAtATime(bundle.head)), encoder
        self.grid: Grid = make_grid(encoder, step_s)

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.bundle.class_names

    def window_encoder(self) -> "WindowEncoder":
        """For one run of one listener."""
        return WindowEncoder(self.encoder, self.grid)

    def thresholds(self, leave_share: float) -> Thresholds:
        """Where each class enters an event, and leaves it."""
        return Thresholds.of(self.bundle.info.decision, leave_share)

    def predict(
        self, vectors: Vectors, *, key: str, start_s: float, end_s: float, smoother: "Smoother | None" = None
    ) -> Prediction:
        """Score one window's vectors [patches, dim]."""
        mask = np.ones((1, len(vectors)), np.bool_)
        said = self.bundle.predict(vectors[None], mask)
        if smoother is not None:
            said = smoother(said)
        (prediction,) = make_predictions(
            said,
            self.bundle.decide(said),
            mask,
            keys=[window_key(key, start_s)],
            start_s=[start_s],
            end_s=[end_s],
            class_names=self.class_names,
        )
        return prediction

    def predict_waveform(self, waveform: Waveform, *, key: str = "", start_s: float = 0.0) -> Prediction:
        """Score one waveform of at most a window, mono float32 at the encoder's rate."""
        (vectors,) = self.encoder.encode([waveform])
        return self.predict(vectors, key=key, start_s=start_s, end_s=start_s + len(waveform) / self.grid.sample_rate)


def load_engine(
    model: Path, *, weights_dir: Path | None = None, precision: str | None = None, step_s: float = STEP_S
) -> Engine:
    """Load a bundle and its encoder, in another precision if one is named: see `encoder_for`.

    Without TensorFlow, unless the encoder needs it.

    Raises:
        UsageError, FormatError: the folder is no bundle, or a damaged one.
        WeightsError, SpecMismatchError: the encoder's weights are not here, or are others.
    """
    bundle = load_bundle(model)
    return Engine(bundle, encoder_for(bundle, weights_dir, precision), step_s=step_s)


class Smoother:
    """Mixes each window's scores with those before it: an exponential mean. `share` 0 leaves them as they are."""

    def __init__(self, share: float) -> None:
        self._share = np.float32(share)
        self._last: HeadScores | None = None

    def __call__(self, said: HeadScores) -> HeadScores:
        last, share = self._last, self._share
        if share and last is not None:
            said = replace(said, scores=share * last.scores + (1 - share) * said.scores)
            if said.known is not None and last.known is not None:
                said = replace(said, known=share * last.known + (1 - share) * said.known)
        self._last = said
        return said


class WindowEncoder:
    """Vectors of the windows of one run, in order; patches that the last window had are not embedded again.

    One thread at a time.
    """

    def __init__(self, encoder: Encoder, grid: Grid) -> None:
        self._encoder, self._grid = encoder, grid
        self._held: Vectors | None = None
        self._first = 0
        self.embedded = 0
        """Patches embedded so far; of an encoder that takes whole windows, all patches of all windows."""

    def encode(self, window: Window, read: ReadSamples) -> Vectors:
        """Vectors [patches, dim]: what `encoder.encode` gives for the samples of the window."""
        if not window.whole or not isinstance(self._encoder, PatchEncoder):
            (vectors,) = self._encoder.encode([read(window.begin, window.end)])
            self.embedded += len(vectors)
            return vectors
        first, last = self._grid.patch_range(window.index)
        held = self._held if self._held is not None else np.empty((0, 0))
        known = max(0, min(self._first + len(held), last) - first) if self._first <= first else 0
        fresh = self._embed(self._encoder, first + known, last, read)
        if known:
            fresh = np.concatenate([held[first - self._first :][:known], fresh])
        self._held, self._first = fresh, first
        return fresh

    def _embed(self, encoder: PatchEncoder, first: int, last: int, read: ReadSamples) -> Vectors:
        if first >= last:
            return np.empty((0, encoder.spec.dim), encoder.spec.dtype)
        self.embedded += last - first
        return encoder.encode_patches(encoder.patches(read(*self._grid.samples_of(first, last))))
