"""Stores and audio in an object store: the same rows as on a disk, one writer, no secrets shown."""

import json
import pickle
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np
import pytest
from click.testing import CliRunner

from app.cli import earshot
from embeddings.embed import EmbedSettings, embed
from embeddings.store import EmbeddingStore
from ingest.audio.clip import AudioItem
from ingest.audio.windows import read_windows
from ingest.errors import FormatError, MissingAudioError, SpecMismatchError, TruncatedAudioError, UsageError
from ingest.manifest import read_column, read_items, write_manifest
from ingest.places import arrow_folder, object_lock
from ingest.places.arrow_folder import ArrowFolder
from ingest.places.folder import LocalFolder, folder_at
from tests.embeddings import gcs_server
from tests.embeddings.fakes import StatisticsEncoder, read_wav, write_sounds
from tests.embeddings.object_store import Address, gs_server, s3_server
from tests.embeddings.test_embed import parts_of, rows_of, run
from tests.embeddings.test_store import a_row, a_spec
from tests.ingest.sounds import tone, write

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def s3() -> Iterator[Address]:
    with s3_server() as address:
        yield address


@pytest.fixture(scope="module")
def gs() -> Iterator[Address]:
    with gs_server() as address:
        yield address


@pytest.fixture(params=["s3", "gs"])
def place(request: pytest.FixtureRequest) -> Address:
    """Of one kind of object store, and then of the next."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module", autouse=True)
def no_waiting() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(object_lock, "_SETTLE_S", 0.0)
        yield


@pytest.fixture(params=["local", "s3", "gs"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> LocalFolder | ArrowFolder:
    if request.param == "local":
        return folder_at(tmp_path / "emb")
    return folder_at(request.getfixturevalue(request.param)("asked/emb"))


def test_a_folder_does_what_is_asked_of_it(folder: LocalFolder | ArrowFolder) -> None:
    assert (folder.exists(), folder.names(), folder.has("a")) == (False, [], False)
    folder.make()
    for name in ("b", "a", "ab", ".hidden", "ü b%2F#+?"):
        with folder.write(name) as made:
            made.write_text(f"content of {name}")
    with pytest.raises(ZeroDivisionError), folder.write("a") as made:
        made.write_text("half")
        raise ZeroDivisionError
    assert (
        folder.exists()
        and folder.names("a") == ["a", "ab"]
        and folder.names() == [".hidden", "a", "ab", "b", "ü b%2F#+?"]
    )
    assert folder.read("ü b%2F#+?") == "content of ü b%2F#+?".encode()
    assert folder.read("a") == b"content of a" and folder.has("a") and not folder.has("c")
    with folder.local("b") as path, folder.source("b") as source:
        assert path.read_bytes() == source.read() == b"content of b"
    folder.delete("b")
    folder.delete("b")
    assert not folder.has("b")
    assert pickle.loads(pickle.dumps(folder)).read("ab") == b"content of ab"
    assert folder.at("a").endswith("emb/a") and folder.name == "emb"


def test_a_large_file_is_there_whole_or_not_at_all(place: Address, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = folder_at(place("large"))
    content = np.random.default_rng(0).bytes(9_000_001)  # more than is sent at once
    with folder.write("whole") as made:
        made.write_bytes(content)
    assert folder.read("whole") == content
    with folder.source("whole") as source:
        source.seek(4_500_000)
        assert source.size() == len(content) and source.read(1000) == content[4_500_000:4_501_000]

    def breaks_off(source: IO[bytes], sink: IO[bytes], length: int) -> None:
        sink.write(source.read(length))
        assert not folder.has("half")
        raise ConnectionResetError("gone")

    monkeypatch.setattr(arrow_folder.shutil, "copyfileobj", breaks_off)
    with pytest.raises(ConnectionResetError, match="/large/half: gone"), folder.write("half") as made:
        made.write_bytes(content)
    assert folder.names() == ["whole"]


def test_what_google_refuses_is_an_error_of_the_system_that_names_the_place() -> None:
    """Google's client makes 400 a ValueError, and tells of itself at length."""
    with gcs_server.serving() as host:
        for status, kind, said in ((400, OSError, "Bad Request"), (403, PermissionError, "Forbidden")):
            folder = folder_at(f"gs://anonymous@refused-{status}/emb?scheme=http&endpoint_override={host}")
            for ask, name in ((folder.exists, ""), (folder.names, ""), (partial(folder.read, "a"), "/a")):
                with pytest.raises(kind) as error:
                    ask()
                assert str(error.value) == f"gs://refused-{status}/emb{name}: {said}"
            with pytest.raises(kind, match=rf"^gs://refused-{status}/emb/a: {said}$"), folder.write("a") as made:
                made.write_bytes(b"a")


