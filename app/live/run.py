"""One unbroken stretch of a session's audio on its way to windows and their predictions. Uses a lock.

One worker at a time feeds and scores; `look` may be called from any thread meanwhile.
"""

import threading
from dataclasses import dataclass

from app.live.chunks import Chunk
from app.live.engine import Engine, Smoother
from app.live.settings import LiveSettings
from app.live.stream import Stream, Window
from classifiers.prediction import Prediction
from ingest.audio.clip import Waveform


@dataclass(frozen=True, slots=True)
class Look:
    """A run at one moment: the newest audio [samples], and where it ends in the session."""

    filled_s: float
    silent_s: float
    end_s: float
    newest: Waveform


@dataclass(frozen=True, slots=True)
class Scored:
    """What came of a window.

    heard_to_s: where the audio ends that the scores depend on, in seconds of the session.
    silent: it was digital silence.
    """

    prediction: Prediction
    heard_to_s: float
    silent: bool


class Run:
    """Feeds chunks of one rate to a stream and scores its windows.

    Args:
        base_s: where it begins, in seconds of the session.
    """

    def __init__(self, engine: Engine, settings: LiveSettings, sample_rate: int, base_s: float) -> None:
        self.engine, self.base_s = engine, base_s
        self._lock = threading.Lock()
        # More than the queue holds may come at once: its pieces round up, and the resampler gives what it held back.
        self._stream = Stream(
            engine.grid, sample_rate, resampler=engine.bundle.spec.resampler, queue_s=settings.queue_s + 1.0
        )
        self._encoder, self._smoother = engine.window_encoder(), Smoother(settings.smoothing)
        self._scored_to = 0

    @property
    def sample_rate(self) -> int:
        return self._stream.sample_rate

    @property
    def end_s(self) -> float:
        """Where it ends so far, in seconds of the session."""
        return self.base_s + self._stream.heard_s

    @property
    def missing_s(self) -> float:
        return self._stream.missing_s

    def feed(self, chunk: Chunk) -> Waveform:
        """The next chunk; the samples that came of it, at the encoder's rate."""
        with self._lock:
            begin = self._stream.ring.end
            self._stream.push(chunk)
            return self._stream.ring.read(begin, self._stream.ring.end)

    def finish(self) -> Waveform:
        """No more chunks: the samples that the resampler held back."""
        with self._lock:
            begin = self._stream.ring.end
            self._stream.finish()
            return self._stream.ring.read(begin, self._stream.ring.end)

    def take_due(self) -> list[Window]:
        return self._stream.take_due()

    def take_rest(self) -> list[Window]:
        """After `finish`: what there is, if it never came to a window."""
        rest = self._stream.take_rest()
        return [] if rest is None else [rest]

    def unheard_s(self, skipped: Window, scored: Window) -> float:
        """Audio that is in no window when `scored` comes next and the windows from `skipped` on were left out."""
        return max(0, scored.begin - max(self._scored_to, skipped.begin)) / self.engine.grid.sample_rate

    def score(self, window: Window, key: str) -> Scored:
        rate = self.engine.grid.sample_rate
        vectors = self._encoder.encode(window, self._read)
        self._scored_to = max(self._scored_to, window.end)
        prediction = self.engine.predict(
            vectors,
            key=key,
            start_s=self.base_s + window.begin / rate,
            end_s=self.base_s + window.end / rate,
            smoother=self._smoother,
        )
        heard_to = min(window.end, window.begin + self.engine.grid.reach)
        return Scored(prediction, self.base_s + heard_to / rate, window.silent)

    def look(self, seconds: float) -> Look:
        """How it stands, with the last `seconds` of audio."""
        with self._lock:
            stream = self._stream
            return Look(stream.filled_s, stream.silent_s, self.end_s, stream.newest(seconds))

    def _read(self, begin: int, end: int) -> Waveform:
        with self._lock:
            return self._stream.ring.read(begin, end)
