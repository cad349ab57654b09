"""From a table of embeddings to a trained head and its honest measures: out of fold first, then all rows."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.background import fit_with_background, has_background
from classifiers.bundle import Bundle, BundleInfo
from classifiers.calibration import scores_error
from classifiers.class_sets import Targets, add_background, make_targets, resolve_class_set
from classifiers.decision import KEEP, Answers, Decision, cross_fitted, fit_decision
from classifiers.heads import FittedHead, HeadScores, TrainingData, head_row
from classifiers.heads import Progress as HeadProgress
from classifiers.metrics import Metrics, measure
from classifiers.protocol import Protocol, Split, make_splits
from classifiers.rejection import Rejection, measure_rejection
from embeddings.encoders import EncoderSpec
from embeddings.table import EmbeddingTable
from ingest.class_sets import ClassSet, Mode
from ingest.errors import FormatError

VERSIONS_OF = ("earshot", "numpy", "scikit-learn", "skops", "keras", "tensorflow", "ai-edge-litert")
Progress = Callable[[str, float], None]
"""Called with what is being done ("fold 2") and the share of all work that is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class TrainSettings:
    """What the user chooses.

    classes: as `class_sets.resolve_class_set` takes it; None for all labels of the store.
    head_changes: settings of the head that differ from its row's.
    background: so many rows with none of the classes teach the head what it does not know; ALL_BACKGROUND for all.
    keep: the working point: the share of its classes that the model shall keep when it rejects background.
    """

    classes: str | None = None
    head: str = "attention"
    protocol: Protocol = "auto"
    seed: int = 0
    head_changes: Mapping[str, Any] = field(default_factory=dict)
    background: int = 0
    keep: float = KEEP


@dataclass(frozen=True, slots=True)
class Measured:
    """Scores of rows that the head that gave them was not trained on.

    truth, scores: [n, classes], of the rows that have what the class set asks for.
    rejection: how well background is told from the classes; None where there was none.
    """

    truth: npt.NDArray[np.float32]
    scores: npt.NDArray[np.float32]
    metrics: Metrics
    rejection: Rejection | None = None


@dataclass(frozen=True, slots=True)
class Trained:
    """The head of all rows, and what was measured on the way (None for protocol "none")."""

    head: FittedHead
    info: BundleInfo
    measured: Measured | None
    sources: list[str]


def train(
    table: EmbeddingTable,
    spec: EncoderSpec,
    settings: TrainSettings,
    *,
    store: str = "",
    command: str = "",
    progress: Progress = lambda what, share: None,
) -> Trained:
    """Measure a head by its protocol, then train it on every row that the class set can use.

    Args:
        store, command: where the rows come from and what was typed, for the record.
    Raises:
        UsageError: classes, protocol or head do not fit the rows.
        FormatError: a vector is not finite.
    """
    head_row(settings.head)
    class_set = resolve_class_set(settings.classes, table.mids)
    targets = make_targets(table.mids, class_set)
    rng = np.random.default_rng(settings.seed)
    if settings.background:
        targets = add_background(targets, table.mids, class_set, settings.background, rng)
    used = table.select(targets.rows)
    _require_finite(used)
    protocol, splits = make_splits(
        settings.protocol, targets.values, used.sources, used.folds, rng, names=class_set.names
    )
    data = TrainingData(
        used.vectors, used.mask, targets.values, used.sources, used.mids, class_set.names, class_set.mode, spec
    )
    measured, decision, folds = _measure_out_of_fold(data, splits, settings, progress)
    head = _fit(data, settings, _part(progress, "final head", len(splits), len(splits) + 1))
    info = BundleInfo(
        spec=spec,
        class_set=class_set,
        head=settings.head,
        head_settings=head.settings,
        seed=settings.seed,
        background=has_background(data),
        decision=decision,
        protocol=protocol,
        folds=folds,
        metrics=measured.metrics if measured else None,
        trained_on={"store": store} | _provenance(used, class_set, targets),
        command=command,
    )
    return Trained(head, info, measured, used.sources)


def evaluate(bundle: Bundle, table: EmbeddingTable) -> Measured:
    """Measure a bundle on a table, by the bundle's own classes. The caller has checked the table's encoder.

    Classes without a row are no error here: they are in `per_class` with support 0 and in no mean.

    Raises:
        UsageError: no row has any of the classes.
        FormatError: a vector is not finite.
    """
    class_set = bundle.info.class_set
    known_mids = {mid for c in class_set.classes for mid in c.mids}
    targets = make_targets(table.mids, class_set, need_all=False)
    truth = np.zeros((len(table), len(class_set.names)), np.float32)
    truth[targets.rows] = targets.values
    strangers = [i for i, mids in enumerate(table.mids) if mids and known_mids.isdisjoint(mids)]
    rows = targets.rows if class_set.mode == "multi" else np.union1d(targets.rows, strangers).astype(np.intp)
    used = table.select(rows)
    _require_finite(used)
    raw = bundle.score(used.vectors, used.mask)
    said = bundle.info.decision.calibrated(raw)
    return _measured(truth[rows], raw, said, bundle.decide(said), class_set.names, class_set.mode)


