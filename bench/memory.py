"""Peak memory of `earshot embed` on a six-hour file, against the same on ten seconds.

Expected before measuring: 300 to 400 MB for both encoders' needs together with what is in flight; the hours should
not show at all.
"""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bench.result import Result
from bench.weights import yamnet_folder

GOAL_MB = 1000
SAMPLE_RATE = 16_000
HOURS = 6


@dataclass(frozen=True, slots=True)
class Run:
    """What a command used, and what it printed with --json. cpu_s: of the processor, all cores."""

    cpu_s: float
    peak_mb: float
    printed: dict[str, Any]


def run() -> list[Result]:
    """With YAMNet; raises LeftOutError without its weights."""
    weights = yamnet_folder()
    with TemporaryDirectory() as name:
        folder = Path(name)
        write_noise(folder / "short" / "file.wav", 10)
        write_noise(folder / "long" / "file.wav", HOURS * 3600)
        commands = [embed_command(folder / which, folder / f"{which}.emb", weights) for which in ("short", "long")]
        # converts the weights where that was never done
        measured_command(embed_command(folder / "short", folder / "warm", weights))
        short, long = map(measured_command, commands)
    assert long.printed["rows"] == HOURS * 360
    met = long.peak_mb < GOAL_MB
    return [Result("embed six hours, peak memory", long.peak_mb, short.peak_mb, "MB", f"under {GOAL_MB} MB", met)]


def write_noise(path: Path, seconds: int) -> None:
    """A WAV file of so many seconds at 16 kHz; its folder is made."""
    import soundfile

    path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    noise = rng.normal(0, 0.1, 60 * SAMPLE_RATE).astype(np.float32)
    with soundfile.SoundFile(path, "w", SAMPLE_RATE, 1, "PCM_16") as file:
        for begin in range(0, seconds, 60):
            file.write(np.roll(noise, begin)[: (seconds - begin) * SAMPLE_RATE])


def embed_command(audio: Path, out: Path, weights: Path | None) -> list[str]:
    options = ["--encoder", "yamnet", *(["--weights", str(weights)] if weights else [])]
    return [sys.executable, "-m", "app.cli", "embed", str(audio), "--out", str(out), "--json", *options]


def measured_command(command: list[str]) -> Run:
    """Run a command to its good end. This process must stay small: a child starts with its parent's peak."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    printed = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    scale = 1 if sys.platform == "darwin" else 1024
    return Run(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * scale / 1e6, json.loads(printed))
