"""What may be chosen about a head of the attention family, and the recipes that choose it for so many rows and classes.

What is best depends on how many rows there are to learn from, so settings come from RECIPES, then from the row of the
table of heads, then from the user.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from classifiers.heads import HeadRow, TrainingData, make_settings
from ingest.errors import UsageError


@dataclass(frozen=True, slots=True)
class AttentionSettings:
    """How a head of the family is built and trained.

    branches: names of BRANCHES.
    hidden, depth: width and number of the layers that each patch goes through.
    every_depth: branches at each of the layers, not at the last one alone.
    apart: share of the loss that is what each branch says by itself, where there are several; the rest is their mean.
        At 0 they come to lean on each other, and err together.
    batch_norm: the first layer's outputs are normalised.
    self_attention: heads of a layer in which patches look at each other; 0 for none.
    input_dropout, dropout: share of inputs and of hidden units that are dropped in training.
    coarse_dropout: which of a patch's hidden units are dropped is drawn by the byte, to the nearest 256th of `dropout`.
    heads, width: attention heads of the branch "multihead", and of its layer behind them.
    narrow: units that the branch "decision" squeezes a patch into before it weighs it; 0 weighs it as it is.
    output_bias: what logits start from; below 0 where most classes are absent.
    output_spread: of the first weights of outputs and attention, as a share of the usual (Glorot's): with hundreds of
        classes and few passes, much of what was drawn is still there when training ends.

    networks: how many are trained, one after the other from first weights of their own; the head is their mean.
    epochs, batch: passes over the data, rows in a step.
    min_steps, max_steps: bounds on the steps in all, see `steps.Paced`.
    learning_rate, warmup: peak of the cosine schedule, and share of the steps that lead up to it.
    weight_decay: AdamW's; of matrices only.
    mixup: both parameters of the beta distribution that pairs of rows are mixed with; 0 is off.
    mix_pooled: share of the steps that mix what the branches pooled, where they can, and not the inputs.
    taught: share of the targets that comes from a teacher, where there is one.
    patience: epochs without a better loss on held-out sources before training stops; 0 trains on all rows to the end.
    precision: of matrix products, "float32" or "bfloat16" (half the time where the processor has it).
    """

    branches: tuple[str, ...] = ("decision",)
    hidden: int = 512
    depth: int = 1
    every_depth: bool = False
    apart: float = 0.0
    batch_norm: bool = False
    self_attention: int = 0
    input_dropout: float = 0.5
    dropout: float = 0.5
    coarse_dropout: bool = False
    heads: int = 4
    width: int = 1024
    narrow: int = 0
    output_bias: float = 0.0
    output_spread: float = 1.0
    networks: int = 1
    epochs: int = 60
    batch: int = 64
    min_steps: int = 300
    max_steps: int = 6000
    learning_rate: float = 1e-3
    warmup: float = 0.05
    weight_decay: float = 0.01
    mixup: float = 1.0
    mix_pooled: float = 0.0
    taught: float = 0.7
    patience: int = 0
    precision: str = "float32"


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
