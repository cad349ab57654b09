"""How many windows of ten seconds belong into one call of the encoder: as the API calls it, against the best; one core.

Expected before measuring: YAMNet's engine is at its best with a window alone; VGGish gains an eighth when several fill
its batch.
"""

import os
import time
from functools import partial
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from app.api.workers import windows_at_once
from bench.result import Result, best_in_turn
from bench.weights import random_vggish, yamnet_folder
from embeddings.encoders import EncoderSettings, load_encoder

COUNTS = (1, 2, 3, 4, 6)
WINDOWS = 12
GOAL = 0.95


def run() -> list[Result]:
    """Raises LeftOutError without YAMNet's weights."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-1:])  # before engines start their threads
    yamnet = load_encoder("yamnet", EncoderSettings(weights_dir=yamnet_folder()))
    with threadpool_limits(1, "blas"):
        return [_one("yamnet", yamnet), _one("vggish", random_vggish())]


def _one(name: str, encoder: Any) -> Result:
    rng = np.random.default_rng(0)
    rate = encoder.spec.sample_rate
    windows = [rng.normal(0, 0.1, 10 * rate).astype(np.float32) for _ in range(WINDOWS)]
    patches = [encoder.patches(window) for window in windows]
    seconds = best_in_turn([partial(_in_calls, encoder, patches, count) for count in COUNTS], 3)
    each = {count: 1000 * s / WINDOWS for count, s in zip(COUNTS, seconds, strict=True)}
    ours = each[min(windows_at_once(encoder), COUNTS[-1])]
    note = ", ".join(f"{count}: {ms:.1f}" for count, ms in each.items())
    best = min(each.values())
    return Result(f"{name}: a window, by calls", ours, best, "ms", f"{GOAL:.0%}", best >= GOAL * ours, note)


def _in_calls(encoder: Any, patches: list[Any], count: int) -> float:
    begin = time.perf_counter()
    for i in range(0, len(patches), count):
        encoder.encode_patches(np.concatenate(patches[i : i + count]))
    return time.perf_counter() - begin
