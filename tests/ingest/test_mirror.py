"""A mirror finds the right clip, or none, in a folder and over the network, and reads each row group once."""

import io
import json
import pickle
import random
import threading
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ingest.audioset.segments import Segment
from ingest.errors import DownloadError, FetchError, UsageError
from ingest.youtube.mirror import Mirror, list_files
from tests.ingest.file_server import serving

IDS = [f"video_{n:05}" for n in range(20)]
TREE = "datasets/owner/name/tree/main/data"


def audio(youtube_id: str) -> bytes:
    return random.Random(youtube_id).randbytes(60_000)


def parquet(ids: list[str]) -> bytes:
    rows = [
        {"video_id": i, "audio": {"bytes": audio(i), "path": f"audio/{i}.flac"}, "labels": ["/m/09x0r"]} for i in ids
    ]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=4)
    return buffer.getvalue()


FILES = {"00.parquet": parquet(IDS[:9]), "01.parquet": parquet(IDS[9:])}


def segment(youtube_id: str, start_s: float = 30.0) -> Segment:
    return Segment(youtube_id, start_s, start_s + 10.0)


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "data").mkdir()
    for name, content in FILES.items():
        (tmp_path / "data" / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def hub():
    tree = [{"type": "file", "path": f"data/{name}", "size": len(content)} for name, content in FILES.items()]
    files = {f"datasets/owner/name/resolve/main/data/{name}": content for name, content in FILES.items()}
    with serving(files | {f"api/{TREE}": json.dumps(tree).encode()}) as server:
        yield server


@pytest.fixture(params=["folder", "hub"])
def where(request):
    source = request.getfixturevalue(request.param)
    return str(source) if request.param == "folder" else source.url + TREE


def test_every_clip_is_found_and_no_other(where):
    mirror = Mirror(where)
    assert [mirror.find(segment(i)) for i in IDS] == [audio(i) for i in IDS]
    assert mirror.find(segment("not-in-here")) is None


def test_only_audiosets_own_seconds_are_found(folder):
    mirror = Mirror(str(folder), starts={IDS[0]: 30.0})
    assert mirror.find(segment(IDS[0])) == audio(IDS[0])
    assert mirror.find(segment(IDS[0], 40.0)) is None
    assert mirror.find(segment(IDS[1])) is None


def test_in_its_own_order_each_row_group_is_read_once(hub):
    mirror = Mirror(hub.url + TREE)
    wanted = [segment(i) for i in reversed(["elsewhere01", *IDS])]
    ordered = mirror.order(wanted)
    assert [s.youtube_id for s in ordered] == [*IDS, "elsewhere01"]
    hub.bytes_sent = 0
    assert [mirror.find(s) for s in ordered] == [*map(audio, IDS), None]
    assert hub.bytes_sent < 1.2 * sum(map(len, FILES.values()))


def test_one_clip_costs_one_row_group(hub):
    mirror = Mirror(hub.url + TREE)
    mirror.order([])
    mirror.find(segment("nowhere"))
    hub.bytes_sent = 0
    mirror.find(segment(IDS[10]))
    assert hub.bytes_sent < sum(map(len, FILES.values())) / 2


def test_the_index_is_kept_and_used_while_the_files_are_the_same(hub, tmp_path):
    index = tmp_path / "kept" / "index.parquet"
    assert Mirror(hub.url + TREE, index=index).find(segment(IDS[3])) == audio(IDS[3])
    hub.asked.clear()
    assert Mirror(hub.url + TREE, index=index).find(segment("nowhere")) is None
    assert len(hub.asked) == 1  # the list of files
    hub.files[f"api/{TREE}"] = json.dumps([{"path": "data/01.parquet"}]).encode()
    changed = Mirror(hub.url + TREE, index=index)
    assert changed.find(segment(IDS[0])) is None
    assert changed.find(segment(IDS[9])) == audio(IDS[9])
    index.write_bytes(b"half of it")
    assert Mirror(hub.url + TREE, index=index).find(segment(IDS[9])) == audio(IDS[9])


def test_many_threads_may_ask(where):
    mirror, found = Mirror(where), {}
    threads = [threading.Thread(target=lambda i=i: found.update({i: mirror.find(segment(i))})) for i in IDS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == {i: audio(i) for i in IDS}


def test_whoever_waits_each_row_group_is_read_once(hub):
    mirror, found = Mirror(hub.url + TREE), {}
    mirror.order([])
    mixed = random.Random(0).sample(IDS, len(IDS))
    threads = [threading.Thread(target=lambda i=i: found.update({i: mirror.find(segment(i))})) for i in mixed]
    with mirror._queue.turn((0, 0), lambda _: False):
        for thread in threads:
            thread.start()
        while len(mirror._queue._waiting) < len(IDS):
            time.sleep(0.001)
        hub.bytes_sent = 0
    for thread in threads:
        thread.join()
    assert found == {i: audio(i) for i in IDS}
    assert hub.bytes_sent < 1.2 * sum(map(len, FILES.values()))


def test_it_may_be_sent_to_another_process(folder, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(folder)
    sent = pickle.dumps(Mirror("data", starts={IDS[0]: 30.0, IDS[1]: 0.0}, index=Path("index.parquet")))
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    there = pickle.loads(sent)
    assert there.find(segment(IDS[0])) == audio(IDS[0])
    assert there.find(segment(IDS[1])) is None
    assert (folder / "index.parquet").is_file()


def test_one_file_is_a_mirror_too(hub):
    mirror = Mirror(f"{hub.url}datasets/owner/name/resolve/main/data/00.parquet")
    assert mirror.find(segment(IDS[0])) == audio(IDS[0])
    assert mirror.find(segment(IDS[9])) is None


def test_empty_audio_is_none(tmp_path):
    rows = [{"video_id": "a", "audio": {"bytes": b"", "path": "p"}}, {"video_id": "b", "audio": None}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert [Mirror(str(tmp_path)).find(segment(i)) for i in "ab"] == [None, None]


@pytest.mark.parametrize("where", ["nowhere", "https://huggingface.co/datasets/owner", "https://example.org/folder/"])
def test_other_places_are_the_users_mistake(where, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="mirror"):
        list_files(where)


def test_damage_and_the_servers_troubles_are_named(hub, tmp_path):
    (tmp_path / "a.parquet").write_bytes(b"no parquet, but long enough to look like one")
    with pytest.raises(UsageError, match="is no Parquet file"):
        Mirror(str(tmp_path)).find(segment("a"))
    pq.write_table(pa.table({"video_id": ["a"]}), tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="has no column audio"):
        Mirror(str(tmp_path)).find(segment("a"))
    mirror = Mirror(hub.url + TREE)
    mirror.find(segment(IDS[0]))
    hub.status = 429
    with pytest.raises(FetchError, match="429"):
        mirror.find(segment(IDS[10]))
    with pytest.raises(DownloadError, match="list of files"):
        Mirror(hub.url + TREE).find(segment(IDS[0]))
