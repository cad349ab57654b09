"""The attention family: heads that learn which patches of a clip count (see `attention_graph` for how).

One module, many rows of the table of heads: a row's settings say which branches it has. What is best depends on how
many rows there are to learn from, so settings come from RECIPES, then from the row, then from the user.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from classifiers.heads import HeadRow, Progress, TrainingData, make_settings
from classifiers.networks.attention_graph import Graph, average, build_graph
from classifiers.networks.keras_head import FittedKeras, InputScaling, load
from classifiers.networks.training import AttentionSettings, Teacher, best_epochs, part_of, train
from classifiers.protocol import grouped_folds
from embeddings.tf import import_keras
from ingest.errors import UsageError

__all__ = ["RECIPES", "AttentionSettings", "InputScaling", "fit", "fit_core", "load", "settings_for"]


@dataclass(frozen=True, slots=True)
class Recipe:
    """Settings for problems with at least so many rows and classes."""

    from_rows: int
    from_classes: int
    settings: Mapping[str, Any] = field(default_factory=dict)


RECIPES = (
    Recipe(0, 0),
    Recipe(
        5000,
        100,
        {
            "branches": ("multihead", "decision", "statistics"),
            "hidden": 1024,
            "width": 512,
            "narrow": 64,
            "apart": 0.5,
            "batch_norm": True,
            "input_dropout": 0.0,
            "coarse_dropout": True,
            "output_bias": -5.0,
            "output_spread": 0.15,
            "epochs": 28,
            "batch": 500,
            "max_steps": 12_000,
            "learning_rate": 2e-3,
            "warmup": 0.07,
            "weight_decay": 0.3,
            "mixup": 0.4,
            "mix_pooled": 0.5,
            "precision": "bfloat16",
        },
    ),
)
"""The last one that fits is taken. The first was chosen on ESC-10 and city10, the second on inner validation parts of
AudioSet's balanced split, whose clips have two or three of 527 classes; docs/heads.md says what else was tried."""

MOST_LOOKING = 600
"""Patches of a row that may look at each other: what each thinks of each is 92 MB a head in a batch of 64. Of the
thousand of a spectrogram a batch took more than 8 GB in training."""


def settings_for(row: HeadRow, changes: Mapping[str, Any], data: TrainingData) -> AttentionSettings:
    """The last recipe that these rows are enough for, the row's own settings over it, the user's over both.

    Raises:
        UsageError: a setting that does not exist, a value that it cannot have, or patches too many to look at each
            other.
    """
    rows, classes = data.targets.shape
    recipe = [recipe for recipe in RECIPES if rows >= recipe.from_rows and classes >= recipe.from_classes][-1]
    settings = make_settings(AttentionSettings, row, {**recipe.settings, **row.settings, **changes})
    if settings.precision not in ("float32", "bfloat16"):
        raise UsageError(f"--set precision: takes float32 or bfloat16, got {settings.precision!r}; choose one")
    if settings.self_attention and (patches := data.mask.shape[1]) > MOST_LOOKING:
        raise UsageError(
            f"--head {row.name}: its patches look at each other, at most {MOST_LOOKING} of them in a row before memory "
            f"and time run away, and these rows have up to {patches:,}; use attention in its place, or on spectrograms "
            "--head cnn"
        )
    return settings


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedKeras:
    """Train on all rows of `data`. Imports TensorFlow."""
    settings = settings_for(row, changes, data)
    scaling = InputScaling.of(data.vectors, data.mask)
    core, chosen = fit_core(data, scaling, settings, seed, progress=progress)
    return FittedKeras(core, scaling, data.spec, data.mode, asdict(settings) | chosen)


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
    rng = np.random.default_rng(seed)
    epochs, chosen = None, {}
    if settings.patience:
        fifth = grouped_folds(data.targets, data.sources, 5, rng) == 0
        if fifth.all():
            raise UsageError(
                "--set patience: holds out a fifth of the recordings, and a training part has one only; leave it out, "
                "or add sounds of other recordings"
            )
        learn, held_out = data.select(np.flatnonzero(~fifth)), data.select(np.flatnonzero(fifth))
        trial = _graph(data, settings)
        epochs = best_epochs(trial, learn, held_out, scaling, settings, rng=rng, teacher=teacher, progress=progress)
        chosen = {"chosen": {"epochs": epochs}}
    cores = []
    for nth in range(settings.networks):
        graph, told = _graph(data, settings), part_of(progress, nth, settings.networks)
        train(graph, data, scaling, settings, rng, epochs=epochs, teacher=teacher, progress=told)
        if settings.batch_norm:
            graph.settle(scaling.correlation(data.vectors, data.mask))
        cores.append(graph.core)
    return average(cores, data.spec.dim) if len(cores) > 1 else cores[0], chosen


def _graph(data: TrainingData, settings: AttentionSettings) -> Graph:
    return build_graph(
        data.spec.dim,
        data.targets.shape[1],
        settings,
        mix_pooled=bool(settings.mix_pooled and settings.mixup),
    )
