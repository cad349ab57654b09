"""From audio files, or a store of their embeddings, to predictions with one bundle: what `earshot predict` runs.

Touches the disk. Files are predicted on any engine.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain, groupby
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.bundle import Bundle, load_bundle
from classifiers.prediction import ROW_COLUMNS, Prediction, make_predictions
from classifiers.scoring import score_rows
from embeddings.embed import Progress
from embeddings.embedding import item_key, window_key
from embeddings.encoders import Encoder, EncoderSettings, encoder_row, load_encoder
from embeddings.store import SPEC_FILE, EmbeddingStore
from embeddings.table import EmbeddingTable
from ingest.audio.clip import AudioItem
from ingest.audio.windows import read_windows
from ingest.engines.engine import Engine
from ingest.engines.local_engine import Here
from ingest.errors import AudioError, UsageError
from ingest.manifest import read_items
from ingest.places.arrow_folder import ArrowFolder
from ingest.places.folder import AudioPath, folder_at


@dataclass(frozen=True, slots=True)
class FilePrediction:
    """One file: a prediction for each window that could be read, and what went wrong if anything did.

    path: of the audio; of rows of a store without audio (released features) their key.
    """

    path: AudioPath | str
    predictions: list[Prediction]
    error: str | None = None

    def to_json(self, top: int | None = None) -> dict[str, Any]:
        windows = [prediction.to_json(top) for prediction in self.predictions]
        return {"path": str(self.path), "windows": windows} | ({"error": self.error} if self.error else {})

    def to_csv(self) -> list[list[str]]:
        """A row for each window, in the columns of `csv_header`."""
        return [[str(self.path), *prediction.to_row()] for prediction in self.predictions]


def csv_header(class_names: Sequence[str]) -> list[str]:
    """The columns of a CSV of predictions."""
    return ["path", *ROW_COLUMNS, *class_names]


BATCH_FILES = 16
"""What a worker elsewhere is given at a time: short clips would else cost more to send than to predict."""


@dataclass(frozen=True, slots=True)
class Predictor:
    """What a worker loads once."""

    bundle: Bundle
    encoder: Encoder


def predict_files(
    engine: Engine,
    model: Path,
    weights_dir: Path | None,
    items: Sequence[AudioItem],
    *,
    precision: str | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Iterator[FilePrediction]:
    """Predict files on an engine's workers, in the order of `items`.

    Args:
        model, weights_dir: must be there where the workers are.
        precision: as `encoder_for` takes it.
        progress: called whenever some files are done.
    Raises:
        UsageError, FormatError, WeightsError, SpecMismatchError: model and encoder cannot be loaded.
        EngineError: the workers died or stall.
    """
    size = 1 if isinstance(engine, Here) else BATCH_FILES
    batches = [tuple(items[i : i + size]) for i in range(0, len(items), size)]
    early: dict[int, list[FilePrediction]] = {}
    following, done, audio_s = 0, 0, 0.0
    with engine.workers(load_predictor, model, weights_dir, precision) as workers:
        for index, results in workers.run(predict_batch, batches):
            early[index] = results
            done += len(results)
            audio_s += sum(said.end_s - said.start_s for result in results for said in result.predictions)
            progress(Progress(done, len(items), audio_s))
            while following in early:
                yield from early.pop(following)
                following += 1


def load_predictor(model: Path, weights_dir: Path | None, precision: str | None = None) -> Predictor:
    """A bundle and its encoder."""
    bundle = load_bundle(model)
    return Predictor(bundle, encoder_for(bundle, weights_dir, precision))


def predict_batch(predictor: Predictor, items: Sequence[AudioItem]) -> Generator[int, None, list[FilePrediction]]:
    """What a worker does; says after each file how many are done."""
    results: list[FilePrediction] = []
    for item in items:
        results.append(predict_file(predictor.bundle, predictor.encoder, item))
        yield len(results)
    return results


def find_audio(paths: Sequence[Path | ArrowFolder]) -> list[AudioItem]:
    """Folders and manifests become their files; a file is itself, be it there or not: reading it will tell."""
    items: list[AudioItem] = []
    for path in paths:
        if isinstance(path, ArrowFolder) or path.is_dir() or path.suffix == ".parquet":
            items += read_items(path)
        else:
            items.append(AudioItem(key=str(path), path=path, source=str(path)))
    return items


def find_store(places: Sequence[Path | ArrowFolder]) -> EmbeddingStore | None:
    """The embedding store that stands where audio may stand; None where there is none.

    Raises:
        UsageError: it does not stand alone.
        FormatError: it is damaged.
    """
    folders = [folder_at(place) for place in places]
    stores = [folder for folder in folders if folder.has(SPEC_FILE)]
    if stores and len(folders) > 1:
        raise UsageError(f"AUDIO: {stores[0]} is an embedding store, which is predicted alone; name nothing beside it")
    return EmbeddingStore.open(stores[0]) if stores else None


def predict_store(bundle: Bundle, store: EmbeddingStore) -> Iterator[FilePrediction]:
    """Predict every row of a store, in constant memory; the rows of a file that follow each other come together.

    Raises:
        SpecMismatchError: the bundle was trained on other embeddings.
        FormatError: a part is damaged, or a vector is not finite.
    """
    bundle.require(store.spec)
    rows = chain.from_iterable(_predict_table(bundle, table) for table in store.tables())
    for path, of_file in groupby(rows, key=itemgetter(0)):
        yield FilePrediction(path, [prediction for _, prediction in of_file])


def _predict_table(bundle: Bundle, table: EmbeddingTable) -> Iterator[tuple[AudioPath | str, Prediction]]:
    table.require_finite()
    said, _ = score_rows(bundle.predict, table.vectors, table.mask)
    predictions = make_predictions(
        said,
        bundle.decide(said),
        table.mask,
        keys=table.keys,
        start_s=table.start_s,
        end_s=table.end_s,
        class_names=bundle.class_names,
    )
    paths = (path or item_key(key) for path, key in zip(table.paths, table.keys, strict=True))
    yield from zip(paths, predictions, strict=True)


def encoder_for(bundle: Bundle, weights_dir: Path | None, precision: str | None = None) -> Encoder:
    """The encoder whose embeddings a bundle takes.

    Args:
        precision: instead of that of the embeddings that it was trained on, if the encoder has it: the user's own
            choice of speed, for scores that differ a little.
    Raises:
        WeightsError: its weights are not here.
        SpecMismatchError: the weights here are not those of the embeddings that the bundle was trained on.
    """
    spec = bundle.spec
    chosen = precision if precision in encoder_row(spec.encoder).precisions else None
    settings = EncoderSettings(weights_dir=weights_dir, precision=chosen or spec.precision, pca=bundle.pca)
    encoder = load_encoder(spec.encoder, settings)
    bundle.require(
        replace(encoder.spec, resampler=spec.resampler, precision=spec.precision if chosen else encoder.spec.precision)
    )
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