def fingerprint(table: EmbeddingTable) -> str:
    """SHA-256 of the rows: keys, labels, vectors and masks, whatever their order."""
    rows = []
    for i in np.argsort(table.keys):
        row = hashlib.sha256(f"{table.keys[i]}\0{sorted(table.mids[i])}\0".encode())
        row.update(np.ascontiguousarray(table.vectors[i][table.mask[i]]).tobytes())
        rows.append(row.digest())
    return hashlib.sha256(b"".join(rows)).hexdigest()


def _require_finite(table: EmbeddingTable) -> None:
    finite = np.isfinite(table.vectors).all(axis=(1, 2))
    if not finite.all():
        raise FormatError(
            f"{table.keys[int(np.argmin(finite))]}: its vectors hold NaN or infinite values (so do those of "
            f"{np.count_nonzero(~finite)} rows in all); embed this audio again, or take the rows out"
        )


def _measure_out_of_fold(
    data: TrainingData, splits: list[Split], settings: TrainSettings, progress: Progress
) -> tuple[Measured | None, Decision, list[dict[str, Any]]]:
    """Every test row scored by a head that never saw its source; what to decide by, and the measures of each split."""
    neutral = Decision.neutral(data.mode, data.targets.shape[1])
    if not splits:
        return None, neutral, []
    scores, known = np.zeros(data.targets.shape, np.float32), np.zeros(len(data.targets), np.float32)
    fold_of_row = np.full(len(data.targets), -1, np.intp)
    folds, learnt_background = [], False
    for i, split in enumerate(splits):
        head = _fit(data.select(split.train), settings, _part(progress, split.name, i, len(splits) + 1))
        said = head.predict(data.vectors[split.test], data.mask[split.test])
        scores[split.test], fold_of_row[split.test] = said.scores, i
        if said.known is not None:
            known[split.test], learnt_background = said.known, True
        folds.append(_measured_fold(split, data, said) | {"chosen": head.settings.get("chosen")})
    tested = np.flatnonzero(fold_of_row >= 0)
    truth, said = data.targets[tested], HeadScores(scores[tested], known=known[tested] if learnt_background else None)
    groups = fold_of_row[tested] if len(splits) > 1 else _groups([data.sources[i] for i in tested])
    calibrated, answers = cross_fitted(truth, said, groups, data.mode, settings.keep)
    decision = fit_decision(truth, said, data.mode, settings.keep)
    return _measured(truth, said, calibrated, answers, data.class_names, data.mode), decision, folds


def _measured_fold(split: Split, data: TrainingData, said: HeadScores) -> dict[str, Any]:
    """A split's own measures, of the head's scores as they are."""
    truth = data.targets[split.test]
    has_class = truth.any(axis=1) | (data.mode == "multi")
    part = measure(truth[has_class], said.scores[has_class], data.class_names, data.mode)
    return {"name": split.name, "n": part.n, "accuracy": part.accuracy, "mAP": part.mAP}


def _groups(sources: list[str], n_groups: int = 5) -> npt.NDArray[np.intp]:
    """Groups for a protocol of one split: rows of a source share one."""
    return np.unique(np.asarray(sources), return_inverse=True)[1] % n_groups


def _measured(  # noqa: PLR0917 - what was said at each stage
    truth: npt.NDArray[np.float32],
    raw: HeadScores,
    said: HeadScores,
    answers: Answers,
    classes: tuple[str, ...],
    mode: Mode,
) -> Measured:
    """The measures of the classes are of rows that have one; rows of zeros in "single" are background.

    Args:
        raw: scores as the head gave them; said, answers: calibrated and decided.
    """
    has_class = truth.any(axis=1) | (mode == "multi")
    metrics = measure(truth[has_class], said.scores[has_class], classes, mode)
    rejection = None if has_class.all() else measure_rejection(truth, said, answers, classes)
    error, error_before = (scores_error(truth[has_class], s.scores[has_class], mode) for s in (said, raw))
    metrics = replace(metrics, calibration_error=error, calibration_error_before=error_before)
    return Measured(truth[has_class], said.scores[has_class], metrics, rejection)


def _fit(data: TrainingData, settings: TrainSettings, progress: HeadProgress) -> FittedHead:
    progress(0, 1)
    return fit_with_background(settings.head, data, settings.seed, progress, settings.head_changes)


def _part(progress: Progress, what: str, index: int, of: int) -> HeadProgress:
    """The progress of one fit, as a part of all."""
    return lambda done, total: progress(what, (index + done / total) / of)


def _provenance(used: EmbeddingTable, class_set: ClassSet, targets: Targets) -> dict[str, Any]:
    """What a head was trained on, for the record."""
    return {
        "fingerprint": fingerprint(used),
        "rows": len(used),
        "sources": len(set(used.sources)),
        "background": targets.background,
        "left_out_none": targets.left_out_none,
        "left_out_several": targets.left_out_several,
        "rows_per_class": dict(zip(class_set.names, targets.values.sum(axis=0).astype(int).tolist(), strict=True)),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": {"python": platform.python_version()} | {name: _version(name) for name in VERSIONS_OF},
    }


def _version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
