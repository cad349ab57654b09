"""Touches the disk: a recording of any length -> an answer for each ten seconds, and what the pictures need."""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from app.live.engine import Engine
from app.live.snapshot import envelope
from app.page.pictures import mel_of, shrink
from app.predicting import FilePrediction, csv_header
from classifiers.prediction import Prediction
from embeddings.embedding import window_key
from ingest.audio.windows import read_windows
from ingest.errors import AudioError

Floats = npt.NDArray[np.float32]

COLUMNS_PER_WINDOW = 200
MOST_COLUMNS = 1_600


@dataclass(frozen=True, slots=True)
class Focus:
    """When one class was heard.

    at_s: float32 [patches], the middle of each patch, in seconds of the recording.
    weight: float32 [patches] in [0, 1], how much each patch spoke for the class; 1 is the strongest of the recording.
    how: "attention", "patch scores", or "window scores" where the head has neither.
    """

    class_name: str
    at_s: Floats
    weight: Floats
    how: str


@dataclass(frozen=True, slots=True)
class Analysis:
    """A recording that was scored.

    predictions: one for each window that could be read. wave: float32 [columns, 2] as in `Pictures`.
    log_mel: float32 [columns, 64], means over some frames each. trouble: what was wrong with the rest, "" if nothing.
    """

    name: str
    seconds: float
    predictions: tuple[Prediction, ...]
    wave: Floats
    log_mel: Floats
    trouble: str = ""

    @property
    def answers(self) -> list[str]:
        """Every class that was answered, the most frequent first."""
        said = [name for prediction in self.predictions for name in prediction.names_present]
        return sorted(dict.fromkeys(said), key=lambda name: -said.count(name))


def analyse(
    path: Path, name: str, engine: Engine, *, progress: Callable[[float], None] = lambda seconds: None
) -> Analysis:
    """Score a file window by window, in constant memory but for the pictures.

    Args:
        name: for people; `path` may be a temporary file.
        progress: called with the seconds that are done.
    Raises:
        AudioError: not one window could be read.
    """
    spec = engine.bundle.spec
    predictions: list[Prediction] = []
    waves: list[Floats] = []
    mels: list[Floats] = []
    seconds, trouble = 0.0, ""
    windows = read_windows(
        path, key=name, sample_rate=spec.sample_rate, window_s=spec.window_s, resampler=spec.resampler
    )
    try:
        for clip in windows:
            predictions.append(
                engine.predict_waveform(clip.waveform, key=window_key(name, clip.start_s), start_s=clip.start_s)
            )
            columns = max(1, round(COLUMNS_PER_WINDOW * clip.duration_s / spec.window_s))
            waves.append(envelope(clip.waveform, columns))
            mels.append(shrink(mel_of(clip.waveform), columns))
            seconds = clip.start_s + clip.duration_s
            progress(seconds)
    except AudioError as error:
        if not predictions:
            raise
        trouble = str(error)
    return Analysis(
        name, seconds, tuple(predictions), _fewer(waves), shrink(np.concatenate(mels), MOST_COLUMNS), trouble
    )


def _fewer(waves: list[Floats]) -> Floats:
    wave = np.concatenate(waves)
    if len(wave) <= MOST_COLUMNS:
        return wave
    starts = np.arange(MOST_COLUMNS) * len(wave) // MOST_COLUMNS
    return np.stack([np.minimum.reduceat(wave[:, 0], starts), np.maximum.reduceat(wave[:, 1], starts)], axis=1)


def focus(analysis: Analysis, class_name: str, hop_s: float, patch_s: float) -> Focus:
    """When a class was heard: each patch's share of its window's attention, times how far the window had the class."""
    at: list[float] = []
    weight: list[float] = []
    how = "attention"
    for prediction in analysis.predictions:
        i = prediction.class_names.index(class_name)
        score = float(prediction.scores[i])
        if prediction.patch_scores is not None and prediction.attention is not None:
            spoke = prediction.attention[:, i] * prediction.patch_scores[:, i]
            values = score * spoke / max(float(spoke.max()), 1e-9)
        elif prediction.patch_scores is not None:
            how, values = "patch scores", prediction.patch_scores[:, i]
        else:
            how = "window scores"
            at.append((prediction.start_s + prediction.end_s) / 2)
            weight.append(score)
            continue
        at += [prediction.start_s + k * hop_s + patch_s / 2 for k in range(len(values))]
        weight += np.asarray(values, float).tolist()
    peak = max(weight, default=1.0)
    return Focus(class_name, np.array(at, np.float32), np.array(weight, np.float32) / max(peak, 1e-9), how)


def moments(found: Focus, most: int = 5, apart_s: float = 1.5, least: float = 0.35) -> list[float]:
    """The starts of the strongest patches, at least `apart_s` from each other, in order of time, in seconds."""
    chosen: list[float] = []
    for i in np.argsort(-found.weight, kind="stable"):
        at = float(found.at_s[i])
        if found.weight[i] < least or len(chosen) >= most:
            break
        if all(abs(at - other) >= apart_s for other in chosen):
            chosen.append(at)
    return sorted(chosen)


def as_json(analysis: Analysis, model: str) -> str:
    """What `earshot predict --json` prints of one file."""
    said = {"model": model, "classes": list(_class_names(analysis)), "files": [_told(analysis).to_json()]}
    return json.dumps(said, indent=2) + "\n"


def as_csv(analysis: Analysis) -> str:
    """What `earshot predict --csv` prints of one file."""
    if not analysis.predictions:
        return ""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([csv_header(_class_names(analysis)), *_told(analysis).to_csv()])
    return text.getvalue()


def _told(analysis: Analysis) -> FilePrediction:
    return FilePrediction(analysis.name, list(analysis.predictions), analysis.trouble or None)


def _class_names(analysis: Analysis) -> tuple[str, ...]:
    return analysis.predictions[0].class_names if analysis.predictions else ()
