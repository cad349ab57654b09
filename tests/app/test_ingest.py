"""earshot ingest: what it prints and writes."""

import json
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from ingest.audioset.segments import Segment
from ingest.audioset.tfrecord import SegmentFeatures, serialize_example, write_records
from ingest.manifest import read_items


def run(capsys, *argv: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["ingest", *map(str, argv)])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    for name in ("Dog/a.wav", "Dog/b.wav", "Rain/c.wav"):
        (tmp_path / "sounds" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "sounds" / name).touch()
    return tmp_path / "sounds"


def test_folder_writes_a_manifest_and_says_what_comes_next(tmp_path, sounds, capsys):
    code, out, _ = run(capsys, "folder", sounds, "--out", tmp_path / "my clips")
    assert code == 0
    assert "3 files" in out and "Dog" in out
    assert f"earshot embed '{tmp_path / 'my clips'}'" in out
    assert len(read_items(tmp_path / "my clips")) == 3


def test_one_file_is_not_several(tmp_path, sounds, capsys):
    code, out, _ = run(capsys, "folder", sounds / "Rain", "--layout", "folders", "--out", tmp_path / "clips")
    assert code == 0 and "1 file of 1 recording, layout folders" in out


def test_folder_json_is_one_object(tmp_path, sounds, capsys):
    code, out, _ = run(capsys, "folder", sounds, "--out", tmp_path / "clips", "--json")
    summary = json.loads(out)
    assert (code, summary["items"], summary["layout"]) == (0, 3, "folders")
    assert summary["classes"] == {"Dog": 2, "Rain": 1}


def test_folder_tells_of_files_that_are_not_there(tmp_path, capsys):
    (tmp_path / "t.csv").write_text("path,label\na.wav,Dog\nb.wav,Dog\n")
    code, out, err = run(capsys, "folder", tmp_path, "--out", tmp_path / "clips")
    assert (code, out) == (2, "")
    assert f"2 of 2 files are not there, {tmp_path / 'a.wav'} first" in err
    assert not (tmp_path / "clips").exists()
    (tmp_path / "a.wav").touch()
    code, out, err = run(capsys, "folder", tmp_path, "--out", tmp_path / "clips", "--json")
    assert (code, json.loads(out)["missing"]) == (0, 1)
    assert err.startswith(f"warning: 1 of 2 files is not there, {tmp_path / 'b.wav'} first")


def test_folder_names_a_table_that_it_does_not_read(tmp_path, sounds, capsys):
    (sounds / "meta.csv").write_text("filename,category\na.wav,Dog\n")
    code, out, err = run(capsys, "folder", sounds, "--out", tmp_path / "clips", "--json")
    assert (code, json.loads(out)["layout"]) == (0, "folders")
    assert "nothing was read of meta.csv with columns filename, category" in err


def test_folder_shows_any_name_on_one_line_in_its_column(tmp_path, sounds, capsys):
    for name in ("new\nline", "猫の鳴き声", "L" * 200):
        (sounds / name).mkdir()
        (sounds / name / "a.wav").touch()
    _, out, _ = run(capsys, "folder", sounds, "--out", tmp_path / "clips")
    shown = out.splitlines()[:5]
    assert [line.split()[-1] for line in shown] == ["2", "1", "1", "1", "1"]
    assert max(map(len, shown)) < 80


@pytest.mark.parametrize("out", ["", "a file"])
def test_folder_wants_a_folder_to_write_to(tmp_path, sounds, capsys, monkeypatch, out):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a file").touch()
    code, _, err = run(capsys, "folder", sounds, "--out", out)
    assert code == 2
    assert "folder" in err and len(err.splitlines()) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a file", "sounds"]


def test_folder_leaves_the_manifest_of_a_download_alone(tmp_path, sounds, capsys):
    (tmp_path / "clips").mkdir()
    for name in ("ledger.sqlite", "manifest.parquet"):
        (tmp_path / "clips" / name).write_text("as it was")
    code, _, err = run(capsys, "folder", sounds, "--out", tmp_path / "clips")
    assert code == 2 and "name another" in err
    assert (tmp_path / "clips/manifest.parquet").read_text() == "as it was"


def test_folder_takes_one_split_of_a_data_set(tmp_path, capsys):
    for part in ("dev", "eval"):
        (tmp_path / f"FSD50K.{part}_audio").mkdir()
        (tmp_path / "FSD50K.ground_truth").mkdir(exist_ok=True)
    for name in ("dev_audio/1", "dev_audio/2", "eval_audio/3"):
        (tmp_path / f"FSD50K.{name}.wav").touch()
    (tmp_path / "FSD50K.ground_truth/dev.csv").write_text("fname,mids,split\n1,/m/0bt9lr,train\n2,/m/0bt9lr,val\n")
    (tmp_path / "FSD50K.ground_truth/eval.csv").write_text("fname,mids\n3,/m/0bt9lr\n")
    code, out, _ = run(capsys, "folder", tmp_path, "--split", "val", "--out", tmp_path / "val", "--json")
    assert (code, json.loads(out)["items"]) == (0, 1)
    code, _, err = run(capsys, "folder", tmp_path, "--split", "test", "--out", tmp_path / "test")
    assert code == 2 and "this layout has eval, train, val" in err


@pytest.mark.parametrize("layout", ["auto", "folders"])
def test_an_empty_folder_is_the_users_mistake(tmp_path, capsys, layout):
    code, out, err = run(capsys, "folder", tmp_path, "--layout", layout, "--out", tmp_path / "clips")
    assert (code, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert not (tmp_path / "clips").exists()


@pytest.mark.parametrize(
    ("split", "rule"),
    [("evel", "holds no evel/*.tfrecord"), ("../eval", "must be the name of one folder"), ("", "must be the name")],
)
def test_features_that_are_not_there_leave_no_store(tmp_path, capsys, split, rule):
    (tmp_path / "eval").mkdir()
    (tmp_path / "eval/aa.tfrecord").touch()
    code, out, err = run(capsys, "features", tmp_path, "--split", split, "--out", tmp_path / "store")
    assert (code, out) == (2, "")
    assert rule in err.splitlines()[-1]
    assert not (tmp_path / "store").exists()


def test_features_makes_a_store_and_names_damage(tmp_path, capsys):
    from embeddings.store import EmbeddingStore

    folder = tmp_path / "eval"
    folder.mkdir()
    records = [
        serialize_example(SegmentFeatures(Segment(f"-id{n}", 0.0, 10.0), np.zeros((n, 128), np.uint8))) for n in (3, 10)
    ]
    with (folder / "-i.tfrecord").open("wb") as file:
        write_records(file, records)
        file.write(b"rest")
    code, out, err = run(capsys, "features", tmp_path, "--split", "eval", "--out", tmp_path / "store", "--json")
    summary = json.loads(out)
    assert (code, summary["rows"], len(summary["damage"])) == (0, 2, 1)
    assert "left out" in err
    assert EmbeddingStore.open(tmp_path / "store").load().mask.sum() == 13


@pytest.mark.parametrize("timeout_s", ["0", "-1", "nan"])
def test_metadata_wants_a_timeout_that_is_one(tmp_path, capsys, timeout_s):
    code, _, err = run(
        capsys, "metadata", "ontology.json", "--base", "http://127.0.0.1:9/", "--out", tmp_path, "--timeout", timeout_s
    )
    assert code == 2 and "'--timeout'" in err.splitlines()[-1]
