"""`earshot embed` and `earshot export` as typed, with YAMNet."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import earshot
from embeddings.store import EmbeddingStore
from ingest.errors import EarshotError, SpecMismatchError, UsageError

pytestmark = pytest.mark.slow


@pytest.fixture
def sounds(tmp_path: Path, shared: Path) -> Path:
    folder = tmp_path / "sounds"
    folder.mkdir()
    for path in sorted((shared / "esc10").rglob("*.ogg"))[::10]:
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "empty.wav").touch()
    return folder


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(earshot, [str(arg) for arg in args], catch_exceptions=False)


def test_embed_says_what_it_did_and_goes_on_where_it_was(sounds: Path, tmp_path: Path, shared: Path) -> None:
    options = ["--encoder", "yamnet", "--out", tmp_path / "emb", "--weights", shared / "models"]
    done = run("embed", sounds, *options)
    assert "40 of 41 clips embedded with yamnet, 0 were there" in done.stdout
    assert "1 failed (1 empty)" in done.stdout and "empty.wav: the file has no bytes" in done.stdout
    assert "41/41" in done.stderr and "x real time" in done.stderr
    assert done.stdout.endswith(f"\nnext: earshot predict MODEL {tmp_path / 'emb'}\n"), "none of them has a label"
    again = json.loads(run("embed", sounds, *options, "--json").stdout)
    assert (again["items"], again["done_before"], again["embedded"], again["failed"]) == (41, 40, 0, {"empty": 1})
    table = EmbeddingStore.open(tmp_path / "emb").load()
    assert table.vectors.shape == (40, 9, 1024) and table.mask.all()


def test_what_is_taken_out_or_copied_anew_leaves_nothing_behind(sounds: Path, tmp_path: Path) -> None:
    """A folder and its manifest are the same audio; a failure goes with its file, and another date is no change."""
    emb, clips, classes = (tmp_path / name for name in ("emb", "clips", "classes"))
    classes.mkdir()
    sounds = sounds.rename(classes / "Dog")
    run("ingest", "folder", classes, "--out", clips)
    first = run("embed", clips, "--encoder", "logmel", "--out", emb)
    assert f"  {sounds / 'empty.wav'}: the file has no bytes" in first.stdout, "a path without dots"
    assert (emb / "failures.parquet").is_file()
    (sounds / "empty.wav").unlink()
    for path in sounds.iterdir():
        path.touch()
    run("ingest", "folder", classes, "--out", clips)
    again = json.loads(run("embed", clips / "manifest.parquet", "--encoder", "logmel", "--out", emb, "--json").stdout)
    assert (again["done_before"], again["failed"], again["changed"]) == (40, {}, [])
    assert again["next"] == f"earshot train {emb} --out MODEL"
    assert not (emb / "failures.parquet").exists()


def test_a_fitted_projection_stays_with_its_store(sounds: Path, tmp_path: Path, shared: Path) -> None:
    emb, weights = tmp_path / "emb", ["--weights", shared / "models"]
    run("embed", sounds, "--encoder", "yamnet-128", "--fit-pca", "--out", emb, *weights)
    pca = (emb / "pca.npz").read_bytes()
    for options in ([], ["--fit-pca"]):
        again = run("embed", sounds, "--encoder", "yamnet-128", *options, "--out", emb, *weights, "--json")
        assert json.loads(again.stdout)["done_before"] == 40
    assert (emb / "pca.npz").read_bytes() == pca
    exported = run("export", emb, "--format", "tfrecord", "--out", tmp_path / "tfrecords", "--json")
    assert json.loads(exported.stdout)["rows"] == 40
    with pytest.raises(SpecMismatchError, match="encoder: yamnet-128 against vggish"):
        run("embed", sounds, "--encoder", "vggish", "--out", emb)


def test_mistakes_are_named(sounds: Path, tmp_path: Path, shared: Path) -> None:
    emb, weights = tmp_path / "emb", ["--weights", shared / "models"]
    model = tmp_path / "model"
    model.mkdir()
    (model / "model.json").touch()
    with pytest.raises(UsageError, match=f"--out: {model} is a model; name another folder"):
        run("embed", sounds, "--encoder", "yamnet", "--out", model)
    with pytest.raises(UsageError, match="--pca: only yamnet-128 has a projection"):
        run("embed", sounds, "--encoder", "yamnet", "--pca", "x.npz", "--out", emb)
    with pytest.raises(UsageError, match=r"--pca: there is no file x\.npz; name the pca\.npz of a store"):
        run("embed", sounds, "--encoder", "yamnet-128", "--pca", "x.npz", "--out", emb)
    with pytest.raises(UsageError, match="--model: is for vggish-hub and yamnet-hub, not yamnet"):
        run("embed", sounds, "--encoder", "yamnet", "--model", "x", "--out", emb)
    with pytest.raises(UsageError, match="leave one of the two out"):
        run("embed", sounds, "--encoder", "yamnet-128", "--pca", "x.npz", "--fit-pca", "--out", emb)
    with pytest.raises(EarshotError, match="0 of 1 file could be embedded"):
        (tmp_path / "bad").mkdir()
        (tmp_path / "bad" / "empty.wav").touch()
        run("embed", tmp_path / "bad", "--encoder", "yamnet", "--out", emb, *weights)
