"""The whole road on synthetic city sounds. Touches disk and, for a moment, the network.

Every step but the first is an `earshot` command that is printed and then run as printed, so the demo shows nothing
that a user could not type.
"""

import csv
import io
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.citysounds import SAMPLE_RATE, synthesise
from app.cli import said_as_json
from embeddings.weights import fetch, find_weights
from ingest.audioset.labels import mid_of
from ingest.counted import counted
from ingest.errors import WeightsError

FETCH_TIMEOUT_S = 5.0
HEADS = ("attention", "svc")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class DemoSettings:
    """out: the folder that gets everything; recordings: of each of the ten sounds, for training (two takes each)."""

    out: Path
    seed: int = 1
    recordings: int = 8
    heldout_recordings: int = 4
    duration_s: float = 5.0
    weights_dir: Path | None = None


def choose_encoder(weights_dir: Path | None) -> tuple[str, str]:
    """The encoder for the demo and the reason in words: YAMNet if its weights are here or quickly fetched."""
    try:
        path, _ = find_weights("yamnet.h5", weights_dir)
        return "yamnet", f"its weights are at {path}"
    except WeightsError:
        pass
    try:
        fetch("yamnet.h5", timeout_s=FETCH_TIMEOUT_S)
        return "yamnet", "its weights have just been fetched"
    except WeightsError:
        return "handcrafted", "YAMNet's weights are not here and could not be fetched; features that need none are used"


def write_sounds(folder: Path, *, seed: int, recordings: int, duration_s: float) -> int:
    """Write the takes as FLAC files with `sounds.csv` beside them, and return how many. A finished folder is kept."""
    import soundfile

    table = folder / "sounds.csv"
    if table.exists():
        return len(table.read_text().splitlines()) - 1
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for sound in synthesise(seed=seed, recordings=recordings, duration_s=duration_s):
        soundfile.write(folder / f"{sound.name}.flac", sound.waveform, SAMPLE_RATE)
        rows.append({"path": f"{sound.name}.flac", "labels": mid_of(sound.label), "source": sound.source})
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=["path", "labels", "source"])
    writer.writeheader()
    writer.writerows(rows)
    table.write_text(text.getvalue())  # last: it marks the folder as finished
    return len(rows)


def run_demo(settings: DemoSettings, say: Say) -> dict[str, Any]:
    """Make sounds, embed, train, evaluate, predict; return what was found.

    Args:
        say: shows one line to the person watching.
    """
    started, out = time.perf_counter(), settings.out
    encoder, why = choose_encoder(settings.weights_dir)
    say(f"encoder: {encoder} ({why})")
    for offset, split, recordings in (
        (0, "train", settings.recordings),
        (1000, "heldout", settings.heldout_recordings),
    ):
        count = write_sounds(
            out / "sounds" / split, seed=settings.seed + offset, recordings=recordings, duration_s=settings.duration_s
        )
        say(f"sounds: {counted(count, 'synthetic city sound')} in {out / 'sounds' / split}")

    def step(*args: str | Path) -> Any:
        words = [str(arg) for arg in args]
        say(f"$ earshot {' '.join(words)}")
        return said_as_json(words)

    weights: list[str | Path] = (
        ["--weights", settings.weights_dir] if settings.weights_dir and encoder == "yamnet" else []
    )
    for split in ("train", "heldout"):
        step("ingest", "folder", out / "sounds" / split, "--layout", "csv", "--out", out / split)
        step("embed", out / split, "--encoder", encoder, *weights, "--out", out / f"{split}.emb")
    results = {}
    for head in HEADS:
        model = out / f"model-{head}"
        step("train", out / "train.emb", "--classes", "city10", "--head", head, "--out", model)
        results[head] = step("evaluate", model, out / "heldout.emb", "--report", model / "report.html")
    best = max(HEADS, key=lambda head: results[head]["balanced_accuracy"])
    sample = max((out / "sounds" / "heldout").glob("*.flac"))
    prediction = step("predict", out / f"model-{best}", sample, *weights)
    return {
        "encoder": encoder,
        "why": why,
        "results": results,
        "best": best,
        "sample": str(sample),
        "prediction": prediction,
        "report": str(out / f"model-{best}" / "report.html"),
        "seconds": time.perf_counter() - started,
    }
