"""Manifests, and the folders that have none."""

import errno
import os
import shutil
from pathlib import Path

import pytest

from ingest.audio.clip import AudioItem
from ingest.datasets import DATASETS
from ingest.errors import FormatError, UsageError
from ingest.manifest import MANIFEST, read_column, read_items, write_manifest


def sounds(folder: Path) -> Path:
    for name in ("b.wav", "a/x.OGG", "a.flac", "notes.txt", ".hidden/c.wav", "._b.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


def item(path: Path, **fields: object) -> AudioItem:
    return AudioItem(key=path.name, path=path, source=path.name, **fields)


def test_a_folder_of_audio_is_listed_by_relative_path(tmp_path):
    items = read_items(sounds(tmp_path / "sounds"))
    assert [found.key for found in items] == ["a.flac", "a/x.OGG", "b.wav"]
    assert all(found.path.is_file() and not found.mids and found.source == found.key for found in items)


def test_linked_folders_are_listed_and_links_that_lead_up_are_not(tmp_path):
    for name in ("sounds/Dog/a.wav", "elsewhere/Rain/b.wav", "elsewhere/Wind/c.wav"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    links = {"Rain": "../elsewhere/Rain", "Again": "Dog", "Dog/up": "..", "Dog/self": ".", "out": "../.."}
    for name, target in links.items():
        (tmp_path / "sounds" / name).symlink_to(target)
    (tmp_path / "elsewhere/Rain/back").symlink_to(tmp_path / "sounds")  # up, by way of another folder
    assert [item.key for item in read_items(tmp_path / "sounds")] == ["Again/a.wav", "Dog/a.wav", "Rain/b.wav"]


def test_one_file_is_an_item_whatever_its_suffix(tmp_path):
    (tmp_path / "x.dat").touch()
    (found,) = read_items(tmp_path / "x.dat")
    assert (found.key, found.path) == ("x.dat", tmp_path / "x.dat")


def test_manifest_by_folder_and_by_file_is_the_same(tmp_path):
    written = [
        item(tmp_path / "b.wav", mids=("/m/0bt9lr", "own"), fold=3, start_s=30.5),
        item(tmp_path / "a.wav"),
    ]
    path = write_manifest(tmp_path / "clips", written)
    assert read_items(path) == read_items(tmp_path / "clips")
    first, second = read_items(path)
    assert (first.key, first.mids, first.fold, first.start_s) == ("a.wav", (), None, 0.0)
    assert (second.key, second.mids, second.fold, second.start_s) == ("b.wav", ("/m/0bt9lr", "own"), 3, 30.5)


def test_audio_and_manifest_may_be_moved_together(tmp_path, monkeypatch):
    (tmp_path / "here").mkdir()
    sounds(tmp_path / "here/sounds")
    monkeypatch.chdir(tmp_path / "here")
    write_manifest(Path("clips"), read_items(Path("sounds")))
    monkeypatch.chdir(tmp_path)
    shutil.move(tmp_path / "here", tmp_path / "there")
    assert all(found.path.is_file() for found in read_items(tmp_path / "there/clips"))


def test_a_manifest_far_from_its_audio_may_be_moved_alone(tmp_path):
    write_manifest(tmp_path / "a/b/clips", read_items(sounds(tmp_path / "sounds")))
    shutil.move(tmp_path / "a/b/clips", tmp_path / "clips")
    assert all(found.path.is_file() for found in read_items(tmp_path / "clips"))


@pytest.mark.parametrize("clips", ["clips", "deep/er/../clips", "../here/clips", "."])
def test_what_lies_beside_the_manifest_has_a_plain_path(tmp_path, monkeypatch, clips):
    (tmp_path / "here/deep/er").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here")
    above = Path(os.path.normpath(Path(clips, "..")))
    written = read_items(sounds(above / "sounds"))
    write_manifest(Path(clips), written)
    assert [found.path for found in read_items(Path(clips))] == [found.path for found in written]
    assert [found.path for found in read_items(Path(clips, MANIFEST).absolute())] == [
        Path(os.path.normpath(found.path.absolute())) for found in written
    ]


@pytest.mark.parametrize("written_by", ["link", "folder"])
@pytest.mark.parametrize("beside", ["link", "folder"])
def test_a_manifest_in_a_linked_folder_names_the_same_files_by_either_way(tmp_path, written_by, beside):
    """What is above a link is not what is beside it: dots may not be taken away there."""
    (tmp_path / "disk/clips").mkdir(parents=True)
    (tmp_path / "home").mkdir()
    (tmp_path / "home/clips").symlink_to(tmp_path / "disk/clips")
    ways = {"link": tmp_path / "home/clips", "folder": tmp_path / "disk/clips"}
    written = read_items(sounds(ways[beside].parent / "sounds"))
    write_manifest(ways[written_by], written)
    for way in ways.values():
        for found, meant in zip(read_items(way), written, strict=True):
            assert found.path.samefile(meant.path)


@pytest.mark.parametrize("linked", [False, True])
def test_a_table_names_what_lies_beside_it(tmp_path, monkeypatch, linked):
    """As people write it, `../snd/a.wav`; where the table's folder is a link, that is beside what it leads to."""
    (tmp_path / "disk/clips").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "disk")
    if linked:
        (tmp_path / "home").mkdir()
        (tmp_path / "home/clips").symlink_to(tmp_path / "disk/clips")
        monkeypatch.chdir(tmp_path / "home")
    sound = sounds(tmp_path / "disk/snd/deep") / "b.wav"
    Path("clips/t.csv").write_text("path,label\n../snd/deep/b.wav,Dog\n./../snd/deep/gone.wav,Dog\n")
    found, gone = (item.path for item in DATASETS["csv"].items(Path("clips")))
    assert found.samefile(sound)
    if not linked:
        assert (str(found), str(gone)) == ("snd/deep/b.wav", "snd/deep/gone.wav")
    write_manifest(Path("clips"), DATASETS["csv"].items(Path("clips")))
    for clips in (Path("clips"), tmp_path / "disk/clips"):
        assert read_items(clips)[0].path.samefile(sound)


def test_a_key_may_stand_once_only(tmp_path):
    with pytest.raises(FormatError, match=r"'a\.wav' stands 2 times"):
        write_manifest(tmp_path, [item(tmp_path / "a.wav"), item(tmp_path / "x/a.wav")])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [b"", b"not parquet" * 20])
