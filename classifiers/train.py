"""From a table of embeddings to a trained head and its honest measures: out of fold first, then all rows."""

import hashlib
import importlib.metadata
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.background import fit_with_background, has_background
from classifiers.bundle import Bundle, BundleInfo
from classifiers.decision import KEEP, Decision, cross_fitted, fit_decision
from classifiers.heads import FittedHead, HeadScores, TrainingData, head_row
from classifiers.heads import Progress as HeadProgress
from classifiers.measures.measured import Measured, PatchEvidence, RowFacts, measure_rows
from classifiers.measures.metrics import Metrics
from classifiers.protocol import Protocol, Split, make_splits
from classifiers.scoring import joined_scores, score_rows
from classifiers.targets import (
    Targets,
    add_background,
    make_targets,
    require_some_row,
    resolve_class_set,
    rows_of_strangers,
    without_rare,
)
from embeddings.encoders import EncoderSpec
from embeddings.table import EmbeddingTable
from ingest.audioset.class_sets import ClassSet
from ingest.errors import UsageError

VERSIONS_OF = ("earshot", "numpy", "scikit-learn", "skops", "xgboost-cpu", "keras", "tensorflow", "ai-edge-litert")
Progress = Callable[[str, float], None]
"""Called with what is being done ("fold 2") and the share of all work that is done, 0 to 1."""


@dataclass(frozen=True, slots=True)
class ProblemSettings:
    """What is to be learned and how that is measured, whichever head learns it.

    classes: as `class_sets.resolve_class_set` takes it; None for all labels of the store.
    background: so many rows with none of the classes teach the head what it does not know; ALL_BACKGROUND for all.
    keep: the working point: the share of its classes that the model shall keep when it rejects background.
    min_sources: classes with sounds of fewer sources are left out.
    """

    classes: str | None = None
    protocol: Protocol = "auto"
    seed: int = 0
    background: int = 0
    keep: float = KEEP
    min_sources: int = 1


@dataclass(frozen=True, slots=True)
class TrainSettings(ProblemSettings):
    """The head that learns it, too. head_changes: settings of the head that differ from its row's."""

    head: str = "attention"
    head_changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trained:
    """The head of all rows, and what was measured on the way (None for protocol "none")."""

    head: FittedHead
    info: BundleInfo
    measured: Measured | None
    sources: list[str]


@dataclass(frozen=True, slots=True)
class OutOfFold:
    """What test rows, scored by heads that never saw their sources, came to.

    measured: all test rows taken together. folds: those of each split apart, by the same scores and answers.
    decision: chosen on all of them, for the head of all rows. What is measured here was decided without its own rows.
    """

    measured: Measured
    folds: list[Metrics]
    decision: Decision


@dataclass(frozen=True, slots=True)
class Prepared:
    """What a head learns from and how it is measured.

    class_set: without the classes of too few sources, whose names are in `rare`.
    used: the rows that the class set can use; `data` and `facts` are of the same ones.
    """

    class_set: ClassSet
    rare: tuple[str, ...]
    targets: Targets
    used: EmbeddingTable
    data: TrainingData
    facts: RowFacts
    protocol: str
    splits: list[Split]


def prepare(table: EmbeddingTable, spec: EncoderSpec, settings: ProblemSettings) -> Prepared:
    """Choose rows and splits; the same settings give the same ones for every head.

    Raises:
        UsageError: classes or protocol do not fit the rows.
        FormatError: a vector is not finite.
    """
    _require_rows(table)
    asked = class_set = resolve_class_set(settings.classes, table.mids)
    if settings.min_sources > 1:
        class_set = without_rare(asked, table.mids, table.sources, settings.min_sources)
    targets = make_targets(table.mids, class_set)
    rng = np.random.default_rng(settings.seed)
    if settings.background:
        targets = add_background(targets, table.mids, class_set, settings.background, rng)
    used = table.select(targets.rows)
    used.require_finite()
    protocol, splits = make_splits(
        settings.protocol, targets.values, used.sources, used.folds, rng, names=class_set.names
    )
    _require_taught(protocol, splits, targets, class_set)
    data = TrainingData(
        used.vectors, used.mask, targets.values, used.sources, used.mids, class_set.names, class_set.mode, spec,
        tuple(c.mids for c in class_set.classes),
    )  # fmt: skip
    rare = tuple(name for name in asked.names if name not in class_set.names)
    return Prepared(class_set, rare, targets, used, data, RowFacts.of(used, class_set), protocol, splits)


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
    made = prepare(table, spec, settings)
    measured, decision, folds = _measure_out_of_fold(made, settings, progress)
    head = _fit(made.data, settings, part_of(progress, "final head", len(made.splits), len(made.splits) + 1))
    info = BundleInfo(
        spec=spec,
        class_set=made.class_set,
        head=settings.head,
        head_settings=head.settings,
        seed=settings.seed,
        background=has_background(made.data),
        decision=decision,
        protocol=made.protocol,
        folds=folds,
        metrics=measured.metrics if measured else None,
        trained_on={"store": store} | _provenance(made),
        command=command,
    )
    return Trained(head, info, measured, made.used.sources)


