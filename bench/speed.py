"""Files to stored embeddings on one core, beside the ways people do it today and the bare engines, on the same clips.

Every case runs in a process of its own that may use one core (two workers: two), so that start-up and peak memory are
its own. What is timed comes after the start-up: all clips. All cases take turns, twice, and the better of both counts:
a machine that is slower for some minutes would otherwise be held against whoever came then. A Result's `floor` is what
it is held against: a bare engine fed with ready patches (of VGGish the plain TensorFlow graph, whose
convolutions are not Winograd's), or a peer's time divided by the factor that is the goal.

Expected before measuring: VGGish at 165 % of the plain graph, 3.7 x the reference and 4.5 x the port; YAMNet from WAV
at 80 % of LiteRT and from Ogg at 55 %, where decoding Vorbis is the rest; 4 x the hub with resampy, 1.2 x with soxr.
"""

import importlib
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.clips import short_clips
from bench.result import LeftOutError, Result
from bench.weights import random_int8_file, random_vggish, weights_folder

CLIPS = 120
ROUNDS = 2
FORMATS = ("ogg", "wav", "flac", "m4a")
"""Ogg Vorbis and WAV at 44.1 kHz, FLAC at 48 kHz, AAC at 44.1 kHz."""

OURS = ("vggish", "vggish-bfloat16", "vggish-int8", "vggish-pca", "yamnet", "handcrafted")
PEERS = {
    "reference": "bench.peers.vggish_reference:load",
    "pytorch": "bench.peers.vggish_torch:load",
    "hub-resampy": "bench.peers.yamnet_hub:load",
    "hub-soxr": "bench.peers.yamnet_hub:load_with_soxr",
}
GOALS = (
    ("vggish", "reference", 2.0),
    ("vggish", "pytorch", 2.5),
    ("vggish-bfloat16", "reference", 3.0),
    ("vggish-bfloat16", "pytorch", 4.0),
    ("yamnet", "hub-resampy", 4.0),
    ("yamnet", "hub-soxr", 1.2),
)
"""Ours, the peer, and how many times as fast ours is to be."""

BARE = {"vggish": 0.9, "vggish-bfloat16": 0.9, "yamnet": 0.8}
"""Share of the bare engine's rate to be reached."""
TWO_WORKERS = 1.8
TIMES = 2
"""Two workers embed every clip so often, so that it is not the last few that are measured."""

_ON_CORES = """import os
if hasattr(os, "sched_setaffinity"):
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[-{}:])
"""
"""Before NumPy is imported, whose BLAS starts a thread for each core that there is then."""


def run() -> list[Result]:
    random_int8_file()  # converted before, and not within, what is timed
    with _clips() as folder:
        turns = [_turn(folder) for _ in range(ROUNDS)]
    ours, peers, pairs = ({name: _better([turn[i][name] for turn in turns]) for name in turns[0][i]} for i in range(3))
    results = [_rate(name, form, case, case["audio_s"]) for name, case in ours.items() if case for form in FORMATS]
    for name, peer, factor in GOALS:
        if (a := ours[name]) and (b := peers[peer]):
            times = b["seconds"]["ogg"] / a["seconds"]["ogg"]
            results.append(
                Result(f"{name}, {times:.2f} x {peer}", a["seconds"]["ogg"], b["seconds"]["ogg"] / factor, "s",
                       f"{factor:g} x", times >= factor, f"{b['audio_s'] / b['seconds']['ogg']:.0f} x real time there, "
                       f"{b['peak_mb']:.0f} MB, ready after {b['start_s']:.1f} s")
            )  # fmt: skip
    for name, pair in pairs.items():
        if (one := ours[name]) and pair:
            times = one["by_the_clock"] / pair["by_the_clock"]
            results.append(Result(f"{name}, two workers {times:.2f} x one", pair["by_the_clock"],
                                  one["by_the_clock"] / TWO_WORKERS, "s", f"{TWO_WORKERS:g} x",
                                  times >= TWO_WORKERS))  # fmt: skip
    return results


Cases = dict[str, dict[str, Any] | None]
"""What each case measured; None for one that cannot run."""


def _turn(folder: Path) -> tuple[Cases, Cases, Cases]:
    """Every case once: ours, peers, and ours with two workers."""
    return (
        {name: _in_process(f"ours:{name}", folder) for name in OURS},
        {name: _in_process(f"peer:{name}", folder) for name in PEERS},
        {name: _in_process(f"ours:{name}", folder, cores=2) for name in ("vggish", "yamnet")},
    )


def _better(rounds: Sequence[dict[str, Any] | None]) -> dict[str, Any] | None:
    """Of the same case in several turns: the least time of each kind, the most work a second, the most memory."""
    if not all(rounds):
        return None
    merged: dict[str, Any] = {}
    for key, first in (rounds[0] or {}).items():
        values = [measured[key] for measured in rounds if measured]
        if isinstance(first, dict):
            merged[key] = _better(values)
        else:
            merged[key] = (max if key in ("gflops", "core_gflops", "peak_mb") else min)(values)
    return merged


