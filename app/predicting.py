"""From audio files to predictions with one bundle: what `earshot predict` runs. Touches the disk."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.bundle import Bundle
from classifiers.prediction import Prediction, make_predictions
from embeddings.embedding import window_key
from embeddings.encoders import Encoder, EncoderSettings, load_encoder
from ingest.audio import read_windows
from ingest.clip import AudioItem
from ingest.errors import AudioError
from ingest.folder import AudioPath
from ingest.manifest import read_items


@dataclass(frozen=True, slots=True)
class FilePrediction:
    """One file: a prediction for each window that could be read, and what went wrong if anything did."""

    path: AudioPath
    predictions: list[Prediction]
    error: str | None = None

    def to_json(self, top: int | None = None) -> dict[str, Any]:
        windows = [prediction.to_json(top) for prediction in self.predictions]
        return {"path": str(self.path), "windows": windows} | ({"error": self.error} if self.error else {})


def find_audio(paths: Sequence[Path]) -> list[AudioItem]:
    """Folders and manifests become their files; a file is itself, be it there or not: reading it will tell."""
    items: list[AudioItem] = []
    for path in paths:
        if path.is_dir() or path.suffix == ".parquet":
            items += read_items(path)
        else:
            items.append(AudioItem(key=str(path), path=path, source=str(path)))
    return items


def encoder_for(bundle: Bundle, weights_dir: Path | None) -> Encoder:
    """The encoder whose embeddings a bundle takes.

    Raises:
        WeightsError: its weights are not here.
        SpecMismatchError: the weights here are not those of the embeddings that the bundle was trained on.
    """
    spec = bundle.spec
    settings = EncoderSettings(weights_dir=weights_dir, precision=spec.precision, pca=bundle.pca)
    encoder = load_encoder(spec.encoder, settings)
    bundle.require(replace(encoder.spec, resampler=spec.resampler))
    return encoder


def predict_file(bundle: Bundle, encoder: Encoder, item: AudioItem) -> FilePrediction:
    """Predict every window of a file. What is wrong with the file stands in the result; it is not raised."""
    predictions: list[Prediction] = []
    spec = bundle.spec
    windows = read_windows(
        item.path, key=item.key, sample_rate=spec.sample_rate, window_s=spec.window_s, resampler=spec.resampler
    )
    try:
        for clip in windows:
            vectors = encoder.encode([clip.waveform])[0][None]
            mask = np.ones(vectors.shape[:2], np.bool_)
            start_s = item.start_s + clip.start_s
            said = bundle.predict(vectors, mask)
            predictions += make_predictions(
                said,
                bundle.decide(said),
                mask,
                keys=[window_key(item.key, clip.start_s)],
                start_s=[start_s],
                end_s=[start_s + clip.duration_s],
                class_names=bundle.class_names,
            )
    except AudioError as error:
        return FilePrediction(item.path, predictions, str(error))
    return FilePrediction(item.path, predictions)