def evaluate(bundle: Bundle, table: EmbeddingTable) -> Measured:
    """Measure a bundle on a table, by the bundle's own classes. The caller has checked the table's encoder.

    Classes without a row are no error here: they are in `per_class` with support 0 and in no mean.

    Raises:
        UsageError: no row has any of the classes.
        FormatError: a vector is not finite.
    """
    _require_rows(table)
    class_set = bundle.info.class_set
    require_some_row(table.mids, class_set)
    targets = make_targets(table.mids, class_set, need_all=False)
    truth = np.zeros((len(table), len(class_set.names)), np.float32)
    truth[targets.rows] = targets.values
    rows = targets.rows
    if class_set.mode == "single":
        rows = np.union1d(rows, rows_of_strangers(table.mids, class_set, relatives_too=True)).astype(np.intp)
    used = table.select(rows)
    used.require_finite()
    raw, patches = score_rows(bundle.score, used.vectors, used.mask)
    said = bundle.info.decision.calibrated(raw)
    return measure_rows(
        truth[rows],
        raw,
        said,
        bundle.decide(said),
        rows=RowFacts.of(used, class_set),
        class_names=class_set.names,
        mode=class_set.mode,
        keep=bundle.info.decision.keep if bundle.info.decided else KEEP,
        patches=patches,
    )


def fingerprint(table: EmbeddingTable) -> str:
    """SHA-256 of the rows: keys, labels, vectors and masks, whatever their order."""
    rows = []
    for i in np.argsort(table.keys):
        row = hashlib.sha256(f"{table.keys[i]}\0{sorted(table.mids[i])}\0".encode())
        row.update(np.ascontiguousarray(table.vectors[i][table.mask[i]]).tobytes())
        rows.append(row.digest())
    return hashlib.sha256(b"".join(rows)).hexdigest()


def _require_taught(protocol: str, splits: list[Split], targets: Targets, class_set: ClassSet) -> None:
    """Every training part must hold what teaches each class and background; with background, every test part a class.

    Splits that Earshot makes spread the classes; a data set's own folds may not.
    """
    rows = targets.values.sum(axis=0)
    for split in splits:
        tested = targets.values[split.test].sum(axis=0)
        taught = rows - tested
        for name, n in zip(class_set.names, taught, strict=True):
            if n in (0, len(split.train)):
                lacks = "no row" if n == 0 else "only rows"
                raise UsageError(
                    f"--protocol: without {split.name} {lacks} with {name!r} would be left to learn from; "
                    f"{'use --protocol cv5, ' * (protocol == 'folds')}add sounds, or leave the class out"
                )
        if targets.background and not tested.any():
            raise UsageError(
                f"--background: {split.name} has background only, and no class to test; add sounds of the classes to "
                f"it, use --protocol {'cv5' if protocol == 'folds' else 'split'}, or leave --background out"
            )
        if targets.background and taught.sum() == len(split.train):
            raise UsageError(
                f"--background: without {split.name} none would be left to learn from; add background of other "
                f"recordings, {'use --protocol cv5, ' * (protocol == 'folds')}or leave --background out"
            )


def _require_rows(table: EmbeddingTable) -> None:
    if not len(table):
        raise UsageError("EMB: the store has no rows; embed some audio, or finish the `earshot embed` that was stopped")


