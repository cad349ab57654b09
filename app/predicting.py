"""From audio, or a store of its embeddings, to predictions with one bundle: what `earshot predict` runs.

Touches the disk. Files are predicted on any engine. In Python, `load_predictor` is the way in.
"""

from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
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
from embeddings.encoders import ENCODERS, Encoder, EncoderSettings, encoder_row, load_encoder
from embeddings.store import SPEC_FILE, EmbeddingStore
from embeddings.table import EmbeddingTable
from ingest.audio.clip import AudioItem, Clip
from ingest.audio.samples import Samples
from ingest.audio.windows import cut_windows, read_windows
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
    """A bundle and its encoder, which are loaded once."""

    bundle: Bundle
    encoder: Encoder

    def predict_file(self, path: str | Path) -> list[Prediction]:
        """What is in an audio file of any kind: a prediction for each window of at most ten seconds.

        Raises:
            AudioError: the file cannot be used, or breaks off.
        """
        return list(self.predict(read_windows(Path(path), **self.form)))

    def predict_samples(self, samples: Samples, sample_rate: int) -> list[Prediction]:
        """The same of samples in memory.

        Args:
            samples: [n] or [n, channels], as `soundfile.read` gives them: float in [-1, 1], or uint8, int16 or int32.
            sample_rate: in Hz.
        Raises:
            UsageError: another type or shape, or a rate that no audio has.
            AudioError: there is no sample, or one that is not finite.
        """
        return list(self.predict(cut_windows(samples, sample_rate, **self.form)))

    @property
    def form(self) -> dict[str, Any]:
        """The clips that the encoder takes: arguments of `read_windows` and `cut_windows`."""
        spec = self.bundle.spec
        return {"sample_rate": spec.sample_rate, "window_s": spec.window_s, "resampler": spec.resampler}

    def predict(self, clips: Iterable[Clip], *, begins_s: float = 0.0) -> Iterator[Prediction]:
        """Predict clips of this `form`, one by one. begins_s: where in its source their audio begins, in seconds."""
        for clip in clips:
            vectors = self.encoder.encode([clip.waveform])[0][None]
            mask = np.ones(vectors.shape[:2], np.bool_)
            start_s = begins_s + clip.start_s
            said = self.bundle.predict(vectors, mask)
            yield from make_predictions(
                said,
                self.bundle.decide(said),
                mask,
                keys=[window_key(clip.key, clip.start_s)],
                start_s=[start_s],
                end_s=[start_s + clip.duration_s],
                class_names=self.bundle.class_names,
            )


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


def load_predictor(model: str | Path, weights_dir: Path | None = None, precision: str | None = None) -> Predictor:
    """A bundle and its encoder.

    Args:
        model: folder of the bundle, or the name of one in data/models.
        weights_dir: a folder that is searched first for the encoder's weights.
        precision: as `encoder_for` takes it.
    Raises:
        UsageError, FormatError: there is no such bundle, or it is damaged.
        WeightsError, SpecMismatchError: as of `encoder_for`.
    """
    bundle = load_bundle(Path(model))
    return Predictor(bundle, encoder_for(bundle, weights_dir, precision))


def predict_batch(predictor: Predictor, items: Sequence[AudioItem]) -> Generator[int, None, list[FilePrediction]]:
    """What a worker does; says after each file how many are done."""
    results: list[FilePrediction] = []
    for item in items:
        results.append(predict_item(predictor, item))
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
        UsageError: Earshot has no such encoder; the store was made by other means.
        WeightsError: its weights are not here.
        SpecMismatchError: the weights here are not those of the embeddings that the bundle was trained on.
    """
    spec = bundle.spec
    if spec.encoder not in ENCODERS:
        raise UsageError(
            f"{bundle.folder}: this model takes vectors of {spec.encoder!r}, which is no encoder of Earshot's, so it "
            "predicts no audio; make a store of its vectors (docs/python.md) and name that"
        )
    chosen = precision if precision in encoder_row(spec.encoder).precisions else None
    settings = EncoderSettings(weights_dir=weights_dir, precision=chosen or spec.precision, pca=bundle.pca)
    encoder = load_encoder(spec.encoder, settings)
    bundle.require(
        replace(encoder.spec, resampler=spec.resampler, precision=spec.precision if chosen else encoder.spec.precision)
    )
    return encoder


def predict_item(predictor: Predictor, item: AudioItem) -> FilePrediction:
    """Predict every window of a file. What is wrong with the file stands in the result; it is not raised."""
    predictions: list[Prediction] = []
    clips = read_windows(item.path, key=item.key, **predictor.form)
    try:
        for prediction in predictor.predict(clips, begins_s=item.start_s):
            predictions.append(prediction)
    except AudioError as error:
        return FilePrediction(item.path, predictions, str(error))
    return FilePrediction(item.path, predictions)
