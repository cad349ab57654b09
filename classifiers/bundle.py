"""Touches the disk: a model bundle, a folder with a trained head and all that is needed to use it.

model.json    what it is: encoder, classes, head, settings, measures, what it was trained on
head.*        the head, once for the engine that trained it and once for prediction at once (see `heads.HEADS`)
sources.npy   hashes of the sources it was trained on, so that nobody tests on them unawares
pca.npz       the encoder's projection, where it has one of its own
SHA256SUMS    of the files above that hold numbers, for `sha256sum -c` and for `load_bundle`; older bundles have none
card.md, report.html    for people
"""

import hashlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.background import load_with_background
from classifiers.decision import Answers, Decision
from classifiers.heads import FittedHead, Head, HeadScores, Runtime, head_row
from classifiers.measures.metrics import Metrics
from embeddings.embedding import Vectors
from embeddings.encoders import EncoderSpec
from ingest.audioset.class_sets import ClassSet
from ingest.errors import EarshotError, FormatError, SpecMismatchError, UsageError
from ingest.foreign import checked
from ingest.places.files import atomic_folder, require_writable, sha256_of

FORMAT_VERSION = 1
MODEL_FILE, SOURCES_FILE, PCA_FILE = "model.json", "sources.npy", "pca.npz"
SUMS_FILE = "SHA256SUMS"
MODELS = Path(__file__).resolve().parent.parent / "data" / "models"
"""Bundles ready to use, which may be named by their name alone."""


