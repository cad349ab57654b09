"""Heads built from heads of the attention family: several in one graph, or one that learned from several.

An ensemble averages its members' logits, votes and attention; its graph is one graph, saved as one head. A distilled
head is a single head whose targets are blended with what an ensemble says of the very rows that it is shown, mixed ones
included: it costs the ensemble's training and then some, and is as small and quick as one head afterwards.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from classifiers.heads import HEADS, HeadRow, Progress, TrainingData, make_settings
from classifiers.networks.attention import fit_core
from classifiers.networks.attention_graph import average
from classifiers.networks.attention_settings import settings_for
from classifiers.networks.keras_head import FittedKeras, Floats, InputScaling, Mask, activation_of, load, with_scaling
from classifiers.networks.training import Teacher, part_of
from embeddings.runtimes.tf import import_keras
from ingest.audioset.class_sets import Mode
from ingest.errors import UsageError

__all__ = ["EnsembleSettings", "fit", "fit_members", "load"]


@dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """What an ensemble is made of.

    members: rows of the table of heads, of the attention family; each is trained with a seed of its own.
    distil: a last head of the row `pupil` is trained on what the members say, and it alone is kept.
    taught: share of the pupil's targets that comes from the members.
    epochs, pupil_epochs: of members and pupil; 0 for what they would have on their own.
    """

    members: tuple[str, ...] = ("attention", "transformer")
    distil: bool = False
    pupil: str = "attention"
    taught: float = 0.7
    epochs: int = 0
    pupil_epochs: int = 0


def fit(row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: Progress) -> FittedKeras:
    """Train the members on all rows of `data`, then the pupil, if there is to be one. Imports TensorFlow.

    Raises:
        UsageError: a member that is not of the attention family, or no member.
    """
    settings = make_settings(EnsembleSettings, row, changes)
    pupil = None
    if settings.distil:
        own = {"networks": 1} | ({"epochs": settings.pupil_epochs} if settings.pupil_epochs else {})
        pupil = replace(settings_for(_member_row(settings.pupil, "pupil"), own, data), taught=settings.taught)
    scaling = InputScaling.of(data.vectors, data.mask)
    n, parts = len(settings.members), len(settings.members) + settings.distil
    own = {"epochs": settings.epochs} if settings.epochs else {}
    core = fit_members(
        settings.members,
        data,
        scaling,
        own,
        seed=seed,
        progress=lambda done, total: progress(done * n, total * parts),
    )
    if pupil:
        teacher = _teacher(core, data.mode)
        core, _ = fit_core(data, scaling, pupil, seed + n, progress=part_of(progress, n, parts), teacher=teacher)
    return FittedKeras(with_scaling(core, scaling, data.spec, data.mode), data.spec, asdict(settings))


def fit_members(
    names: Sequence[str],
    data: TrainingData,
    scaling: InputScaling,
    changes: Mapping[str, Any],
    *,
    seed: int,
    progress: Progress,
    setting: str = "members",
) -> Any:
    """One core, the mean of those of heads of the family, each trained with a seed of its own.

    Args:
        names: rows of the table of heads. changes: of each one's settings over its recipe's.
        setting: what the names are a setting of, for messages.
    Raises:
        UsageError: a name that is not of the attention family.
    """
    members = [settings_for(_member_row(name, setting), {"networks": 1, **changes}, data) for name in names]
    cores = []
    for i, given in enumerate(members):
        told = part_of(progress, i, len(members))
        cores.append(fit_core(data, scaling, given, seed + i, progress=told)[0])
    return average(cores, data.spec.dim) if len(cores) > 1 else cores[0]


def _member_row(name: str, setting: str) -> HeadRow:
    family = {row.name: row for row in HEADS.values() if row.module == "classifiers.networks.attention"}
    if name not in family:
        raise UsageError(
            f"--set {setting}: takes heads of the attention family, got {name!r}; choose of {', '.join(family)}"
        )
    return family[name]


def _teacher(core: Any, mode: Mode) -> Teacher:
    """The core's probabilities, as the loop asks for them."""
    said = import_keras().Model(core.inputs, activation_of(mode)(core.outputs[0]))

    def teach(x: Floats, mask: Mask) -> Floats:
        return np.asarray(said.predict_on_batch([x, mask]))

    return teach
