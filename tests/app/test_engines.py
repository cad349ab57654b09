"""The commands that run on a cluster: the same files and the same words as on this machine."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from tests.app.test_train_predict import generated_store, run
from tests.embeddings.test_embed import parts_of
from tests.ingest.sounds import tone, write
from tests.ray_here import ray_of_its_own

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

ENGINES = {"processes": ["--workers", "2"], "ray": ["--engine", "ray", "--workers", "2", "--stall-limit", "2"]}


@pytest.fixture(scope="module")
def ray_cluster() -> Iterator[None]:
    with ray_of_its_own():
        yield


@pytest.fixture(params=list(ENGINES))
def engine(request: pytest.FixtureRequest) -> list[str]:
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    return ENGINES[request.param]


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of tones of several lengths, and two files that fail."""
    folder = tmp_path_factory.mktemp("sounds")
    for i in range(40):
        name, hz = ("low", 300.0) if i % 2 else ("high", 3000.0)
        write(folder / name / f"{i:02d}.wav", tone(1.0 + i % 3, 16_000, hz=hz * (1 + i / 100)), 16_000)
    (folder / "low" / "empty.wav").touch()
    (folder / "high" / "text.wav").write_text("not a sound")
    return folder


@pytest.fixture(scope="module")
def model(sounds: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model of the MFCCs of those tones, and the store it was made from."""
    folder = tmp_path_factory.mktemp("model")
    for line in (
        ["ingest", "folder", sounds, "--out", folder / "clips"],
        ["embed", folder / "clips", "--encoder", "mfcc", "--out", folder / "emb"],
        ["train", folder / "emb", "--head", "logistic", "--protocol", "none", "--out", folder / "model"],
    ):
        with pytest.raises(SystemExit) as left:
            main([*map(str, line)])
        assert not left.value.code
    return folder


def test_embed(engine: list[str], model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(
        capsys, "embed", model / "clips", "--encoder", "mfcc", "--out", tmp_path / "emb", *engine, "--json"
    )
    said = json.loads(out)
    assert (code, said["embedded"], said["failed"]) == (0, 40, {"empty": 1, "notaudio": 1})
    assert parts_of(tmp_path / "emb") == parts_of(model / "emb") and "42/42" in err


COMPARE = ["--heads", "svc,cnn", "--set", "svc.costs=[1.0]", "--set", "svc.gammas=[0.1]", "--seeds", "2", "--json"]


@pytest.fixture(scope="module")
def compared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store, and what this process makes of it."""
    folder = tmp_path_factory.mktemp("compared")
    store = generated_store(folder / "emb", n=40)
    with pytest.raises(SystemExit):
        main(["compare", str(store), *COMPARE, "--out", str(folder / "here")])
    return folder


def test_compare(engine: list[str], compared: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, _ = run(capsys, "compare", compared / "emb", *COMPARE, "--out", tmp_path, *engine)
    assert code == 0
    tables, results = [], []
    for folder in (compared / "here", tmp_path):
        said = json.loads((folder / "compare.json").read_text())
        assert [row["head"] for row in said["heads"] if row["refused"]] == ["cnn"]
        tables.append([{k: v for k, v in row.items() if not k.endswith("_s")} for row in said["heads"]])
        results.append({path.name: np.load(path)["scores"] for path in (folder / "results").iterdir()})
    assert tables[0] == tables[1]
    assert results[0].keys() == results[1].keys() and len(results[0]) == 10
    assert all(np.array_equal(results[0][name], results[1][name]) for name in results[0])


def test_predict(engine: list[str], model: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ("predict", model / "model", sounds / "low", sounds / "high", sounds / "low" / "01.wav")
    here, (code, out, err) = (run(capsys, *line, "--csv", *more) for more in ([], engine))
    assert (code, out) == here[:2] == (1, out)
    assert set(here[2].splitlines()) <= set(err.splitlines()) and "2 of 43 files" in here[2]
    assert "43/43" in err and "43/43" not in here[2]
    assert len(out.splitlines()) == 1 + 41 and out.splitlines()[1].split(",")[0].endswith("low/01.wav")


def test_a_model_that_cannot_be_loaded_is_one_line(
    ray_cluster: None, model: Path, sounds: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(model / "model", tmp_path / "broken")
    (tmp_path / "broken" / "head.npz").write_bytes(b"nonsense")
    code, out, err = run(capsys, "predict", tmp_path / "broken", sounds, *ENGINES["ray"])
    assert (code, out) == (1, "") and "head.npz: is damaged" in err.splitlines()[-1]