def _rate(name: str, form: str, case: dict[str, Any], audio_s: float) -> Result:
    seconds, bare = case["seconds"][form], case["bare_s"]
    parts = case["parts"][form]
    shares = ", ".join(f"{part} {spent / sum(parts.values()):.0%}" for part, spent in parts.items())
    engine = f"; {case['gflops']:.0f} of {case['core_gflops']:.0f} GFLOP/s" if case["gflops"] else ""
    goal = BARE.get(name)
    return Result(
        f"{name} from {form}: {audio_s / seconds:.0f} x real time",
        seconds,
        bare,
        "s",
        f"{goal:.0%} of the bare engine" if goal else "none set",
        bare >= (goal or 0) * seconds,
        f"{shares}{engine}; peak {case['peak_mb']:.0f} MB, ready after {case['start_s']:.1f} s",
    )


def _in_process(case: str, folder: Path, cores: int = 1) -> dict[str, Any] | None:
    """What the case measured in a process of its own; None where it cannot run, said on standard error."""
    code = f"{_ON_CORES.format(cores)}from bench.speed import measure; measure({case!r}, {str(folder)!r})"
    done = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"bench: {case} failed")
    measured: dict[str, Any] | None = json.loads(done.stdout.splitlines()[-1])
    return measured


def measure(case: str, folder: str) -> None:
    """In the case's own process: print what it measured as one line of JSON, null where it cannot run."""
    from ingest.engines.local_engine import available_cores

    begin, cores = time.perf_counter(), available_cores()
    kind, _, name = case.partition(":")
    files = {form: sorted(Path(folder, form).iterdir()) for form in FORMATS}
    try:
        measured = _measure_ours(name, files, cores, begin) if kind == "ours" else _measure_peer(name, files, begin)
    except LeftOutError as error:
        print(f"bench: {case} left out: {error.args[0]}", file=sys.stderr)
        measured = None
    print(json.dumps(measured))


def _peak_mb() -> float:
    """The most memory that this process has had so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1e3 if sys.platform != "darwin" else 1e6)


def _measure_peer(name: str, files: dict[str, list[Path]], begin: float) -> dict[str, Any]:
    module, _, function = PEERS[name].partition(":")
    embed: Callable[[Path], Any] = getattr(importlib.import_module(module), function)()
    embed(files["ogg"][0])
    start_s = time.perf_counter() - begin
    return {
        "audio_s": _audio_s(files["ogg"]),
        "start_s": start_s,
        "seconds": {"ogg": _seconds(lambda: [embed(path) for path in files["ogg"]])},
        "peak_mb": _peak_mb(),
    }


def _measure_ours(name: str, files: dict[str, list[Path]], cores: int, begin: float) -> dict[str, Any]:
    encoder = _encoder(name)
    _embed(encoder, files["ogg"][:1], cores)
    start_s = time.perf_counter() - begin
    measured: dict[str, Any] = {"audio_s": _audio_s(files["ogg"]), "start_s": start_s}
    measured["by_the_clock"] = _seconds(lambda: _embed(encoder, files["ogg"], cores, TIMES), time.perf_counter)
    if cores > 1:
        return measured
    measured["seconds"] = {form: _seconds(partial(_embed, encoder, files[form], cores)) for form in FORMATS}
    measured["peak_mb"] = _peak_mb()
    parts, patches, bare_s = {}, 0, 0.0
    bare = _encoder(name, plain=True)
    for form in FORMATS:
        parts[form], patches, bare_s = _parts(encoder, bare, files[form])
    work = _gflop_a_patch(name) * patches
    return measured | {
        "parts": parts,
        "bare_s": bare_s,
        "gflops": work / parts["wav"]["encoder"],
        "core_gflops": _core_gflops(),
    }


def _encoder(name: str, *, plain: bool = False) -> Any:
    from embeddings.encoders import EncoderSettings, load_encoder
    from ingest.errors import WeightsError

    if name.startswith("vggish"):
        precision = name.removeprefix("vggish-")
        if precision in ("bfloat16", "int8"):
            return random_vggish("vggish", precision, plain=plain)
        return random_vggish(name, plain=plain)
    try:
        return load_encoder(name, EncoderSettings(weights_dir=weights_folder()))
    except WeightsError as error:
        raise LeftOutError(str(error)) from error


def _embed(encoder: Any, paths: Sequence[Path], workers: int, times: int = 1) -> None:
    """The files into a new store, each so often."""
    from embeddings.embed import EmbedSettings, embed
    from embeddings.store import EmbeddingStore
    from ingest.audio.clip import AudioItem

    items = [AudioItem(f"{nth}/{path.name}", path, path.name) for nth in range(times) for path in paths]
    with TemporaryDirectory() as folder:
        store = EmbeddingStore.create(Path(folder), encoder.spec)
        summary = embed(items, encoder, store, EmbedSettings(workers=workers))
    assert summary.embedded == len(items), summary.failed


def _parts(encoder: Any, bare: Any, paths: Sequence[Path]) -> tuple[dict[str, float], int, float]:
    """Seconds of each step alone, in turn; how many patches there are; the bare engine's seconds on ready patches."""
    from embeddings.embedding import Embedding
    from embeddings.encoders import PatchEncoder
    from embeddings.store import EmbeddingStore
    from ingest.audio.decode import open_audio
    from ingest.audio.resample import make_resampler
    from ingest.audio.windows import read_clip, resample_blocks

    spent: dict[str, float] = {}

    @contextmanager
    def timed(part: str) -> Iterator[None]:
        begin = time.process_time()
        yield
        spent[part] = time.process_time() - begin

    decoded = []
    with timed("decode"):
        for path in paths:
            with open_audio(path) as stream:
                decoded.append((stream.sample_rate, list(stream.blocks)))
    with timed("resample"):
        for rate, blocks in decoded:
            for _ in resample_blocks(iter(blocks), make_resampler("soxr", rate, 16_000)):
                pass
    waveforms = [read_clip(path).waveform for path in paths]
    if isinstance(encoder, PatchEncoder):
        with timed("log-mel"):
            patches = [encoder.patches(waveform) for waveform in waveforms]
        every = np.concatenate(patches)
        with timed("encoder"):
            rows: Any = np.split(encoder.encode_patches(every), np.cumsum([len(p) for p in patches])[:-1])
        bare_s = min(_seconds(lambda: bare.encode_patches(every)) for _ in range(2))
    else:
        with timed("encoder"):
            rows = encoder.encode(waveforms)
        bare_s = min(_seconds(lambda: bare.encode(waveforms)) for _ in range(2))
    with TemporaryDirectory() as folder, timed("write"):
        store = EmbeddingStore.create(Path(folder), encoder.spec)
        with store.writer("part") as writer:
            for path, vectors in zip(paths, rows, strict=True):
                writer.append(Embedding(path.name, path.name, str(path), 0.0, 5.0, vectors))
    return spent, sum(map(len, rows)), bare_s


