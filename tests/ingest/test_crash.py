"""Kill -9 the whole process group at random moments, again and again: the end is that of an undisturbed run."""

import os
import signal
import subprocess
import sys
import tarfile
import time
from pathlib import Path
from random import Random

import pytest

from ingest.ledger.ledger import Ledger, Row, State
from ingest.manifest import read_items
from tests.ingest.crash_driver import crash_segments
from tests.ingest.fetching import StubSource, end_state, job
from tests.ingest.media import chirp, wav
from tests.ingest.media_server import serve

ROOT = Path(__file__).parents[2]
COUNT, KILLS = 350, 14


@pytest.mark.slow
def test_killed_again_and_again_it_ends_like_an_undisturbed_run(tmp_path: Path) -> None:
    random = Random(7)
    with serve({"chirp.wav": wav(chirp(12.0, 16_000))}) as server:
        job(crash_segments(COUNT), tmp_path / "undisturbed", StubSource(server.url), shards=True)
        server.requests.clear()
        out, killed, done_at_kill = tmp_path / "killed", 0, []
        while killed < KILLS:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.ingest.crash_driver", str(out), server.url, str(COUNT)],
                cwd=ROOT, stdout=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip
            assert process.stdout
            alive = process.stdout.readline() == b"ready\n"  # the first result has been recorded
            time.sleep(random.uniform(0.0, 0.12))
            os.killpg(process.pid, signal.SIGKILL)
            process.stdout.close()
            assert process.wait() == -signal.SIGKILL, "it finished before it could be killed: more segments are needed"
            killed += alive
            with Ledger.read(out) as ledger:
                counts = ledger.counts()
                assert sum(counts.values()) == COUNT, "requested is the sum of the states after every kill"
                done_at_kill.append(counts[State.DONE])
        assert done_at_kill == sorted(done_at_kill)
        assert len(set(done_at_kill)) > KILLS / 2, "the kills fell at different moments of the work"
        job(crash_segments(COUNT), out, StubSource(server.url), shards=True)
    assert end_state(out) == end_state(tmp_path / "undisturbed")
    packed = [name for shard in sorted((out / "shards").glob("*.tar")) for name in names_in(shard)]
    assert len(packed) == len(set(packed)) == 2 * done(out)
    assert not [path for path in out.rglob("*") if path.suffix == ".tmp"]


def test_ctrl_c_between_claiming_a_segment_and_starting_it_leaves_none_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = Ledger.claim

    def interrupted(ledger: Ledger, now: float) -> Row | None:
        row = claim(ledger, now)
        if ledger.counts()[State.DONE] >= 3:
            signal.raise_signal(signal.SIGINT)
        return row

    monkeypatch.setattr(Ledger, "claim", interrupted)
    with serve({"chirp.wav": wav(chirp(12.0, 16_000))}) as server, pytest.raises(KeyboardInterrupt):
        job(crash_segments(30), tmp_path, StubSource(server.url))
    with Ledger.read(tmp_path) as ledger:
        counts = ledger.counts()
    assert counts[State.RUNNING] == 0
    assert len(read_items(tmp_path)) == counts[State.DONE] > 0


def names_in(shard: Path) -> list[str]:
    with tarfile.open(shard) as tar:
        return tar.getnames()


def done(out: Path) -> int:
    with Ledger.read(out) as ledger:
        return ledger.counts()[State.DONE]


@pytest.mark.slow
def test_interrupted_from_the_keyboard_it_ends_soon_and_leaves_nothing_running(tmp_path: Path) -> None:
    with serve({"chirp.wav": wav(chirp(12.0, 16_000))}) as server:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.ingest.crash_driver", str(tmp_path), server.url, str(COUNT)],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        assert process.stdout
        assert [process.stdout.readline() for _ in range(20)] == [b"ready\n"] * 20
        process.send_signal(signal.SIGINT)
        process.stdout.read()
        process.stdout.close()
        process.wait(timeout=20)
    with Ledger.read(tmp_path) as ledger:
        counts = ledger.counts()
    assert counts[State.RUNNING] == 0
    assert 0 < counts[State.DONE] < COUNT
    assert len(read_items(tmp_path)) == counts[State.DONE], "the manifest is written all the same"
