"""Reads the disk: one upload on its way to predictions and events, window by window. One thread at a time."""

from pathlib import Path
from typing import Any

from app.api.errors import ApiError, from_audio_error
from app.api.models import Model
from app.live.events import EventTracker
from classifiers.prediction import Prediction
from embeddings.embedding import Vectors
from embeddings.encoders import Encoder
from ingest.audio.clip import Clip
from ingest.audio.windows import read_windows
from ingest.errors import AudioError

LEAVE_SHARE = 0.7
"""An event goes on through windows whose score is at least this share of what began it; as when listening live."""


class Scoring:
    """The windows of one file, as `earshot predict` cuts them: one after another, ten seconds each.

    Args:
        max_s: decoding stops there.
    """

    def __init__(self, path: Path, model: Model, max_s: float) -> None:
        self._path, self._model, self._max_s = path, model, max_s
        spec = model.engine.bundle.spec
        self._clips = read_windows(path, sample_rate=spec.sample_rate, window_s=spec.window_s, resampler=spec.resampler)
        self._tracker = EventTracker(
            model.engine.class_names, model.engine.thresholds(LEAVE_SHARE), step_s=spec.window_s
        )
        self._predictions: list[Prediction] = []
        self._next: Clip | None = None

    @property
    def encoder(self) -> Encoder:
        return self._model.engine.encoder

    @property
    def audio_s(self) -> float:
        """Audio scored so far."""
        return self._predictions[-1].end_s if self._predictions else 0.0

    @property
    def windows(self) -> int:
        return len(self._predictions)

    def read(self) -> Clip:
        """The next window to score. At the first call, and as long as `take` says that there are more.

        Raises:
            ApiError: it is no audio, is damaged, or goes on beyond `max_s`.
        """
        clip = self._next or self._decode()
        assert clip is not None  # a file without a window is an error
        return clip

    def _decode(self) -> Clip | None:
        try:
            clip = next(self._clips, None)
        except AudioError as error:
            raise from_audio_error(error, self._path) from error
        if clip is not None and clip.start_s + clip.duration_s > self._max_s + 1e-6:
            raise ApiError("too_long", f"audio: must be at most {self._max_s:g} s, and this goes on; send it in parts")
        return clip

    def take(self, clip: Clip, vectors: Vectors) -> bool:
        """Score the vectors of the window that was read; whether there are more.

        Raises:
            ApiError: what comes next is damaged, or too much.
        """
        end_s = clip.start_s + clip.duration_s
        prediction = self._model.engine.predict(vectors, key="", start_s=clip.start_s, end_s=end_s)
        self._predictions.append(prediction)
        self._tracker.step(prediction.scores, prediction.known, clip.start_s, end_s, silent=clip.is_silent)
        # Looked for now, so that who sent one window is answered without another turn.
        self._next = self._decode()
        return self._next is not None

    def close(self) -> None:
        """Close the file; no more reading."""
        self._clips.close()  # type: ignore[attr-defined]  # it is a generator

    def result(self, top: int | None = None) -> dict[str, Any]:
        """What was heard, as JSON types. Events end with the file."""
        self._tracker.finish()
        return {
            "model": self._model.name,
            "duration_s": round(self.audio_s, 3),
            "windows": [prediction.to_json(top) for prediction in self._predictions],
            "events": [_event(event.to_json()) for event in self._tracker.events()],
        }


def _event(event: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in event.items() if name != "open"}
