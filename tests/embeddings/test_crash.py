"""Killed at any moment and run again: the same rows, none twice."""

import json
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from embeddings.embed import EmbedSettings, embed
from embeddings.store import EmbeddingStore
from ingest.audio.clip import AudioItem
from ingest.errors import UsageError
from tests.embeddings.fakes import StatisticsEncoder, read_wav, write_sound, write_sounds
from tests.embeddings.test_embed import failures_of, parts_of, rows_of, run

SETTINGS = EmbedSettings(workers=2, shard_items=3)
ROOT = Path(__file__).parents[2]


def write_folder(folder: Path) -> None:
    """Forty good sounds and one that breaks off."""
    write_sounds(folder, 40)
    write_sound(folder / "truncated.wav", np.random.default_rng(0), seconds=30)


def work(folder: Path, out: Path, batch: int, delay_s: float) -> None:
    """What the subprocess does: say when it starts, embed, say that it is through."""
    encoder = StatisticsEncoder(batch, delay_s)
    print("started", flush=True)
    embed(_items_of(folder), encoder, EmbeddingStore.create(out, encoder.spec), SETTINGS, read=read_wav)
    print("finished", flush=True)


def _items_of(folder: Path) -> list[AudioItem]:
    paths = sorted(folder.glob("*.wav"))
    return [AudioItem(path.name, path, path.stem, mids=("x", path.stem), fold=len(path.stem)) for path in paths]


def start(folder: Path, out: Path, batch: int, delay_s: float) -> "subprocess.Popen[str]":
    program = (
        "import sys; from pathlib import Path; from tests.embeddings.test_crash import work; "
        "work(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, folder, out, str(batch), str(delay_s)],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None and process.stdout.readline() == "started\n"
    return process


@pytest.mark.slow
@pytest.mark.parametrize("batch", [1, 32])
def test_killed_at_random_moments_and_resumed(tmp_path: Path, batch: int) -> None:
    folder, out = tmp_path / "sounds", tmp_path / "out"
    write_folder(folder)
    undisturbed = tmp_path / "undisturbed"
    run(_items_of(folder), undisturbed, batch=batch, workers=1, shard_items=3)

    moments = random.Random(batch)
    killed = 0
    for _ in range(7):
        process = start(folder, out, batch, delay_s=0.1 if batch == 1 else 0.2)
        time.sleep(moments.uniform(0.0, 0.5))
        process.kill()
        killed += process.communicate()[0] == ""
    assert killed >= 6

    process = start(folder, out, batch, delay_s=0.0)
    assert process.communicate(timeout=60)[0] == "finished\n"
    assert rows_of(out) == rows_of(undisturbed)
    assert parts_of(out) == parts_of(undisturbed)
    assert failures_of(out) == failures_of(undisturbed) == {"truncated.wav": "truncated"}
    assert list(out.glob(".*.tmp")) == []


@pytest.mark.slow
def test_a_second_process_is_refused_until_the_first_has_gone(tmp_path: Path) -> None:
    folder, out = tmp_path / "sounds", tmp_path / "out"
    write_folder(folder)
    first = start(folder, out, 1, delay_s=0.5)
    try:
        _wait_until(lambda: any(out.glob(".part-*")))
        with pytest.raises(UsageError, match="another process is writing to this store"):
            run(_items_of(folder), out)
    finally:
        first.kill()
        first.communicate()
    assert run(_items_of(folder), out).items == 41


def _wait_until(condition, limit_s: float = 20.0) -> None:  # type: ignore[no-untyped-def]
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


@pytest.fixture
def finished(tmp_path: Path) -> tuple[list[AudioItem], Path]:
    items = write_sounds(tmp_path / "sounds", 12)
    run(items, tmp_path / "out", shard_items=3)
    return items, tmp_path / "out"


@pytest.mark.parametrize("gone", [(2, "json"), (2, "parquet"), (0, "json")])
def test_a_shard_without_its_part_or_its_stats_is_made_again(
    finished: tuple[list[AudioItem], Path], gone: tuple[int, str]
) -> None:
    items, out = finished
    before = parts_of(out)
    number, suffix = gone
    (out / sorted(before)[number]).with_suffix(f".{suffix}").unlink()
    summary = run(items, out, shard_items=3)
    assert (summary.done_before, summary.embedded) == (9, 3)
    assert parts_of(out) == before


def test_a_store_of_an_earlier_version_goes_on(finished: tuple[list[AudioItem], Path]) -> None:
    """Its shards were numbered, and its stats told no time."""
    items, out = finished
    for number, part in enumerate(sorted(parts_of(out))):
        stats = (out / part).with_suffix(".json")
        told = json.loads(stats.read_text()) | {"name": f"audio-{number:06d}"}
        del told["ended_at"]
        stats.unlink()
        (out / part).rename(out / f"part-audio-{number:06d}.parquet")
        (out / f"part-audio-{number:06d}.json").write_text(json.dumps(told))
    before = rows_of(out)
    (out / "part-audio-000002.json").unlink()
    summary = run(items, out, shard_items=3)
    assert (summary.done_before, summary.embedded) == (9, 3)
    assert rows_of(out) == before


def test_what_a_killed_run_left_is_swept_up(finished: tuple[list[AudioItem], Path]) -> None:
    items, out = finished
    before = rows_of(out)
    (out / ".part-audio-000009.parquet.123.tmp").write_bytes(b"half a part")
    (out / ".part-audio-000009.parquet.123.tmp.kept.tmp").write_bytes(b"half of a second pass")
    (out / ".part-audio-000009.json.123.tmp").write_bytes(b"half the stats")
    run(items, out)
    assert rows_of(out) == before
    assert {path.suffix for path in out.iterdir() if path.name != ".lock"} == {".json", ".parquet"}