def test_a_damaged_manifest_is_named(tmp_path, content):
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(FormatError, match="not a manifest"):
        read_items(tmp_path)


def test_a_parquet_file_of_something_else_is_named(tmp_path):
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"key": ["a"], "path": ["a.wav"]}), tmp_path / MANIFEST)
    with pytest.raises(FormatError, match="not a manifest"):
        read_items(tmp_path)


@pytest.mark.parametrize("damaged", [b"a-key", b"a-split"])
def test_what_a_manifest_tells_is_utf8_or_it_is_refused(tmp_path, damaged):
    told = AudioItem("a-key", tmp_path / "a.wav", "a", about={"split": "a-split"})
    path = write_manifest(tmp_path, [told])
    assert read_column(path, "split") == {"a-key": "a-split"}
    content = path.read_bytes()
    assert damaged in content
    path.write_bytes(content.replace(damaged, b"\xff" + damaged[1:]))
    with pytest.raises(FormatError, match="not a manifest"):
        read_column(path, "split")


def test_nothing_there_is_the_users_mistake(tmp_path):
    with pytest.raises(UsageError, match="no such file or folder"):
        read_items(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds neither"):
        read_items(tmp_path)


def test_a_folder_that_may_not_be_read_is_refused_and_not_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its sounds would be missing without a word: a whole class, where folders are classes."""
    sounds(tmp_path)
    (tmp_path / "lost+found").mkdir()  # the system's own, on every disk of many
    scandir = os.scandir

    def refuse(path: str) -> object:
        if Path(path).name in ("a", "lost+found"):
            raise PermissionError(errno.EACCES, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(UsageError, match=f"{tmp_path / 'a'}: this folder may not be read"):
        read_items(tmp_path)
    (tmp_path / "a").rename(tmp_path / ".a")
    assert [found.key for found in read_items(tmp_path)] == ["a.flac", "b.wav"]


def test_a_table_is_not_taken_for_a_sound(tmp_path):
    (tmp_path / "list.csv").write_text("path,labels\na.wav,Dog\n")
    with pytest.raises(UsageError, match=r"is a table and no audio; `earshot ingest folder \S+ --layout csv"):
        read_items(tmp_path / "list.csv")


def test_a_name_that_is_not_utf8_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match=r"is not UTF-8.*rename it") as caught:
        write_manifest(tmp_path, [item(tmp_path / "caf\udce9.wav")])
    str(caught.value).encode()
