"""Two engines, one contract: every task done, its result with its own number, errors in one line."""

import socket
import sys
import time
from collections.abc import Iterator
from multiprocessing import active_children
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.options.engine import engine_options
from ingest.engines.engine import Engine, EngineSettings
from ingest.engines.local_engine import Here
from ingest.engines.opening import open_engine
from ingest.errors import EngineError, UsageError
from tests.ingest.engine_work import (
    fall_over,
    fall_over_once,
    hang,
    load,
    load_badly,
    multiply,
    refuse,
    wait,
)
from tests.ray_here import ray_of_its_own, require_ray

TASKS = [3, 1, 4, 1, 5, 9, 2, 6]


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    with ray_of_its_own():
        yield


@pytest.fixture(
    params=[
        "here",
        pytest.param("processes", marks=pytest.mark.slow),
        pytest.param("ray", marks=[pytest.mark.slow, pytest.mark.timeout(180)]),
    ]
)
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
        return open_engine(EngineSettings("ray", workers=2, stall_s=60))
    return open_engine(EngineSettings(), processes=1 if request.param == "here" else 2)


def test_every_task_has_its_own_result_and_workers_load_once(engine: Engine, tmp_path: Path) -> None:
    heard: list[tuple[int, str]] = []
    with engine.workers(load, 10, str(tmp_path / "loads")) as workers:
        first = dict(workers.run(multiply, TASKS, lambda index, said: heard.append((index, said))))
        again = dict(workers.run(multiply, [7]))
    assert first == {i: 10 * task for i, task in enumerate(TASKS)} and again == {0: 70}
    loads = (tmp_path / "loads").read_text().split()
    assert len(loads) == len(set(loads)) <= 2
    assert {said for _, said in heard} <= {f"{task}: {word}" for task in TASKS for word in ("begins", "ends")}
    assert all(said.startswith(f"{TASKS[index]}: ") for index, said in heard)


def test_a_tasks_own_error_comes_as_it_is(engine: Engine) -> None:
    with engine.workers(load, 10) as workers, pytest.raises(UsageError, match=r"^task \d: not to be had; ask"):
        list(workers.run(refuse, TASKS))


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_who_gives_up_does_not_wait_for_what_is_under_way() -> None:
    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt), open_engine(EngineSettings(), processes=2).workers(load, 10) as workers:
        for _ in workers.run(wait, [0.0, 100.0]):
            raise KeyboardInterrupt
    assert time.monotonic() - begun < 50
    assert not active_children()


def test_what_cannot_be_loaded_is_said_once(engine: Engine) -> None:
    with pytest.raises(UsageError, match=r"^no weights$"), engine.workers(load_badly, "no weights") as workers:
        list(workers.run(multiply, TASKS))


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_lost_workers_task_is_done_again(ray_cluster: None, tmp_path: Path) -> None:
    engine = open_engine(EngineSettings("ray", workers=2, stall_s=60))
    with engine.workers(load, 10) as workers:
        results = list(workers.run(fall_over_once, [(str(tmp_path / "mark"), n) for n in range(6)]))
    assert sorted(results) == [(n, 10 * n) for n in range(6)]
    assert (tmp_path / "mark").exists()


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_a_task_that_kills_every_worker_ends_the_run(ray_cluster: None) -> None:
    engine = open_engine(EngineSettings("ray", workers=2, stall_s=60))
    with engine.workers(load, 10) as workers, pytest.raises(EngineError, match="lost 3 workers"):
        list(workers.run(fall_over, [1]))


@pytest.mark.slow
@pytest.mark.timeout(180)
@pytest.mark.parametrize(
    ("settings", "says"),
    [
        (
            EngineSettings("ray", workers=1, stall_s=15),  # a busy machine takes five seconds to start a worker
            "1 worker for 15 s, 0 of them not started; the cluster has 1 node",
        ),
        (EngineSettings("ray", workers=1, gpus_per_worker=64, stall_s=4), "1 of them not started"),
    ],
    ids=["a task that hangs", "no room for a worker"],
)
def test_silence_ends_the_run_with_the_state_of_the_cluster(
    ray_cluster: None, settings: EngineSettings, says: str
) -> None:
    with open_engine(settings).workers(load, 10) as workers, pytest.raises(EngineError, match=says):
        list(workers.run(hang, [1]))


@pytest.mark.slow
def test_a_process_that_dies_is_named() -> None:
    with (
        open_engine(EngineSettings(), processes=2).workers(load, 10) as workers,
        pytest.raises(EngineError, match="a worker process died"),
    ):
        list(workers.run(fall_over, TASKS))


@pytest.mark.parametrize(
    ("address", "says"),
    [("ray://head:10001", "HOST:PORT"), ("head", "HOST:PORT"), ("nowhere.invalid:6379", "no Ray answers there")],
)
def test_an_address_that_is_none_is_refused_at_once(address: str, says: str) -> None:
    require_ray()
    with pytest.raises(UsageError, match=f"--ray-address.*{says}"):
        open_engine(EngineSettings("ray", ray_address=address))


def test_a_closed_port_is_refused_at_once() -> None:
    require_ray()
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        with pytest.raises(UsageError, match=r"no Ray answers there .connection refused.; start one"):
            open_engine(EngineSettings("ray", ray_address=f"127.0.0.1:{closed.getsockname()[1]}"))


def test_without_ray_the_message_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r"pip install earshot\[ray\]"):
        open_engine(EngineSettings("ray"))


@pytest.mark.parametrize("values", [{"ray_address": "head:6379"}, {"gpus_per_worker": 1.0}])
def test_rays_options_without_ray_are_a_mistake(values: dict) -> None:
    with pytest.raises(UsageError, match=f"--{next(iter(values)).replace('_', '-')}: is for --engine ray"):
        EngineSettings(**values)


def test_the_options_arrive_as_one_argument() -> None:
    @click.command()
    @click.argument("model")
    @engine_options(local_workers="Threads.", stall_minutes=2)
    def command(model: str, engine: EngineSettings) -> None:
        click.echo(f"{model} {engine}")

    line = ["x", "--engine", "ray", "--workers", "3", "--ray-address", "head:6379", "--gpus-per-worker", "0.5"]
    said = CliRunner().invoke(command, line).output
    assert said == f"x {EngineSettings('ray', 3, 'head:6379', 0.5, 120.0)}\n"
    assert isinstance(open_engine(EngineSettings()), Here)
