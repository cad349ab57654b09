"""Learns every label of the store, then reads your classes off: rows that have none of them teach much too.

A *generalist*, the head `attention` or the mean of several heads, learns all frequent labels of the store side by side,
each against the rest. Where exactly one class is the answer ("single"), *specialists*, heads `decision` that learn from
the rows of the classes alone, have their say too: the scores are a blend of both. `known` is the generalist's,
1 - prod(1 - p) over the classes, for it has seen what else there is.

Source: Caruana, "Multitask learning" (1997).
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from classifiers.heads import HEADS, HeadRow, Progress, TrainingData, make_settings
from classifiers.networks.attention import fit_core
from classifiers.networks.attention_settings import settings_for
from classifiers.networks.ensemble import fit_members
from classifiers.networks.keras_head import FittedKeras, Floats, InputScaling, activation_of, load, scaled_inputs
from embeddings.runtimes.tf import import_keras

__all__ = ["WideSettings", "fit", "lessons", "load"]

GENERALISTS_SHARE = 0.9
"""Of the time that training takes: for the progress bar."""


@dataclass(frozen=True, slots=True)
class WideSettings:
    """How the wide head is built and trained.

    min_rows: labels of fewer rows are not learned.
    hidden, epochs: of the generalist; 0 for what its head takes for so many rows and labels.
    generalists: rows of the table of heads, of the attention family, whose mean is the generalist.
    specialists: how many; 0 leaves the scores to the generalist.
    blend: the generalist's part in the scores, 0 to 1.
    prior: exponent of the classes' frequency that is divided out of the scores: 0 for the most rows right, 1 for
        classes that count alike.
    """

    min_rows: int = 5
    hidden: int = 0
    epochs: int = 0
    generalists: tuple[str, ...] = ("attention",)
    specialists: int = 2
    blend: float = 0.75
    prior: float = 0.5


def lessons(data: TrainingData, min_rows: int) -> Floats:
    """What rows teach the generalist: float32 [n, classes + other labels], 1 where a row has it.

    The others are all labels of `min_rows` rows or more; one that is a class by another name is not learned twice.
    """
    counts = Counter(label for row in data.labels for label in set(row))
    frequent = sorted(label for label, n in counts.items() if min_rows <= n < len(data.labels))
    column = {label: i for i, label in enumerate(frequent)}
    others = np.zeros((len(data.labels), len(frequent)), np.float32)
    for i, labels in enumerate(data.labels):
        others[i, [column[label] for label in labels if label in column]] = 1
    shared, rows_of, counted = data.targets.T @ others, data.targets.sum(axis=0), others.sum(axis=0)
    twice = ((shared == rows_of[:, None]) & (shared == counted)).any(axis=0)
    return np.hstack([data.targets, others[:, ~twice]])


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedKeras:
    """Train on all rows of `data`, background included. Imports TensorFlow."""
    settings = make_settings(WideSettings, row, changes)
    scaling = InputScaling.of(data.vectors, data.mask)
    has_class = data.targets.any(axis=1)
    labels = lessons(data, settings.min_rows)
    own = {name: value for name in ("hidden", "epochs") if (value := getattr(settings, name))}
    everything = replace(data, targets=labels, mode="multi")
    own |= {"output_bias": _mean_log_odds(labels)}
    n = settings.specialists if data.mode == "single" else 0
    ends = np.linspace(GENERALISTS_SHARE if n else 1.0, 1.0, n + 1)
    told = _part(progress, 0.0, ends[0])
    generalist = fit_members(
        settings.generalists, everything, scaling, own, seed=seed, progress=told, setting="generalists"
    )
    specialists = []
    theirs = data.select(np.flatnonzero(has_class)) if n else data
    for i in range(n):
        special, told = settings_for(HEADS["decision"], {}, theirs), _part(progress, ends[i], ends[i + 1])
        specialists.append(fit_core(theirs, scaling, special, seed + 1 + i, progress=told)[0])
    model = _whole(generalist, specialists, data, scaling, settings, rejects=not has_class.all())
    return FittedKeras(model, data.spec, asdict(settings) | {"labels_learned": labels.shape[1]})


def _whole(
    generalist: Any,
    specialists: list[Any],
    data: TrainingData,
    scaling: InputScaling,
    settings: WideSettings,
    *,
    rejects: bool,
) -> Any:
    """Vectors as stored and mask -> scores, patch scores, attention; and `known` of a "single" head that rejects."""
    keras = import_keras()
    ops = keras.ops
    for i, core in enumerate([generalist, *specialists]):
        core.name = f"part_{i}"  # names in a graph must differ
    single, n_classes = data.mode == "single", data.targets.shape[1]
    inputs, x = scaled_inputs(scaling, data.spec)
    mask = inputs["mask"]
    alone, *by_patch = (output[..., :n_classes] for output in generalist([x, mask]))
    logits = alone
    if specialists:
        said = [core([x, mask]) for core in specialists]
        clips, *by_patch = (sum(same) / len(specialists) for same in zip(*said, strict=True))
        logits = (1 - settings.blend) * _log_softmax(clips) + settings.blend * _log_softmax(alone)
    if single:
        logits -= ops.convert_to_tensor(settings.prior * _log_shares(data.targets))
    activation = activation_of(data.mode)
    outputs = {
        "scores": activation(logits),
        "patch_scores": ops.where(ops.expand_dims(mask, -1), activation(by_patch[0]), 0.0),
        "attention": by_patch[1],
    }
    if single and rejects:
        outputs["known"] = 1 - ops.exp(-ops.sum(ops.softplus(alone), axis=1))
    return keras.Model(inputs, outputs, name="head")


def _log_softmax(logits: Any) -> Any:
    ops = import_keras().ops
    return ops.log(ops.maximum(ops.softmax(logits), 1e-9))


def _log_shares(targets: Floats) -> Floats:
    """Log of how often each class is the answer, float32 [classes], of mean 0."""
    logs = np.log(np.maximum(targets.sum(axis=0) / max(targets.sum(), 1), 1e-6))
    return (logs - logs.mean()).astype(np.float32)


def _mean_log_odds(labels: Floats) -> float:
    """Where outputs start: from 0 they spend much of a short training on learning that labels are rare."""
    positives = labels.sum(axis=0)
    return float(np.log((positives + 1) / (len(labels) - positives + 1)).mean())


def _part(progress: Progress, begin: float, end: float) -> Progress:
    """The progress of one fit, as a part of all."""
    return lambda done, total: progress(round(1000 * (begin + (end - begin) * done / total)), 1000)