@dataclass(frozen=True, slots=True)
class BundleInfo:
    """What model.json says.

    head, head_settings: row of the table of heads; what it was trained with and what it chose.
    background: whether the head learnt what is none of its classes.
    decision: how scores become answers.
    protocol: how `metrics` came about, e.g. "folds"; folds: each one's name, n and measures.
    metrics: out of fold, never of rows that trained the head that was measured; None for protocol "none".
    trained_on: store, fingerprint, rows, sources, left_out_none, left_out_several, date, versions.
    command: what makes it again.
    """

    spec: EncoderSpec
    class_set: ClassSet
    head: str
    head_settings: dict[str, Any]
    seed: int
    background: bool
    decision: Decision
    protocol: str
    folds: list[dict[str, Any]]
    metrics: Metrics | None
    trained_on: dict[str, Any]
    command: str = ""

    @property
    def decided(self) -> bool:
        """Whether calibration, thresholds and working point were chosen on measured rows, or stand where they start."""
        return self.protocol != "none"

    @property
    def known_apart(self) -> bool:
        """Whether `known` is a score of its own, beside those of the classes, and not the highest of them."""
        return self.class_set.mode == "single" and (self.background or head_row(self.head).knows_background)

    @property
    def caveat(self) -> str:
        """What whoever uses the model must know, in a sentence; "" where its decision was chosen on measured rows."""
        if self.decided:
            return ""
        threshold = self.decision.known_threshold
        how = "the best class is always the answer, whatever is heard"
        if self.class_set.mode == "multi":
            how = f"a class is present from a score of {min(self.decision.thresholds):g} on"
        elif threshold:
            how = f"the answer is none of these below a score of {threshold:g}"
        return (
            f"nothing was measured when this model was made, so its scores are not calibrated, and {how}; "
            "`earshot train` chooses both under any --protocol but none"
        )

    def to_json(self) -> dict[str, Any]:
        return {
            "format_version": FORMAT_VERSION,
            "encoder": self.spec.to_json(),
            "input": f"{self.spec.dtype} [patches, {self.spec.dim}] as stored, with a mask; the head scales it itself",
            "class_set": self.class_set.to_json(),
            "head": self.head,
            "head_settings": self.head_settings,
            "seed": self.seed,
            "background": self.background,
            "decision": self.decision.to_json(),
            "protocol": self.protocol,
            "folds": self.folds,
            "metrics": self.metrics.to_json() if self.metrics else None,
            "trained_on": self.trained_on,
            "command": self.command,
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "BundleInfo":
        """The inverse of `to_json`.

        Raises:
            KeyError, TypeError, ValueError, AttributeError, FormatError: `data` is no such thing.
        """
        info = cls(
            spec=EncoderSpec.from_json(data["encoder"]),
            class_set=ClassSet.from_json(data["class_set"]),
            metrics=Metrics.from_json(data["metrics"]) if data["metrics"] else None,
            decision=Decision.from_json(data["decision"]),
            **{
                name: data[name]
                for name in (
                    "head",
                    "head_settings",
                    "seed",
                    "background",
                    "protocol",
                    "folds",
                    "trained_on",
                    "command",
                )
            },
        )
        decision, classes = info.decision, len(info.class_set.names)
        if decision.mode != info.class_set.mode or decision.temperature <= 0 or classes != len(decision.thresholds):
            raise ValueError("the decision does not fit the classes")
        if not {len(decision.slopes), len(decision.offsets)} <= {0, classes} or len(decision.slopes) != len(
            decision.offsets
        ):
            raise ValueError("the calibration does not fit the classes")
        return checked(info)


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded bundle.

    pca: the encoder's own projection, or None.
    """

    folder: Path
    info: BundleInfo
    head: Head
    pca: Path | None

    @property
    def spec(self) -> EncoderSpec:
        return self.info.spec

    @property
    def class_names(self) -> tuple[str, ...]:
        return self.info.class_set.names

    def require(self, spec: EncoderSpec) -> None:
        """Raise SpecMismatchError, in plain words, unless the head was trained on embeddings of this kind."""
        if wrong := self.spec.mismatch(spec):
            raise SpecMismatchError(
                f"{self.folder}: this model was trained on other embeddings ({'; '.join(wrong)}); "
                f"embed the audio with --encoder {self.spec.encoder} and the same settings, or train a model on these"
            )

    def predict(self, vectors: Vectors, mask: npt.NDArray[np.bool_]) -> HeadScores:
        """Calibrated scores; as `score` otherwise."""
        return self.info.decision.calibrated(self.score(vectors, mask))

    def score(self, vectors: Vectors, mask: npt.NDArray[np.bool_]) -> HeadScores:
        """The head's own scores, not calibrated, of rows of vectors as stored: [n, patches, dim], with their mask.

        Raises:
            SpecMismatchError: vectors of another type or width than the head was trained on.
        """
        if vectors.dtype != self.spec.dtype or vectors.shape[2:] != (self.spec.dim,):
            raise SpecMismatchError(
                f"{self.folder}: this model takes {self.spec.dtype} vectors of {self.spec.dim} values, got "
                f"{vectors.dtype} {list(vectors.shape)}; embed the audio with --encoder {self.spec.encoder}"
            )
        return self.head.predict(vectors, mask)

    def decide(self, said: HeadScores) -> Answers:
        """What `predict` said, held against the bundle's thresholds."""
        return self.info.decision.decide(said)

    def shared_sources(self, sources: Sequence[str]) -> int:
        """How many of these sources the head was trained on: measures on them flatter."""
        path = self.folder / SOURCES_FILE
        try:
            known = np.load(path, allow_pickle=False)
            if known.dtype != np.uint64 or known.ndim != 1:
                raise ValueError(f"{known.dtype} {list(known.shape)}")
        except Exception as error:  # whatever NumPy, or the parser of its headers, makes of damaged bytes
            raise FormatError(f"{path}: is missing or damaged ({error}); copy the whole folder again") from error
        return int(np.isin(_hashes(sources), known).sum())


def load_bundle(folder: Path, runtime: Runtime = "light") -> Bundle:
    """Load a bundle.

    Args:
        folder: of the bundle, or the name of one in data/models.
        runtime: "light" imports neither TensorFlow nor scikit-learn; "full" uses the engine that trained the head.
    Raises:
        UsageError: no such folder or name.
        FormatError: it is not a bundle, is damaged, is one of a later version, or has the light form only.
    """
    folder = find_bundle(folder)
    info = read_info(folder)
    row = head_row(info.head)
    file = row.light_file if runtime == "light" else row.full_file
    if not (folder / file).is_file():
        if runtime == "full" and (folder / row.light_file).is_file():
            raise FormatError(
                f"{folder}: holds the light form of its head only ({row.light_file}), for predicting; "
                f"for {file} train it again: {info.command}"
            )
        raise FormatError(f"{folder}: {file} is missing; copy the whole folder, or train again: {info.command}")
    require_whole(folder / file)
    try:
        head = load_with_background(info.head, folder, info.class_set.mode, runtime, background=info.background)
        _require_answer(head, info)
    except (EarshotError, ImportError):
        raise
    except Exception as error:  # whatever a library makes of damaged bytes
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise FormatError(
            f"{folder / file}: is damaged ({reason}); copy the whole folder again, or train again: {info.command}"
        ) from error
    pca = folder / PCA_FILE
    return Bundle(folder, info, head, pca if pca.is_file() else None)


def write_sums(folder: Path) -> None:
    """Write the checksums of a bundle's head, sources and projection."""
    files = sorted(p for p in folder.iterdir() if p.stem == "head" or p.name in (SOURCES_FILE, PCA_FILE))
    (folder / SUMS_FILE).write_text("".join(f"{sha256_of(path)}  {path.name}\n" for path in files))


def require_whole(path: Path) -> None:
    """Raise FormatError unless a file has its recorded checksum, where one is recorded.

    LiteRT does not look at what it reads: a damaged graph may end the process, and must not get that far.
    """
    sums = path.with_name(SUMS_FILE)
    if not sums.is_file():
        return
    rows = [line.split() for line in sums.read_text(errors="replace").splitlines()]
    if [sha256_of(path), path.name] not in rows and path.name in {row[-1] for row in rows if row}:
        raise FormatError(
            f"{path}: is damaged (its checksum is not that of {SUMS_FILE}); copy the whole folder again, or train again"
        )


def _require_answer(head: Head, info: BundleInfo) -> None:
    """Ask a head just loaded for the scores of one patch of zeros: what is damaged inside shows here, and not in the
    middle of the work.

    Raises:
        ValueError: the answer is not a finite score for each class.
    """
    classes = len(info.class_set.names)
    with np.errstate(all="ignore"):
        scores = head.predict(np.zeros((1, 1, info.spec.dim), info.spec.dtype), np.ones((1, 1), bool)).scores
    if scores.shape != (1, classes) or not np.isfinite(scores).all():
        raise ValueError(f"does not give {classes} scores")


def find_bundle(folder: Path) -> Path:
    """The folder of a bundle; a name that is no folder here may be one of data/models.

    Raises:
        UsageError: it is neither.
    """
    if (folder / MODEL_FILE).is_file():
        return folder
    names = ready_models()
    if not folder.exists() and str(folder) in names:
        return MODELS / folder
    ready = f", or name one that is ready: {', '.join(names)}" if names else ""
    raise UsageError(f"{folder}: holds no {MODEL_FILE}, so it is no model; make one with `earshot train`{ready}")


def ready_models() -> list[str]:
    """The names of the bundles in data/models."""
    return sorted(path.parent.name for path in MODELS.glob(f"*/{MODEL_FILE}"))


def read_info(folder: Path) -> BundleInfo:
    """Read model.json alone.

    Raises:
        FormatError: it is not what this version writes.
    """
    path = folder / MODEL_FILE
    try:
        data = json.loads(path.read_text())
        version = data["format_version"]
        if version != FORMAT_VERSION:
            raise FormatError(f"{path}: format version {version}, this Earshot reads {FORMAT_VERSION}; update Earshot")
        return BundleInfo.from_json(data)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise FormatError(f"{path}: is damaged ({type(error).__name__}: {error}); train the model again") from error


def save_bundle(
    folder: Path,
    info: BundleInfo,
    head: FittedHead,
    *,
    sources: Sequence[str],
    pages: dict[str, str],
    pca: Path | None = None,
) -> None:
    """Write a bundle whole or not at all; one that is there already is replaced.

    Args:
        pages: file name -> text, for people.
        pca: the encoder's projection, to travel along.
    Raises:
        UsageError: the folder holds something else.
    """
    check_free(folder)
    with atomic_folder(folder) as temporary:
        head.save(temporary)
        np.save(temporary / SOURCES_FILE, np.unique(_hashes(sources)))
        for name, text in pages.items():
            (temporary / name).write_text(text, encoding="utf-8")
        if pca:
            shutil.copyfile(pca, temporary / PCA_FILE)
        write_sums(temporary)
        (temporary / MODEL_FILE).write_text(json.dumps(info.to_json(), indent=2) + "\n")


def check_free(folder: Path) -> None:
    """See that a bundle may be written here: where there is nothing, an empty folder, or a bundle to be replaced.

    Raises:
        UsageError: something else is there.
        OSError: the place may not be written.
    """
    require_writable(folder)
    if folder.is_dir() and ((folder / MODEL_FILE).is_file() or not any(folder.iterdir())):
        return
    if folder.exists():
        raise UsageError(f"--out: {folder} holds something that is no model and would be lost; name another folder")


def _hashes(sources: Sequence[str]) -> npt.NDArray[np.uint64]:
    """Eight bytes of each distinct source's hash: enough to recognise it, and its name is not given away."""
    digests = [hashlib.blake2b(source.encode(), digest_size=8).digest() for source in set(sources)]
    return np.frombuffer(b"".join(digests), np.uint64)
