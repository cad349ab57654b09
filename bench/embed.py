"""Five-second clips end to end with YAMNet, against its bare engine on ready patches; all cores both.

Two floors. "Engine as it comes" is LiteRT as anyone would use it, one interpreter with a thread a core, patch by
patch. "Engine at its best" is as the pipeline uses it, an interpreter on each core and twenty patches in a call.
Expected of that before measuring: 60 to 65 %, as decoding Vorbis, resampling and log-mel cost 4.2 ms of a core per
clip beside 6 ms in the engine, so that no pipeline could do better. The last line holds ours to the sum of its parts,
each alone on all cores: expected 95 %.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from bench.clips import shared_folder, short_clips
from bench.result import LeftOutError, Result, best_in_turn
from embeddings.embed import EmbedSettings, embed
from embeddings.encoders import EncoderSettings, load_encoder
from embeddings.store import EmbeddingStore
from ingest.audio.clip import AudioItem
from ingest.audio.windows import read_clip
from ingest.engines.local_engine import available_cores
from ingest.errors import WeightsError

GOAL = 0.70
PARTS = 0.90
ROUNDS = 5


def run() -> list[Result]:
    """Raises LeftOutError without YAMNet's weights."""
    shared = shared_folder()
    weights_dir = shared / "models" if shared else None
    try:
        encoder = load_encoder("yamnet", EncoderSettings(weights_dir=weights_dir))
        as_it_comes = load_encoder("yamnet", EncoderSettings(weights_dir=weights_dir, threads=available_cores()))
    except WeightsError as error:
        raise LeftOutError(str(error)) from error
    return end_to_end("yamnet", encoder, as_it_comes)


def end_to_end(name: str, encoder: Any, as_it_comes: Any, rounds: int = ROUNDS) -> list[Result]:
    """Time `embed` into an empty store against `encode_patches` on the same clips' patches.

    Args:
        as_it_comes: the encoder for one call at a time, with all cores to itself.
    """
    with short_clips() as (clips, items), threadpool_limits(1, "blas"):
        waveforms = [read_clip(item.path).waveform for item in items]
        patches = [encoder.patches(waveform) for waveform in waveforms]
        calls = _calls(patches, encoder.batch_patches)
        as_they_come = [patch[None] for call in calls for patch in call] if encoder.batch_patches == 1 else calls
        whole_s, alone_s, read_s, mel_s, engine_s = best_in_turn(
            [
                lambda: _embed_s(items, encoder),
                lambda: _in_turn_s(as_it_comes.encode_patches, as_they_come),
                lambda: _on_all_cores_s(read_clip, [item.path for item in items]),
                lambda: _on_all_cores_s(encoder.patches, waveforms),
                lambda: _on_all_cores_s(encoder.encode_patches, calls),
            ],
            rounds,
        )
    parts_s = read_s + mel_s + engine_s
    note = f"{clips}, {sum(map(len, patches))} patches, {available_cores()} cores"
    parts = f"reading {read_s:.2f}, log-mel {mel_s:.2f}, engine {engine_s:.2f} s"
    goal, own = GOAL * whole_s, PARTS * whole_s
    return [
        Result(f"{name}: engine as it comes", whole_s, alone_s, "s", f"{GOAL:.0%}", alone_s >= goal, note),
        Result(f"{name}: engine at its best", whole_s, engine_s, "s", f"{GOAL:.0%}", engine_s >= goal),
        Result(f"{name}: parts at their best", whole_s, parts_s, "s", f"{PARTS:.0%}", parts_s >= own, parts),
    ]


def _calls(patches: Sequence[Any], batch_patches: int) -> list[Any]:
    """What the engine gets in one call: a clip, or a full batch where the engine wants one."""
    if batch_patches == 1:
        return list(patches)
    every = np.concatenate(patches)
    return [every[begin : begin + batch_patches] for begin in range(0, len(every), batch_patches)]


def _embed_s(items: list[AudioItem], encoder: Any) -> float:
    with TemporaryDirectory() as folder:
        store = EmbeddingStore.create(Path(folder), encoder.spec)
        begin = time.perf_counter()
        summary = embed(items, encoder, store, EmbedSettings())
        seconds = time.perf_counter() - begin
    assert summary.embedded == len(items), summary.failed
    return seconds


def _in_turn_s(work: Callable[[Any], Any], pieces: Sequence[Any]) -> float:
    begin = time.perf_counter()
    for piece in pieces:
        work(piece)
    return time.perf_counter() - begin


def _on_all_cores_s(work: Callable[[Any], Any], pieces: Sequence[Any]) -> float:
    with ThreadPoolExecutor(available_cores()) as pool:
        begin = time.perf_counter()
        list(pool.map(work, pieces))
        return time.perf_counter() - begin
