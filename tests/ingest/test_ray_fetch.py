"""Fetching on a cluster of two machines, both on this one: as a local run does it, whatever becomes of a machine."""

import hashlib
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ingest.audioset.segments import Segment
from ingest.engines.engine import EngineSettings
from ingest.ledger.ledger import Ledger, State
from ingest.youtube.address import HERE, Address
from ingest.youtube.fetch import FetchSettings
from ingest.youtube.job import JobResult, JobSettings, run_job
from ingest.youtube.mirror import Mirror
from ingest.youtube.pace import PaceSettings
from ingest.youtube.run import Progress, RunSettings
from ingest.youtube.run_status import read_status
from ingest.youtube.sources import MIRROR_INDEX
from ingest.youtube.streams import YouTube, YouTubeSettings
from tests.ingest.fetching import end_state
from tests.ingest.file_server import serving
from tests.ingest.media import chirp, wav
from tests.ingest.media_server import MediaServer, serve
from tests.ingest.test_sources import copy_of, parquet
from tests.ray_here import ray_cluster

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
]
FAULTS = ("ok", "ok", "ok", "404", "403@1", "norange", "ok")
NO_LIMIT = float("inf")


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head that does no work, and a machine with more CPUs than the tests use; those that want another add it.
    Connected once: processes are then started once."""
    with ray_cluster(head_cpus=0) as cluster:
        cluster.add_node(num_cpus=4)
        yield cluster


@pytest.fixture(scope="module")
def server() -> Iterator[MediaServer]:
    with serve({"chirp.wav": wav(chirp(20.0, 16_000))}) as running:
        yield running


def segments(count: int) -> list[Segment]:
    return [
        Segment(f"{FAULTS[n % len(FAULTS)]}/{n:03d}/chirp.wav", n % 5, n % 5 + 10.0, ("/m/09x0r",))
        for n in range(count)
    ]


def job(
    count: int,
    out: Path,
    server: MediaServer,
    *,
    cluster: Any = None,
    addresses: tuple[Address, ...] = (HERE,),
    mirror: str = "",
    progress: Callable[[Progress], None] = lambda _: None,
    stop: threading.Event | None = None,
) -> JobResult:
    """Through yt-dlp, as fast as it goes, and first from the mirror if there is one; on the cluster if there is one."""
    settings = JobSettings(
        name="test",
        fetch=FetchSettings(timeout_s=5.0, deadline_s=20.0),
        run=RunSettings(PaceSettings(4, NO_LIMIT, stop_after=1000), linger_s=1e9, seed=1),
        engine=EngineSettings("ray", ray_address=cluster.address) if cluster else EngineSettings(),
    )
    youtube = YouTube(YouTubeSettings(url_template=f"{server.url}/{{id}}", proxy="", timeout_s=5.0))
    copies = {"mirror": Mirror(mirror, index=out / MIRROR_INDEX)} if mirror else {}
    sources = {**copies, "youtube": youtube}
    return run_job(segments(count), out, sources, settings, addresses=addresses, progress=progress, stop=stop)


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A first retry after a second, not a minute."""
    import ingest.youtube.run

    monkeypatch.setattr(ingest.youtube.run.Run, "_backoff_s", lambda *_: 1.0)


def test_a_machine_lost_in_the_middle_is_not_seen_in_the_end(cluster: Any, server: MediaServer, tmp_path: Path) -> None:
    job(63, tmp_path / "local", server)
    server.requests.clear()
    doomed = cluster.add_node(num_cpus=4)
    lost_at: list[int] = []

    def watch(progress: Progress) -> None:
        assert sum(progress.counts.values()) == 63
        if progress.counts[State.DONE] >= 20 and not lost_at:
            lost_at.append(progress.counts[State.DONE])
            cluster.remove_node(doomed, allow_graceful=False)

    result = job(63, tmp_path / "ray", server, cluster=cluster, progress=watch)
    assert lost_at and lost_at[0] < 50, "it was lost in the middle"
    assert result.stopped == ""
    assert end_state(tmp_path / "ray") == end_state(tmp_path / "local"), "rows, checksums and files"
    assert result.progress.counts == {**dict.fromkeys(State, 0), State.DONE: 54, State.GONE: 9}
    with Ledger.read(tmp_path / "ray") as ledger:
        for row in ledger.rows(State.DONE):
            path = tmp_path / "ray" / str(row.path)
            assert hashlib.sha256(path.read_bytes()).hexdigest() == row.sha256
        attempts = {row.segment.youtube_id.partition("/")[0]: row.attempts for row in ledger.rows()}
    assert attempts == {"ok": 1, "norange": 1, "403@1": 2, "404": 2}, "a lost machine counts against no segment"
    assert not list((tmp_path / "ray").rglob("*.tmp"))
    status = read_status(tmp_path / "ray")
    assert status and status.ended and status.engine == "ray"


def test_a_mirror_is_read_once_for_all_machines(cluster: Any, server: MediaServer, tmp_path: Path) -> None:
    """Two of three clips are in the mirror, one of them damaged."""
    clip = copy_of(chirp(10.0, 16_000))
    held = {segment.youtube_id: clip for n, segment in enumerate(segments(28)) if n % 3}
    held["ok/001/chirp.wav"] = b"<html>" * 100
    data = parquet(held)
    cluster.add_node(num_cpus=2)
    with serving({"copies.parquet": data}) as copies:
        where = f"{copies.url}copies.parquet"
        server.requests.clear()
        job(28, tmp_path / "local", server, mirror=where)
        server.requests.clear()
        copies.bytes_sent = 0
        result = job(28, tmp_path / "ray", server, mirror=where, cluster=cluster)
        assert copies.bytes_sent < 1.5 * len(data), "each row group was read once, and the ids twice"
    assert result.progress.counts[State.DONE] > 20
    assert end_state(tmp_path / "ray") == end_state(tmp_path / "local"), "rows, checksums and files"
    origins = [
        {row.segment.key: (row.origin, row.attempts) for row in ledger.rows()}
        for ledger in map(Ledger.read, (tmp_path / "ray", tmp_path / "local"))
    ]
    assert origins[0] == origins[1]
    assert sum(origin == "mirror" for origin, _ in origins[0].values()) == len(held) - 1


def test_machines_with_one_ip_address_are_one_address(cluster: Any, server: MediaServer, tmp_path: Path) -> None:
    """As these are; see below for machines with addresses of their own."""
    cluster.add_node(num_cpus=4)
    result = job(14, tmp_path, server, cluster=cluster, addresses=())
    (only,) = result.progress.addresses
    assert only.name == cluster.head_node.node_ip_address and only.started >= 14
    assert result.progress.counts[State.DONE] == 12


def test_told_to_stop_it_ends_soon_and_puts_back_what_is_under_way(
    cluster: Any, server: MediaServer, tmp_path: Path
) -> None:
    stop = threading.Event()

    def watch(progress: Progress) -> None:
        if progress.counts[State.DONE] >= 10:
            stop.set()

    result = job(200, tmp_path, server, cluster=cluster, progress=watch, stop=stop)
    assert result.progress.counts[State.RUNNING] == 0
    assert 10 <= result.progress.counts[State.DONE] < 60
    assert result.progress.counts[State.PENDING] > 100
    assert len(end_state(tmp_path)[1]) == result.progress.counts[State.DONE]
