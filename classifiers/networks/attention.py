"""The attention family: heads that learn which patches of a clip count (see `attention_graph` for how).

One module, many rows of the table of heads: a row's settings say which branches it has.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from classifiers.heads import HeadRow, Progress, TrainingData
from classifiers.networks.attention_graph import average, build_graph
from classifiers.networks.attention_settings import AttentionSettings, settings_for
from classifiers.networks.keras_head import FittedKeras, InputScaling, load, with_scaling
from classifiers.networks.training import Teacher, best_epochs, part_of, train
from classifiers.protocol import grouped_folds
from embeddings.runtimes.tf import import_keras
from ingest.errors import UsageError

__all__ = ["fit", "fit_core", "load"]


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedKeras:
    """Train on all rows of `data`. Imports TensorFlow."""
    settings = settings_for(row, changes, data)
    scaling = InputScaling.of(data.vectors, data.mask)
    core, chosen = fit_core(data, scaling, settings, seed, progress=progress)
    return FittedKeras(with_scaling(core, scaling, data.spec, data.mode), data.spec, asdict(settings) | chosen)


def fit_core(
    data: TrainingData,
    scaling: InputScaling,
    settings: AttentionSettings,
    seed: int,
    *,
    progress: Progress,
    teacher: Teacher | None = None,
) -> tuple[Any, dict[str, Any]]:
    """A trained core, and what it chose: with `patience` the number of epochs, on a fifth of the sources.

    Raises:
        UsageError: `patience`, and rows of one source only.
    """
    import_keras().utils.set_random_seed(seed)
    rng, shape = np.random.default_rng(seed), (data.spec.dim, data.targets.shape[1])
    epochs, chosen = None, {}
    if settings.patience:
        fifth = grouped_folds(data.targets, data.sources, 5, rng) == 0
        if fifth.all():
            raise UsageError(
                "--set patience: holds out a fifth of the recordings, and a training part has one only; leave it out, "
                "or add sounds of other recordings"
            )
        learn, held_out = data.select(np.flatnonzero(~fifth)), data.select(np.flatnonzero(fifth))
        trial = build_graph(*shape, settings)
        epochs = best_epochs(trial, learn, held_out, scaling, settings, rng=rng, teacher=teacher, progress=progress)
        chosen = {"chosen": {"epochs": epochs}}
    cores = []
    for nth in range(settings.networks):
        graph, told = build_graph(*shape, settings), part_of(progress, nth, settings.networks)
        train(graph, data, scaling, settings, rng, epochs=epochs, teacher=teacher, progress=told)
        if settings.batch_norm:
            graph.settle(scaling.correlation(data.vectors, data.mask))
        cores.append(graph.core)
    return average(cores, data.spec.dim) if len(cores) > 1 else cores[0], chosen
