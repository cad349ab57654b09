"""Mixed work under random kill -9, for as long as you like: `python -m tests.soak --minutes 60`.

Ingest from a media server of this machine, embed and train take turns, each into one folder of its own, and each is
killed at a random moment of it. At the end each is run once more and left alone: what is there then must be what a run
that nobody disturbed leaves, and no temporary file beside it. Exit 1 where it is not.
"""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from random import Random

import click
import numpy as np

from classifiers.bundle import load_bundle
from embeddings.embed import EmbedSettings, embed
from embeddings.store import EmbeddingStore
from ingest.audio.clip import AudioItem
from tests.embeddings.fakes import StatisticsEncoder, read_wav, write_sounds
from tests.embeddings.test_embed import rows_of
from tests.ingest.crash_driver import crash_segments
from tests.ingest.fetching import StubSource, end_state, job
from tests.ingest.media import chirp, wav
from tests.ingest.media_server import serve

ROOT = Path(__file__).resolve().parent.parent
SEGMENTS, SOUNDS = 280, 60
LONGEST_S = {"ingest": 4.0, "embed": 3.0, "train": 12.0}
"""A kill falls between 0 and so many seconds after the start."""

EMBED = (
    "import sys; from pathlib import Path; from tests.soak import embed_sounds; "
    "embed_sounds(Path(sys.argv[1]), Path(sys.argv[2]), delay_s=0.05)"
)


def embed_sounds(sounds: Path, out: Path, delay_s: float = 0.0) -> None:
    """What is killed, and what is compared with it: the sounds of a folder into a store, by small shards."""
    encoder, settings = StatisticsEncoder(delay_s=delay_s), EmbedSettings(workers=2, shard_items=4)
    embed(items_of(sounds), encoder, EmbeddingStore.create(out, encoder.spec), settings, read=read_wav)


def items_of(sounds: Path) -> list[AudioItem]:
    return [
        AudioItem(p.name, p, p.stem, mids=("Low",) if i % 2 else ("High",))
        for i, p in enumerate(sorted(sounds.iterdir()))
    ]


def scores_of(model: Path, store: Path) -> list[bytes]:
    """What a model says of the rows of a store: equal heads say equal things."""
    bundle, table = load_bundle(model), EmbeddingStore.open(store).load()
    return [np.round(bundle.predict(table.vectors, table.mask).scores, 5).tobytes()]


def leftovers(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob("*") if p.suffix in (".tmp", ".old") or ".tmp" in p.name]


def soak(folder: Path, seconds: float, seed: int) -> dict[str, object]:
    """Kill and go on for so long; then compare. Returns the kills of each kind, and what differs."""
    rng, kills, rounds = Random(seed), Counter[str](), 0
    write_sounds(folder / "sounds", SOUNDS)
    with serve({"chirp.wav": wav(chirp(12.0, 16_000))}) as server:
        source = StubSource(server.url)
        job(crash_segments(SEGMENTS), folder / "calm-ingest", source, shards=True)
        embed_sounds(folder / "sounds", folder / "calm-embed")
        commands = {
            kind: {
                "ingest": [sys.executable, "-m", "tests.ingest.crash_driver", *map(str, (out, server.url, SEGMENTS))],
                "embed": [sys.executable, "-c", EMBED, str(folder / "sounds"), str(out)],
                "train": [sys.executable, "-m", "app.cli", "train", str(folder / "calm-embed"), "--head", "logistic",
                          "--protocol", "none", "--out", str(out)],
            }[kind]
            for kind, out in ((kind, folder / kind) for kind in LONGEST_S)
        }  # fmt: skip
        finish([*commands["train"][:-1], str(folder / "calm-train")])
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            kind = rng.choice(list(LONGEST_S))
            kills[kind] += killed(commands[kind], rng.uniform(0, LONGEST_S[kind]))
            rounds += 1
        for kind in LONGEST_S:
            finish(commands[kind])
    same: dict[str, Callable[[Path], object]] = {
        "ingest": end_state,
        "embed": rows_of,
        "train": lambda model: scores_of(model, folder / "calm-embed"),
    }
    differs = [kind for kind, state in same.items() if state(folder / kind) != state(folder / f"calm-{kind}")]
    left = {kind: found for kind in ("ingest", "embed") if (found := leftovers(folder / kind))}
    return {"rounds": rounds, "kills": dict(kills), "differs": differs, "leftovers": left}


def killed(command: list[str], after_s: float) -> bool:
    """Start it and kill its whole group; False where it had ended before."""
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    try:
        process.wait(timeout=after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    return process.wait() == -signal.SIGKILL


def finish(command: list[str]) -> None:
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        raise click.ClickException(f"{command[2]}: {done.stderr.strip()[-500:]}")


@click.command()
@click.option("--minutes", type=float, default=60.0, show_default=True)
@click.option("--seed", type=int, default=0)
def main(minutes: float, seed: int) -> None:
    """Soak, and say what came of it."""
    with tempfile.TemporaryDirectory() as folder:
        result = soak(Path(folder), 60 * minutes, seed)
    click.echo(f"{minutes:g} min: {result}")
    sys.exit(int(bool(result["differs"] or result["leftovers"])))


if __name__ == "__main__":
    main()
