"""Embedding on a Ray cluster: the very parts of a local run, whatever becomes of the nodes."""

import logging
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embeddings.embed import EmbedSettings, Progress, Summary, embed_on
from embeddings.encoders import EncoderSpec
from embeddings.store import EmbeddingStore
from ingest.audio.clip import AudioItem
from ingest.engines.engine import EngineSettings
from ingest.engines.opening import open_engine
from ingest.errors import SpecMismatchError
from tests.embeddings.fakes import StatisticsEncoder, read_wav, write_sound, write_sounds
from tests.embeddings.object_store import Address, gs_server, s3_server
from tests.embeddings.test_embed import failures_of, parts_of, rows_of, run
from tests.ray_here import ray_cluster

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

SETTINGS = EmbedSettings(workers=1, shard_items=3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A head with two CPUs; tests add and kill other nodes. One for the module: it takes ten seconds to start."""
    with ray_cluster(head_cpus=2) as made:
        yield made


@pytest.fixture(scope="module")
def items(tmp_path_factory: pytest.TempPathFactory) -> list[AudioItem]:
    """Forty good sounds, a broken one and none at all."""
    folder = tmp_path_factory.mktemp("sounds")
    broken = write_sound(folder / "truncated.wav", np.random.default_rng(1), seconds=30)
    return [*write_sounds(folder, 40), broken, AudioItem("zz", folder / "nowhere.wav", "nowhere")]


def embed_with_ray(
    items: list[AudioItem], out: Path | str, *, workers: int, delay_s: float = 0.0, **options
) -> Summary:
    engine = open_engine(EngineSettings("ray", workers=workers, stall_s=60))
    with engine.workers(StatisticsEncoder, 1, delay_s) as made:
        store = EmbeddingStore.create(out, StatisticsEncoder().spec)
        return embed_on(made, items, store, SETTINGS, read=read_wav, **options)


def test_the_store_is_the_local_one_byte_for_byte(
    cluster: Any, items: list[AudioItem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(items[0].path.parent)  # which is not where the cluster was started
    items = [replace(item, path=Path(item.path.name)) for item in items]
    local = run(items, tmp_path / "local", shard_items=3)
    seen: list[Progress] = []
    summary = embed_with_ray(items, tmp_path / "ray", workers=2, progress=seen.append)
    assert parts_of(tmp_path / "ray") == parts_of(tmp_path / "local") and len(parts_of(tmp_path / "ray")) == 14
    assert (
        failures_of(tmp_path / "ray")
        == failures_of(tmp_path / "local")
        == {"truncated.wav": "truncated", "zz": "missing"}
    )
    for name in ("items", "embedded", "failures", "silent", "rows", "audio_s"):
        assert getattr(summary, name) == getattr(local, name), name
    assert (seen[0].items, seen[-1].items, seen[-1].total) == (0, 42, 42)
    again = embed_with_ray(items, tmp_path / "ray", workers=1)
    assert (again.done_before, again.embedded, len(again.failures)) == (40, 0, 2)
    assert parts_of(tmp_path / "ray") == parts_of(tmp_path / "local")


def test_a_node_killed_in_the_middle_costs_nothing_but_time(
    cluster: Any, items: list[AudioItem], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run(items, tmp_path / "local", shard_items=3)
    node = cluster.add_node(num_cpus=2)
    cluster.wait_for_nodes()
    killed: list[int] = []

    def kill(progress: Progress) -> None:
        if not killed and progress.items >= 4:
            killed.append(progress.items)
            cluster.remove_node(node, allow_graceful=False)

    with caplog.at_level(logging.WARNING, "earshot.engine"):
        # All CPUs are taken: what the dead node's workers held, those of the other must do.
        summary = embed_with_ray(items, tmp_path / "ray", workers=4, delay_s=0.1, progress=kill)
    assert killed and killed[0] < 30
    assert "its task is done again" in caplog.text
    assert (summary.embedded, len(summary.failures), summary.items) == (40, 2, 42)
    assert rows_of(tmp_path / "ray") == rows_of(tmp_path / "local")
    assert parts_of(tmp_path / "ray") == parts_of(tmp_path / "local")
    stats = sorted(path.name for path in (tmp_path / "ray").glob("part-audio-*.json"))
    assert stats == sorted(path.name for path in (tmp_path / "local").glob("part-audio-*.json"))


@pytest.mark.parametrize("server", [s3_server, gs_server])
def test_a_store_elsewhere_is_written_by_the_workers_themselves(
    server: Callable[[], AbstractContextManager[Address]], cluster: Any, items: list[AudioItem], tmp_path: Path
) -> None:
    run(items, tmp_path / "local", shard_items=3)
    with server() as address:
        summary = embed_with_ray(items, address("emb"), workers=2)
        store = EmbeddingStore.open(address("emb"))
        assert {part: store.folder.read(part) for part in store.parts()} == parts_of(tmp_path / "local")
        assert summary.embedded == 40 and store.folder.has("failures.parquet") and not store.folder.has(".lock")


class OtherEncoder(StatisticsEncoder):
    """As on a node with other weights."""

    def __init__(self) -> None:
        super().__init__()
        self.spec = EncoderSpec("statistics", 4, "float32", 1.0, 1.0, self.spec.sample_rate, weights={"w": "1" * 64})


def test_a_node_with_other_weights_ends_the_run(cluster: Any, items: list[AudioItem], tmp_path: Path) -> None:
    ours = EncoderSpec(**OtherEncoder().spec.to_json() | {"weights": {"w": "0" * 64}})
    store = EmbeddingStore.create(tmp_path / "emb", ours)
    with (
        open_engine(EngineSettings("ray", workers=1, stall_s=60)).workers(OtherEncoder) as workers,
        pytest.raises(SpecMismatchError, match="weights w"),
    ):
        embed_on(workers, items, store, SETTINGS, read=read_wav)
    assert store.parts() == []
