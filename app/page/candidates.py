"""Touches the disk: the answers of a session that can be marked right or wrong, each with its sound."""

import tempfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from app.live.listening import Listening
from app.live.snapshot import Snapshot
from app.page.clip import Analysis
from app.page.parts.words import clock, percent, why_nothing
from app.page.session import kept, moment
from classifiers.prediction import Prediction
from embeddings.encoders import EncoderSpec
from ingest.audio.clip import Waveform
from ingest.audio.windows import read_windows

MOST_EVENTS = 12

ReadSound = Callable[[], Waveform | None]


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer. key: names it in its session. title: when, and what was said. source: the recording it is of.

    read: its sound, float32 mono at `sample_rate`; None when it is no longer kept.
    """

    key: str
    title: str
    prediction: Prediction
    source: str
    sample_rate: int
    read: ReadSound

    @property
    def answer(self) -> str:
        return self.prediction.answer or "nothing I know"

    @property
    def detail(self) -> str:
        """'Rain 93 %, Sea waves 4 %', or why there is no answer."""
        if self.prediction.answer is None:
            return why_nothing(self.prediction)
        return ", ".join(f"{name} {percent(score)}" for name, score in self.prediction.top(3))


def of_listener(listening: Listening | None, snapshot: Snapshot | None) -> list[Candidate]:
    """The newest window and the strongest one of each recent event, newest first, as far as their sound is kept."""
    if listening is None or snapshot is None or not snapshot.history:
        return []
    by_start = {round(p.start_s, 3): p for p in snapshot.history}
    latest = snapshot.history[-1]
    chosen: dict[float, tuple[str, Prediction]] = {}
    for event in reversed(snapshot.events[-MOST_EVENTS:]):
        prediction = by_start.get(round(event.peak_s, 3))
        if prediction is not None:
            chosen.setdefault(prediction.start_s, (event.class_name, prediction))
    chosen.setdefault(latest.start_s, (latest.answer or "nothing I know", latest))
    return [
        Candidate(
            key=f"{listening.id}/{prediction.start_s:.2f}",
            title=f"{moment(snapshot.started_at, prediction.start_s)}  {name}",
            prediction=prediction,
            source=f"live-{listening.id[:12]}",
            sample_rate=listening.engine.grid.sample_rate,
            read=partial(kept, listening, prediction.start_s, prediction.end_s),
        )
        for name, prediction in chosen.values()
    ]


def of_recording(analysis: Analysis, data: bytes, spec: EncoderSpec) -> list[Candidate]:
    """Every window of a recording. data: the file's bytes."""
    return [
        Candidate(
            key=f"{analysis.name}/{len(data)}/{prediction.start_s:.2f}",
            title=f"{analysis.name} at {clock(prediction.start_s)}  {prediction.answer or 'nothing I know'}",
            prediction=prediction,
            source=analysis.name,
            sample_rate=spec.sample_rate,
            read=partial(_window, data, analysis.name, index, spec),
        )
        for index, prediction in enumerate(analysis.predictions)
    ]


def _window(data: bytes, name: str, index: int, spec: EncoderSpec) -> Waveform | None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"clip{Path(name).suffix[:8]}"
        path.write_bytes(data)
        windows = read_windows(path, sample_rate=spec.sample_rate, window_s=spec.window_s, resampler=spec.resampler)
        return next((clip.waveform for k, clip in enumerate(windows) if k == index), None)


def unmarked_first(found: Iterable[Candidate], marked: set[str]) -> list[Candidate]:
    """The same, those that were marked at the end."""
    return sorted(found, key=lambda candidate: candidate.key in marked)
