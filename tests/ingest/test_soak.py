"""A thousand segments, every tenth with each of nine faults: all accounted for, memory flat."""

import resource
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from ingest.audioset.segments import Segment
from ingest.ledger.ledger import Ledger, State
from ingest.youtube.fetch import FetchSettings
from ingest.youtube.run import Progress
from tests.ingest.fetching import StubSource, job
from tests.ingest.media import chirp_file, wav
from tests.ingest.media_server import serve

COUNT = 1000
TENTH = COUNT // 10
KINDS = (
    "ok/{}/chirp.webm",
    "403@1/{}/chirp.webm",
    "cut@1/{}/chirp.m4a",
    "503@2/{}/chirp.webm",
    "429@1/{}/chirp.webm",
    "404/{}/chirp.webm",
    "norange/{}/chirp.m4a",
    "ok/{}/silent.wav",
    "private/{}",
    "emptybody/{}/chirp.webm",
)
EXPECTED = dict.fromkeys([
    ("ok", State.DONE), ("403@1", State.DONE), ("cut@1", State.DONE), ("503@2", State.DONE), ("429@1", State.DONE),
    ("404", State.GONE), ("norange", State.DONE), ("silent", State.GONE), ("private", State.GONE),
    ("emptybody", State.FAILED),
], TENTH)  # fmt: skip


def resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1e6


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads /proc")
def test_a_thousand_segments_with_ten_percent_of_every_fault(tmp_path: Path) -> None:
    files = {
        "chirp.webm": chirp_file("opus.webm"),
        "chirp.m4a": chirp_file("aac-moov-last.m4a"),
        "silent.wav": wav(np.zeros(16_000 * 16, np.float32)),
    }
    # Four seconds: decoding ten would take most of the time, and is not what goes wrong here.
    segments = [Segment(KINDS[n % 10].format(n), 5.0, 9.0, ("/m/09x0r",)) for n in range(COUNT)]
    memory: dict[int, float] = {}

    def watch(progress: Progress) -> None:
        settled = COUNT - sum(progress.counts[s] for s in (State.PENDING, State.RUNNING, State.WAITING))
        memory.setdefault(settled // TENTH, resident_mb())
        assert sum(progress.counts.values()) == COUNT

    began = time.perf_counter()
    with serve(files, retry_after="1") as server:
        source = StubSource(server.url, {"private": "Private video. Sign in if you've been granted access"})
        settings = FetchSettings(timeout_s=5.0, deadline_s=20.0)
        # The 429s come one in ten, far more often than a real server forgives: the run must outlast them.
        result = job(segments, tmp_path, source, fetch=settings, progress=watch, pace={"probes": 50})
        requests = server.requests.total()
    seconds = time.perf_counter() - began
    with Ledger.read(tmp_path) as ledger:
        found = Counter(
            ("silent" if "silent" in row.segment.youtube_id else row.segment.youtube_id.partition("/")[0], row.state)
            for row in ledger.rows()
        )
    assert result.stopped == ""
    assert found == EXPECTED
    assert len(list((tmp_path / "audio").rglob("*.flac"))) == 6 * TENTH
    grown = memory[9] - memory[1]
    print(f"\n{COUNT / seconds:.1f} segments/s ({seconds:.0f} s, {requests} requests), memory +{grown:.1f} MB")
    assert grown < 15, f"memory grew by {grown:.0f} MB between segments 100 and 900: {memory}"