@pytest.mark.parametrize(("option", "default"), [("", 1), ("&retry_limit_seconds=1", 600)])
def test_google_out_of_reach_is_told_soon(option: str, default: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The client's own patience is a quarter of an hour, in which it hears no Ctrl-C."""
    monkeypatch.setattr(arrow_folder, "_GOOGLE_PATIENCE_S", default)
    folder = folder_at(f"gs://anonymous@none{default}/emb?scheme=http&endpoint_override=127.0.0.1%3A1{option}")
    with pytest.raises(OSError, match=rf"^gs://none{default}/emb: .*Could not connect to server$"):
        folder.exists()


def test_a_store_is_the_same_there(place: Address, tmp_path: Path) -> None:
    items = write_sounds(tmp_path / "sounds", 12)
    run(items, tmp_path / "emb", shard_items=5)
    address = place("same/emb")
    encoder = StatisticsEncoder()
    store = EmbeddingStore.create(address, encoder.spec)
    summary = embed(items[:5], encoder, store, EmbedSettings(shard_items=5), read=read_wav)
    again = embed(
        items, encoder, EmbeddingStore.create(address, encoder.spec), EmbedSettings(shard_items=5), read=read_wav
    )
    assert (summary.embedded, again.done_before, again.embedded) == (5, 5, 7)
    there = EmbeddingStore.open(address)
    assert {part: there.folder.read(part) for part in there.parts()} == parts_of(tmp_path / "emb")
    here, table = EmbeddingStore.open(tmp_path / "emb").load(), there.load()
    assert table.keys == here.keys and np.array_equal(table.vectors, here.vectors)
    assert len(there) == len(here) and there.folder.names(".") == []
    with pytest.raises(SpecMismatchError, match=r"://bucket\w+/same/emb: its rows"):
        EmbeddingStore.create(address, a_spec())


def test_what_a_killed_run_left_there_is_made_again(place: Address, tmp_path: Path) -> None:
    items = write_sounds(tmp_path / "sounds", 9)
    encoder = StatisticsEncoder()
    store = EmbeddingStore.create(place("killed/emb"), encoder.spec)
    embed(items, encoder, store, EmbedSettings(shard_items=3), read=read_wav)
    before = {part: store.folder.read(part) for part in store.parts()}
    store.folder.delete(sorted(before)[1].replace(".parquet", ".json"))
    with store.folder.write(sorted(before)[1]) as made:
        made.write_bytes(b"half a part")
    again = embed(items, encoder, store, EmbedSettings(shard_items=3), read=read_wav)
    assert (again.done_before, again.embedded) == (6, 3)
    assert {part: store.folder.read(part) for part in store.parts()} == before


def test_damage_there_is_named_and_the_network_is_not_blamed_on_the_part(place: Address) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        EmbeddingStore.open(place("nothing"))
    store = EmbeddingStore.create(place("damaged"), a_spec())
    with store.writer("0") as writer:
        writer.append(a_row("a"))
    with store.folder.write("part-0.parquet") as made:
        made.write_bytes(b"nonsense of some length")
    with pytest.raises(FormatError, match=r"://bucket\w+/damaged/part-0\.parquet: damaged"):
        EmbeddingStore.open(place("damaged"))
    store.folder.delete("part-0.parquet")
    with pytest.raises(OSError, match=r"/damaged/part-0\.parquet: there is no such object") as error:
        store.keys(["part-0.parquet"])
    assert not isinstance(error.value, FormatError)


def test_one_writer_at_a_time(place: Address) -> None:
    folder = folder_at(place("locked"))
    assert isinstance(folder, ArrowFolder)
    with folder.lock():
        held = json.loads(folder.read(object_lock.LOCK_FILE))
        with (
            pytest.raises(UsageError, match=rf"process {held['pid']} on {held['host']}, since 20.*delete {folder}/"),
            folder.lock(),
        ):
            pass
    assert not folder.has(object_lock.LOCK_FILE)
    _leave_lock(folder, held | {"host": "elsewhere"})
    with pytest.raises(UsageError, match="elsewhere"), folder.lock():
        pass
    with object_lock.held(folder, stale_s=0.0):  # nobody has written it for so long
        pass
    _leave_lock(folder, held | {"pid": 2**22 + 1})  # of this machine, and no more
    with folder.lock():
        assert json.loads(folder.read(object_lock.LOCK_FILE))["pid"] == held["pid"]


def test_a_lock_is_kept_fresh_and_its_loss_is_noticed(place: Address) -> None:
    folder = folder_at(place("beating"))
    assert isinstance(folder, ArrowFolder)
    with object_lock.held(folder, beat_s=0.05):
        first = folder.modified_at(object_lock.LOCK_FILE)
        assert first is not None
        end = time.monotonic() + 20
        while folder.modified_at(object_lock.LOCK_FILE) == first:
            assert time.monotonic() < end
            time.sleep(0.05)
    with pytest.raises(UsageError, match="process 1 on thief"), object_lock.held(folder, beat_s=3600):
        _leave_lock(folder, {"token": "another", "pid": 1, "host": "thief"})
    assert json.loads(folder.read(object_lock.LOCK_FILE))["host"] == "thief"  # which is not ours to remove


def _leave_lock(folder: ArrowFolder, content: dict) -> None:
    with folder.write(object_lock.LOCK_FILE) as made:
        made.write_text(json.dumps(content))


def test_keys_in_an_address_are_never_shown(place: Address) -> None:
    folder = folder_at(place("a/b/"))
    for shown in (str(folder), repr(folder), folder.at("x"), f"{folder.file('c.wav')}"):
        assert "secret" not in shown and "endpoint" not in shown
    assert str(folder.file("../c.wav")).endswith("/a/c.wav")
    for address in (
        "s3://key:secret@bucket/x?nonsense=1",
        "s3://key:secret@",
        "gs://key:secret@bucket/x",
        "nonsense://key:secret@x",
    ):
        with pytest.raises(UsageError) as error:
            folder_at(address)
        assert "secret" not in str(error.value) and "\n" not in str(error.value)


@pytest.fixture
def audio(place: Address, tmp_path: Path, request: pytest.FixtureRequest) -> tuple[Path, ArrowFolder]:
    """The same sounds and manifest here and there."""
    items = write_sounds(tmp_path / "sounds", 5)
    write_manifest(tmp_path / "sounds", [_told(item, i) for i, item in enumerate(items)])
    folder = folder_at(place(f"{request.node.originalname}/sounds"))
    assert isinstance(folder, ArrowFolder)
    for path in (tmp_path / "sounds").iterdir():
        with folder.write(path.name) as made:
            made.write_bytes(path.read_bytes())
    return tmp_path / "sounds", folder


def _told(item: AudioItem, number: int) -> AudioItem:
    return AudioItem(item.key, item.path, item.source, item.mids, item.fold, item.start_s, {"age": str(number)})


def test_audio_there_is_listed_like_audio_here(audio: tuple[Path, ArrowFolder]) -> None:
    here, there = audio
    for with_manifest in (True, False):
        local, remote = read_items(here), read_items(there)
        assert len(local) == 5
        for a, b in zip(local, remote, strict=True):
            assert (a.key, a.source, a.mids, a.fold, a.start_s) == (b.key, b.source, b.mids, b.fold, b.start_s)
            assert str(b.path) == f"{there}/{a.key}" and b.path.size == a.path.stat().st_size
        if with_manifest:
            (here / "manifest.parquet").unlink()
            there.delete("manifest.parquet")


def test_audio_there_is_read_like_audio_here(place: Address, tmp_path: Path) -> None:
    path = write(tmp_path / "tone.wav", tone(2.0))
    folder = folder_at(place("tones"))
    assert isinstance(folder, ArrowFolder)
    for name, data in (("tone.wav", path.read_bytes()), ("cut.wav", path.read_bytes()[:9000])):
        with folder.write(name) as made:
            made.write_bytes(data)
    here, there = list(read_windows(path)), list(read_windows(folder.file("tone.wav")))
    assert len(here) == len(there) and np.array_equal(here[0].waveform, there[0].waveform)
    with pytest.raises(TruncatedAudioError, match=r"^\w\w://bucket\w+/tones/cut\.wav: "):
        list(read_windows(folder.file("cut.wav")))
    with pytest.raises(MissingAudioError, match=r"^\w\w://bucket\w+/tones/none\.wav: "):
        list(read_windows(folder.file("none.wav")))


def test_the_command_goes_from_there_to_there(place: Address, audio: tuple[Path, ArrowFolder]) -> None:
    here, there = audio
    out = place("typed/emb")
    line = ["embed", there.address, "--encoder", "logmel", "--out", out, "--workers", "1"]
    done = CliRunner().invoke(earshot, [*line, "--json"], catch_exceptions=False)
    said = json.loads(done.stdout)
    assert (said["embedded"], said["failed"]) == (5, {}) and "secret" not in done.output
    again = CliRunner().invoke(earshot, line, catch_exceptions=False)
    assert f"{folder_at(out)}: 0 of 5 clips embedded with logmel, 5 were there" in again.stdout
    store = EmbeddingStore.open(out)
    assert all(path.startswith(f"{there}/") for path in store.load().paths)
    with store.folder.local("about.parquet") as about:
        assert sorted(read_column(about, "age").values()) == list("01234")
    CliRunner().invoke(earshot, ["embed", str(here), *line[2:5], str(here.parent / "emb")], catch_exceptions=False)
    mine = [(row[0], row[1], *row[3:]) for row in rows_of(here.parent / "emb")]
    table = store.load()
    assert sorted(table.keys) == [row[0] for row in mine]
    assert {key: table.vectors[i][table.mask[i]].tobytes() for i, key in enumerate(table.keys)} == {
        row[0]: row[-1] for row in mine
    }
