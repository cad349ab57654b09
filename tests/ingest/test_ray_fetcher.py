"""What a fetcher on a cluster does with each way in which a task can end; of Ray alone there is a stand-in."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import ingest.youtube.ray_fetch
from ingest.audioset.segments import Segment
from ingest.errors import EngineError, UsageError
from ingest.youtube.address import HERE, Address
from ingest.youtube.fetch import FetchResult, FetchSettings
from ingest.youtube.ray_fetch import CLUSTER, RayFetcher
from ingest.youtube.sources import YOUTUBE
from tests.ingest.fetching import StubSource
from tests.ingest.media import chirp, wav
from tests.ingest.media_server import MediaServer, serve

SEGMENT = Segment("ok/chirp.wav", 5.0, 15.0)


class RayError(Exception): ...


class RayTaskError(RayError):
    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class FakeRay:
    """Tasks run at once, when they are waited for; or never, or end as `fails` says."""

    exceptions = SimpleNamespace(RayError=RayError, RayTaskError=RayTaskError)
    util = SimpleNamespace(
        scheduling_strategies=SimpleNamespace(NodeAffinitySchedulingStrategy=lambda node, soft: (node, soft))
    )

    def __init__(self, *, fails: Exception | None = None, hangs: bool = False) -> None:
        self._fails, self._hangs = fails, hangs
        self.cancelled: list[bool] = []
        self.placed: list[Any] = []
        self.alive = {"n1": "10.0.0.1", "n2": "10.0.0.2"}

    def remote(self, **settings: Any) -> Any:
        assert settings["max_retries"] == 0, "what Ray repeats goes round the pace"

        def decorate(function: Any) -> Any:
            def options(scheduling_strategy: Any) -> Any:
                self.placed.append(scheduling_strategy)
                return SimpleNamespace(remote=remote)

            def remote(*args: Any) -> Any:
                return lambda: function(*args)

            return SimpleNamespace(remote=remote, options=options)

        return decorate

    def put(self, value: Any) -> Any:
        return SimpleNamespace(hex=lambda: str(id(value)), value=value)

    def wait(self, promises: Sequence[Any], timeout: float) -> tuple[Sequence[Any], Sequence[Any]]:
        return ([], promises) if self._hangs else (promises, [])

    def get(self, promise: Any) -> Any:
        if not callable(promise):
            return promise.value
        if self._fails:
            raise self._fails
        return promise()

    def cancel(self, promise: Any, force: bool = False) -> None:
        self.cancelled.append(force)

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0 * len(self.alive)}

    def nodes(self) -> list[dict[str, Any]]:
        head = {"NodeManagerAddress": "10.0.0.9", "NodeID": "head", "Alive": True, "Resources": {"memory": 1.0}}
        gone = {"NodeManagerAddress": "10.0.0.8", "NodeID": "gone", "Alive": False, "Resources": {"CPU": 8.0}}
        workers = [
            {"NodeManagerAddress": ip, "NodeID": node, "Alive": True, "Resources": {"CPU": 4.0}}
            for node, ip in self.alive.items()
        ]
        return [head, gone, *workers]


@pytest.fixture(scope="module")
def server():  # type: ignore[no-untyped-def]
    with serve({"chirp.wav": wav(chirp(20.0, 16_000))}) as running:
        yield running


@pytest.fixture
def stop() -> threading.Event:
    return threading.Event()


def fetcher(ray: FakeRay, folder: Path, server: MediaServer, stop: threading.Event, **options: Any) -> RayFetcher:
    made = RayFetcher(
        ray, folder, {YOUTUBE: StubSource(server.url)}, FetchSettings(), stop=stop, **{"addresses": (HERE,), **options}
    )
    made._sources = ray.put({YOUTUBE: StubSource(server.url)})
    return made


@pytest.fixture(autouse=True)
def sources_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ingest.youtube.ray_fetch, "_sources_there", lambda reference, *_: reference.value)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_the_file_is_written_here_under_its_name(server: MediaServer, tmp_path: Path, stop: threading.Event) -> None:
    result = fetcher(FakeRay(), tmp_path, server, stop)(SEGMENT, CLUSTER)
    assert result.file and result.outcome is None
    assert files(tmp_path) == [tmp_path / result.file.path]
    assert (tmp_path / result.file.path).stat().st_size == result.file.file_bytes


def test_the_fixed_address_of_this_machine_is_the_clusters(
    server: MediaServer, tmp_path: Path, stop: threading.Event
) -> None:
    proxy = Address("p", proxy="http://p")
    assert fetcher(FakeRay(), tmp_path, server, stop).addresses() == (CLUSTER,)
    assert fetcher(FakeRay(), tmp_path, server, stop, addresses=(proxy,)).addresses() == (proxy,)


def test_machines_are_addresses_as_they_come_and_go(
    server: MediaServer, tmp_path: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ingest.youtube.ray_fetch, "_NODES_EVERY_S", 0.0)
    ray = FakeRay()
    it = fetcher(ray, tmp_path, server, stop, addresses=())
    first, second = it.addresses()
    assert (first.host, second.host) == ("10.0.0.1", "10.0.0.2")
    assert it(SEGMENT, second).file
    assert ray.placed == [("n2", False)], "on that machine and no other"
    del ray.alive["n2"]
    ray.alive["n3"] = "10.0.0.3"
    assert [address.host for address in it.addresses()] == ["10.0.0.1", "10.0.0.3"]
    lost = it(SEGMENT, second)
    assert lost.outcome and lost.outcome.failure.name == "node-lost"


@pytest.mark.parametrize("error", [RayError("worker died\nof this and that")])
def test_a_lost_task_is_an_outcome(
    server: MediaServer, tmp_path: Path, stop: threading.Event, error: Exception
) -> None:
    result = fetcher(FakeRay(fails=error), tmp_path, server, stop)(SEGMENT, CLUSTER)
    assert result.outcome and result.outcome.failure.name == "node-lost"
    assert result.outcome.text == "RayError: worker died"
    assert not files(tmp_path)


def test_a_task_of_which_nothing_is_heard_is_lost(server: MediaServer, tmp_path: Path, stop: threading.Event) -> None:
    ray = FakeRay(hangs=True)
    result = fetcher(ray, tmp_path, server, stop, limit_s=0.01)(SEGMENT, CLUSTER)
    assert result.outcome and result.outcome.text == "nothing came back within 0 s; the cluster has 8 CPUs"
    assert ray.cancelled == [True]


def test_a_cluster_without_cpus_is_told_of_at_once(
    server: MediaServer, tmp_path: Path, stop: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    ray = FakeRay()
    ray.alive.clear()
    fetcher(ray, tmp_path, server, stop)
    assert "no machine of the cluster has a CPU" in caplog.text


def test_told_to_stop_it_gives_neither_file_nor_outcome(
    server: MediaServer, tmp_path: Path, stop: threading.Event
) -> None:
    ray = FakeRay(hangs=True)
    stop.set()
    result = fetcher(ray, tmp_path, server, stop)(SEGMENT, CLUSTER)
    assert (result.file, result.outcome, ray.cancelled) == (None, None, [False])


def test_a_machine_unfit_for_the_work_ends_the_run(server: MediaServer, tmp_path: Path, stop: threading.Event) -> None:
    unfit = FakeRay(fails=RayTaskError(UsageError("machine x has other versions")))
    with pytest.raises(UsageError, match="machine x has other versions"):
        fetcher(unfit, tmp_path, server, stop)(SEGMENT, CLUSTER)
    broken = FakeRay(fails=RayTaskError(ModuleNotFoundError("No module named 'ingest'")))
    with pytest.raises(EngineError, match="ModuleNotFoundError: No module named 'ingest'"):
        fetcher(broken, tmp_path, server, stop)(SEGMENT, CLUSTER)


def test_another_file_than_was_sent_is_not_kept(
    server: MediaServer, tmp_path: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ingest.youtube.ray_fetch.fetch_there

    def garbled(*args: Any) -> tuple[FetchResult, bytes]:
        result, data = real(*args)
        return result, data[:-1]

    monkeypatch.setattr(ingest.youtube.ray_fetch, "fetch_there", garbled)
    result = fetcher(FakeRay(), tmp_path, server, stop)(SEGMENT, CLUSTER)
    assert result.file is None and result.outcome and result.outcome.failure.name == "truncated"
    assert not files(tmp_path)


def test_its_name_is_reckoned_here(
    server: MediaServer, tmp_path: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ingest.youtube.ray_fetch.fetch_there

    def escaping(*args: Any) -> tuple[FetchResult, bytes]:
        result, data = real(*args)
        assert result.file
        return replace(result, file=replace(result.file, path="../../elsewhere.flac")), data

    monkeypatch.setattr(ingest.youtube.ray_fetch, "fetch_there", escaping)
    result = fetcher(FakeRay(), tmp_path, server, stop)(SEGMENT, CLUSTER)
    assert result.file and files(tmp_path) == [tmp_path / result.file.path]


def test_a_full_disk_here_is_the_environments(
    server: MediaServer, tmp_path: Path, stop: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    import errno

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(ingest.youtube.ray_fetch, "write_whole", full)
    result = fetcher(FakeRay(), tmp_path, server, stop)(SEGMENT, CLUSTER)
    assert result.outcome and result.outcome.failure.name == "disk-full"