def _measure_out_of_fold(
    prepared: Prepared, settings: TrainSettings, progress: Progress
) -> tuple[Measured | None, Decision, list[dict[str, Any]]]:
    """Every test row scored by a head that never saw its source; what to decide by, and the measures of each split."""
    data, splits = prepared.data, prepared.splits
    if not splits:
        return None, Decision.neutral(data.mode, data.targets.shape[1]), []
    parts, evidence, chosen = [], [], []
    for i, split in enumerate(splits):
        head = _fit(data.select(split.train), settings, part_of(progress, split.name, i, len(splits) + 1))
        said, seen = score_rows(head.predict, data.vectors, data.mask, split.test)
        parts.append(said)
        evidence.append(seen)
        chosen.append(head.settings.get("chosen"))
    made = measure_parts(prepared, parts, keep=settings.keep, patches=PatchEvidence.joined(evidence))
    folds = [
        {"name": split.name, "n": part.n, "accuracy": part.accuracy, "mAP": part.mAP, "chosen": what}
        for split, part, what in zip(splits, made.folds, chosen, strict=True)
    ]
    return made.measured, made.decision, folds


def measure_parts(
    made: Prepared, parts: Sequence[HeadScores], *, keep: float, patches: PatchEvidence | None = None
) -> OutOfFold:
    """Measure scores of the test rows of all splits, and choose what to decide by.

    Args:
        parts: the scores of each split's test rows, as the heads gave them.
        patches: of all test rows, split after split.
    """
    data, splits = made.data, made.splits
    tested = np.concatenate([split.test for split in splits])
    truth, said = data.targets[tested], joined_scores(parts)
    fold = np.repeat(np.arange(len(splits)), [len(split.test) for split in splits])
    groups = fold if len(splits) > 1 else _groups([data.sources[i] for i in tested])
    calibrated, decided = cross_fitted(truth, said, groups, data.mode, keep)
    measured = measure_rows(
        truth,
        said,
        calibrated,
        decided,
        rows=made.facts.select(tested),
        class_names=data.class_names,
        mode=data.mode,
        keep=keep,
        patches=patches,
    )
    fold = fold[truth.any(axis=1) | (data.mode == "multi")]
    folds = [measured.part(np.flatnonzero(fold == i)) for i in range(len(splits))]
    return OutOfFold(measured, folds, fit_decision(truth, said, data.mode, keep))


def _groups(sources: list[str], n_groups: int = 5) -> npt.NDArray[np.intp]:
    """Groups for a protocol of one split: rows of a source share one."""
    return np.unique(np.asarray(sources), return_inverse=True)[1] % n_groups


def _fit(data: TrainingData, settings: TrainSettings, progress: HeadProgress) -> FittedHead:
    progress(0, 1)
    return fit_with_background(settings.head, data, settings.seed, progress, settings.head_changes)


def part_of(progress: Progress, what: str, index: int, of: int) -> HeadProgress:
    """The progress of one fit, as a part of all."""
    return lambda done, total: progress(what, (index + done / total) / of)


def _provenance(made: Prepared) -> dict[str, Any]:
    """What a head was trained on, for the record."""
    targets = made.targets
    per_class = targets.values.sum(axis=0).astype(int).tolist()
    return {
        "fingerprint": fingerprint(made.used),
        "rows": len(made.used),
        "sources": len(set(made.used.sources)),
        "background": targets.background,
        "left_out_none": targets.left_out_none,
        "left_out_several": targets.left_out_several,
        "left_out_classes": len(made.rare),
        "left_out_class_names": list(made.rare),
        "rows_per_class": dict(zip(made.class_set.names, per_class, strict=True)),
        "date": datetime.now(UTC).strftime("%Y-%m-%d"),
        "versions": recorded_versions(),
    }


def recorded_versions() -> dict[str, str | None]:
    """Of Python and of what a head may depend on; None for what is not installed."""
    return {"python": platform.python_version()} | {name: distribution_version(name) for name in VERSIONS_OF}


def distribution_version(distribution: str) -> str | None:
    """The installed version, None where it is not installed."""
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None
