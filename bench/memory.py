"""Peak memory of `earshot embed` on a six-hour file, against the same on ten seconds.

Expected before measuring: 300 to 400 MB for both encoders' needs together with what is in flight; the hours should
not show at all.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from bench.clips import shared_folder
from bench.result import Result
from embeddings.weights import look_up

GOAL_MB = 1000
SAMPLE_RATE = 16_000
HOURS = 6


def run() -> list[Result]:
    """With YAMNet; raises LookupError without its weights."""
    shared = shared_folder()
    weights = shared / "models" if shared else None
    if not look_up("yamnet.h5", weights):
        raise LookupError("yamnet.h5 is not here; fetch it: earshot weights fetch yamnet.h5")
    with TemporaryDirectory() as name:
        folder = Path(name)
        _write_noise(folder / "short" / "file.wav", 10)
        _write_noise(folder / "long" / "file.wav", HOURS * 3600)
        options = ["--encoder", "yamnet", *(["--weights", str(weights)] if weights else [])]
        _peak_mb(folder / "short", folder / "warm", options)  # converts the weights where that was never done
        floor, _ = _peak_mb(folder / "short", folder / "short.emb", options)
        value, rows = _peak_mb(folder / "long", folder / "long.emb", options)
    assert rows == HOURS * 360
    return [Result("embed six hours, peak memory", value, floor, "MB", f"under {GOAL_MB} MB", value < GOAL_MB)]


def _write_noise(path: Path, seconds: int) -> None:
    import soundfile

    path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 60 * SAMPLE_RATE).astype(np.float32)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for begin in range(0, seconds, 60):
            file.write(np.roll(noise, begin)[: (seconds - begin) * SAMPLE_RATE])


def _peak_mb(audio: Path, out: Path, options: list[str]) -> tuple[float, int]:
    """Peak resident memory of the command, and the rows it made. This process must stay small: a child starts with
    its parent's peak."""
    command = [sys.executable, "-m", "app.cli", "embed", str(audio), "--out", str(out), "--json", *options]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    scale = 1 if sys.platform == "darwin" else 1024
    return usage.ru_maxrss * scale / 1e6, json.loads(printed)["rows"]
