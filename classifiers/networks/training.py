"""The loop that trains the attention family: mixup, a cosine schedule, early stopping, a teacher.

Rows are gathered batch by batch, so vectors may lie in a file that is mapped into memory.
"""

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.heads import Progress, TrainingData
from classifiers.networks.attention_graph import Graph
from classifiers.networks.attention_settings import AttentionSettings
from classifiers.networks.keras_head import Floats, InputScaling, Mask, batches, loss_of
from classifiers.networks.steps import epochs_for, steps_per_epoch
from embeddings.runtimes.tf import bfloat16_products, import_keras

Teacher = Callable[[Floats, Mask], Floats]
"""Scaled vectors [n, patches, dim] and mask -> probabilities [n, classes]."""


def train(
    graph: Graph,
    data: TrainingData,
    scaling: InputScaling,
    settings: AttentionSettings,
    rng: np.random.Generator,
    *,
    epochs: int | None = None,
    teacher: Teacher | None = None,
    after_epoch: Callable[[int], bool] = lambda epoch: False,
    progress: Progress = lambda done, total: None,
) -> None:
    """Train a new graph on all rows of `data`.

    Args:
        epochs: instead of the settings'.
        after_epoch: called with the number of epochs done; True ends the training.
    """
    n = len(data.targets)
    per_epoch, epochs = steps_per_epoch(settings, n), epochs or epochs_for(settings, n)
    model = graph.trained
    optimizer, losses = _optimizer(per_epoch * epochs, model, settings), [loss_of(data.mode) for _ in graph.weights]
    model.compile(optimizer, losses, loss_weights=list(graph.weights), jit_compile=False)
    _make_variables(model, data.targets.shape[1])
    with bfloat16_products() if settings.precision == "bfloat16" else nullcontext():
        for epoch in range(epochs):
            for step, rows in enumerate(np.array_split(rng.permutation(n), per_epoch)):
                pooled = len(model.inputs) > 2
                inputs, y = lesson(data, np.sort(rows), scaling, settings, rng, pooled=pooled, teacher=teacher)
                model.train_on_batch(inputs, [y] * len(losses))
                progress(epoch * per_epoch + step + 1, epochs * per_epoch)
            if after_epoch(epoch + 1):
                break


def best_epochs(
    graph: Graph,
    learn: TrainingData,
    held_out: TrainingData,
    scaling: InputScaling,
    settings: AttentionSettings,
    *,
    rng: np.random.Generator,
    **how: Any,
) -> int:
    """The number of epochs after which the loss on rows that are held out was lowest.

    Training ends when it has not been lower for `patience` epochs.
    """
    losses: list[float] = []
    correlation = scaling.correlation(learn.vectors, learn.mask) if settings.batch_norm else None

    def worse(epoch: int) -> bool:
        if correlation is not None:
            graph.settle(correlation)
        losses.append(_loss_on(graph, held_out, scaling))
        return epoch - (int(np.argmin(losses)) + 1) >= settings.patience

    train(graph, learn, scaling, settings, rng, after_epoch=worse, **how)
    return int(np.argmin(losses)) + 1


def lesson(
    data: TrainingData,
    rows: npt.NDArray[np.intp],
    scaling: InputScaling,
    settings: AttentionSettings,
    rng: np.random.Generator,
    *,
    pooled: bool,
    teacher: Teacher | None = None,
) -> tuple[list[Any], Floats]:
    """Inputs and targets of one step. Mixup (Zhang et al., ICLR 2018): each row blended with another of the batch.

    A teacher is asked about the very inputs that the pupil sees, mixed ones included: that is what makes it worth
    asking (Beyer et al., "Knowledge distillation: a good teacher is patient and consistent", CVPR 2022).
    """
    mask = data.mask[rows]
    x = scaling.apply(data.vectors[rows], mask)
    y = data.targets[rows].astype(np.float32)
    partner = rng.permutation(len(rows))
    alpha = settings.mixup
    share = rng.beta(alpha, alpha, (len(rows), 1)).astype(np.float32) if alpha else np.ones((len(rows), 1), np.float32)
    y = share * y + (1 - share) * y[partner]
    mix_inputs = not pooled or rng.random() >= settings.mix_pooled
    if mix_inputs and alpha:
        x = share[..., None] * x + (1 - share[..., None]) * x[partner]
        mask = mask | mask[partner]
    if teacher is not None:
        said = teacher(x, mask)
        said = said if mix_inputs else share * said + (1 - share) * said[partner]
        y = (1 - settings.taught) * y + settings.taught * said
    if not pooled:
        return [x, mask], y
    return [x, mask, partner.astype(np.int32), np.ones_like(share) if mix_inputs else share], y


def _loss_on(graph: Graph, data: TrainingData, scaling: InputScaling) -> float:
    """Mean loss of the core on clean rows."""
    loss = loss_of(data.mode)
    total = 0.0
    for rows in batches(*data.mask.shape):
        mask = data.mask[rows]
        logits = graph.core([scaling.apply(data.vectors[rows], mask), mask], training=False)[0]
        total += float(loss(data.targets[rows].astype(np.float32), logits)) * len(mask)
    return total / len(data.targets)


def _optimizer(steps: int, model: Any, settings: AttentionSettings) -> Any:
    keras = import_keras()
    warmup = max(1, round(settings.warmup * steps))
    schedule = keras.optimizers.schedules.CosineDecay(
        settings.learning_rate / 20, max(1, steps - warmup), warmup_target=settings.learning_rate, warmup_steps=warmup
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=settings.weight_decay)
    optimizer.exclude_from_weight_decay(var_list=[v for v in model.trainable_variables if len(v.shape) < 2])
    return optimizer


def _make_variables(model: Any, n_classes: int) -> None:
    """Those of the optimizer and of the losses, which Keras would make in the first step: TensorFlow traces a step that
    makes variables a second time, and tracing takes longer than a small training's steps do."""
    model.optimizer.build(model.trainable_variables)
    if len(model.outputs) > 1:  # each output's loss is tracked
        nothing = [np.zeros((1, n_classes), np.float32)] * len(model.outputs)
        model.compute_loss(y=nothing, y_pred=nothing)


def part_of(progress: Progress, index: int, parts: int) -> Progress:
    """The progress of one of several trainings, as a part of them all."""
    return lambda done, total: progress(index * total + done, parts * total)
