"""Training the attention head from a file that is larger than memory may be, against a plain loop over an array.

Expected before measuring: a step of the default head costs what its arithmetic costs, so within 1.2 of the plain loop;
memory is flat, as batches are gathered from the file; a million rows pass a small head in a minute.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bench.result import LeftOutError, Result, best_in_turn
from classifiers.heads import TrainingData
from classifiers.networks.attention import fit_core
from classifiers.networks.attention_graph import build_graph
from classifiers.networks.attention_settings import RECIPES, AttentionSettings
from classifiers.networks.keras_head import InputScaling
from classifiers.networks.training import train
from embeddings import mapped
from embeddings.features import features_spec

ROWS, FEW, CLASSES, PATCHES = 1_000_000, 100_000, 527, 10
BATCH = 500
STEPS = 12


def run() -> list[Result]:
    recipe = AttentionSettings(**RECIPES[-1].settings)
    small = replace(recipe, hidden=64, width=64, epochs=1, min_steps=1, max_steps=ROWS // BATCH)
    data = _random_rows(ROWS)
    few = data.select(np.arange(FEW))
    few_mb, few_s = _peak_anonymous_mb(lambda told: _one_pass(few, small, told))
    many_mb, many_s = _peak_anonymous_mb(lambda told: _one_pass(data, small, told))
    ours, plain = best_in_turn([_ours(few, recipe), _plain(few, recipe)], rounds=3)
    grown = many_mb - few_mb
    return [
        Result("memory, 1,000,000 rows", many_mb, few_mb, "MB", "within 100 MB of 100,000", grown < 100, "anonymous"),
        Result("a pass over 1,000,000 rows", many_s, few_s * ROWS / FEW, "s", "linear in rows",
               many_s < 1.5 * few_s * ROWS / FEW, "a head of 64 units; floor: ten times 100,000 rows"),
        Result("a step of the default head", 1e3 * ours, 1e3 * plain, "ms", "within 1.5 of a plain loop",
               ours < 1.5 * plain, f"{BATCH} rows, {CLASSES} classes"),
    ]  # fmt: skip


def _random_rows(n: int) -> TrainingData:
    """Rows with two of the classes each; vectors and targets lie in files."""
    rng = np.random.default_rng(0)
    vectors = mapped.zeros((n, PATCHES, 128), np.uint8)
    targets = mapped.zeros((n, CLASSES), np.float32)
    for i in range(0, n, 10_000):
        vectors[i : i + 10_000] = rng.integers(0, 256, (10_000, PATCHES, 128), np.uint8)
        targets[np.arange(i, i + 10_000)[:, None], rng.integers(0, CLASSES, (10_000, 2))] = 1
    names = tuple(map(str, range(CLASSES)))
    sources = list(map(str, range(n)))
    labels: list[tuple[str, ...]] = [("a",)] * n
    return TrainingData(vectors, np.ones((n, PATCHES), bool), targets, sources, labels, names, "multi", features_spec())


def _one_pass(data: TrainingData, settings: AttentionSettings, told: Callable[[int, int], None]) -> None:
    fit_core(data, InputScaling.of(data.vectors, data.mask), settings, 0, progress=told)


def _peak_anonymous_mb(work: Callable[[Callable[[int, int], None]], None]) -> tuple[float, float]:
    """The most memory that is no file's, looked at after every step, and the seconds. Pages of files can be dropped."""
    peak = 0.0

    def look(done: int, total: int) -> None:
        nonlocal peak
        peak = max(peak, _anonymous_mb())

    begin = time.perf_counter()
    work(look)
    return peak, time.perf_counter() - begin


def _anonymous_mb() -> float:
    """RssAnon of this process; raises LeftOutError where the system does not tell it."""
    status = Path("/proc/self/status")
    if not status.is_file():
        raise LeftOutError("this system does not say how much memory is anonymous")
    line = next(line for line in status.read_text().splitlines() if line.startswith("RssAnon"))
    return int(line.split()[1]) * 1024 / 1e6


def _ours(data: TrainingData, recipe: AttentionSettings) -> Callable[[], float]:
    """Seconds a step of the loop as it is; the first ones, which trace the graph, are not counted."""
    settings = replace(recipe, epochs=1, min_steps=1)
    rows = data.select(np.arange(STEPS * BATCH))
    scaling = InputScaling.of(rows.vectors, rows.mask)
    graph = build_graph(128, CLASSES, settings)

    def measure() -> float:
        stamps: list[float] = []
        rng = np.random.default_rng(0)
        train(graph, rows, scaling, settings, rng, progress=lambda done, total: stamps.append(time.perf_counter()))
        return float(np.median(np.diff(stamps)[2:]))

    return measure


def _plain(data: TrainingData, recipe: AttentionSettings) -> Callable[[], float]:
    """Seconds a step of the same graph on scaled arrays in memory, in order and not mixed."""
    graph = build_graph(128, CLASSES, recipe)
    rows = data.select(np.arange(STEPS * BATCH))
    x = InputScaling.of(rows.vectors, rows.mask).apply(rows.vectors, rows.mask)
    partner, share = np.arange(BATCH, dtype=np.int32), np.ones((BATCH, 1), np.float32)

    def measure() -> float:
        from embeddings.runtimes.tf import bfloat16_products, import_keras

        keras = import_keras()
        losses = [keras.losses.BinaryCrossentropy(True) for _ in graph.weights]
        graph.trained.compile(keras.optimizers.AdamW(1e-3), losses, loss_weights=list(graph.weights), jit_compile=False)
        stamps: list[float] = []
        with bfloat16_products():
            for i in range(0, len(x), BATCH):
                part: Any = slice(i, i + BATCH)
                y = [rows.targets[part]] * len(losses)
                graph.trained.train_on_batch([x[part], rows.mask[part], partner, share], y)
                stamps.append(time.perf_counter())
        return float(np.median(np.diff(stamps)[2:]))

    return measure