def _gflop_a_patch(name: str) -> float:
    """Multiplications and additions of one patch in billions; 0 where nobody counts them."""
    if name.startswith("vggish"):
        from embeddings.encoding.vggish_model import LAYERS, POOLED

        positions, total = 96 * 64, 0.0
        for layer, shape in LAYERS:
            total += 2 * np.prod(shape) * (positions if len(shape) == 4 else 1)
            positions //= 4 if layer in POOLED else 1
        return float(total) / 1e9
    return 2 * 69.2e-3 if name == "yamnet" else 0.0  # 69.2 million multiplications, says YAMNet's README


def _core_gflops() -> float:
    """What one core reaches in a large float32 matrix product."""
    from threadpoolctl import threadpool_limits

    a = np.random.default_rng(0).standard_normal((2048, 2048), np.float32)
    with threadpool_limits(1):
        return 2 * 2048**3 / min(_seconds(lambda: a @ a) for _ in range(5)) / 1e9


def _seconds(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    """Of the processor: on one core what the clock would say of a machine that does nothing else."""
    begin = clock()
    work()
    return clock() - begin


def _audio_s(paths: Sequence[Path]) -> float:
    import soundfile

    return float(sum(soundfile.info(path).duration for path in paths))


@contextmanager
def _clips() -> Iterator[Path]:
    """The clips in each format, a folder a format."""
    import soundfile
    import soxr

    with short_clips() as (_, items), TemporaryDirectory() as name:
        folder = Path(name)
        for form in FORMATS:
            (folder / form).mkdir()
        for i, item in enumerate(items[:: max(1, len(items) // CLIPS)][:CLIPS]):
            samples, rate = soundfile.read(item.path, dtype="float32", always_2d=True)
            (folder / "ogg" / f"{i:03d}.ogg").write_bytes(Path(str(item.path)).read_bytes())
            soundfile.write(folder / "wav" / f"{i:03d}.wav", samples, rate, subtype="PCM_16")
            soundfile.write(folder / "flac" / f"{i:03d}.flac", soxr.resample(samples, rate, 48_000), 48_000)
            _write_m4a(folder / "m4a" / f"{i:03d}.m4a", samples, rate)
        yield folder


def _write_m4a(path: Path, samples: Any, rate: int) -> None:
    import av

    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=rate)
        stream.layout = "stereo" if samples.shape[1] == 2 else "mono"
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples.T), format="fltp", layout=stream.layout.name)
        frame.sample_rate = rate
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            container.mux(packet)
