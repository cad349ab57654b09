"""`earshot weights` as people and programs read it."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from app.commands.weights import command
from embeddings.weights import WEIGHTS
from ingest.errors import UsageError, WeightsError


@pytest.fixture(autouse=True)
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("embeddings.weights.cache_folder", lambda: tmp_path / "cache")
    monkeypatch.delenv("EARSHOT_WEIGHTS", raising=False)
    return tmp_path


def test_list_tells_what_is_there(sandbox: Path) -> None:
    (sandbox / "yamnet.h5").write_bytes(b"retrained")
    done = CliRunner().invoke(command, ["list", "--weights", str(sandbox)])
    assert done.exit_code == 0
    assert len(done.output.splitlines()) == len(WEIGHTS)
    assert "missing" in done.output
    assert "not official" in done.output


def test_list_as_json(sandbox: Path) -> None:
    done = CliRunner().invoke(command, ["list", "--json"])
    rows = json.loads(done.output)["weights"]
    assert [row["name"] for row in rows] == list(WEIGHTS)
    assert {row["state"] for row in rows} == {"missing"}
    assert {row["sha256"] for row in rows} == {file.sha256 for file in WEIGHTS.values()}


def test_verify_of_what_is_missing_fails() -> None:
    done = CliRunner().invoke(command, ["verify", "all", "--json"])
    assert isinstance(done.exception, WeightsError)
    report = json.loads(done.stdout)
    assert report["ok"] is False
    assert [check["seen"] for check in report["checks"]] == ["missing"] * len(WEIGHTS)
    assert f"`earshot weights fetch {' '.join(WEIGHTS)}`" in str(done.exception)


def test_an_encoders_name_means_all_that_it_needs_each_once() -> None:
    done = CliRunner().invoke(command, ["verify", "vggish-pca", "vggish", "yamnet.h5", "--json"])
    whats = [check["what"].split(":")[0].split()[0] for check in json.loads(done.stdout)["checks"]]
    assert whats == ["vggish_model.ckpt", "vggish_pca_params.npz", "yamnet.h5"]
    for name in ("wavenet", "handcrafted"):  # nobody's, and one that needs none
        done = CliRunner().invoke(command, ["fetch", name])
        assert isinstance(done.exception, UsageError)
        assert name in str(done.exception)


def test_verify_needs_the_other_file_too(sandbox: Path) -> None:
    (sandbox / "vggish_pca_params.npz").write_bytes(b"")
    done = CliRunner().invoke(command, ["verify", "vggish_pca_params.npz", "--weights", str(sandbox)])
    assert "needs vggish_model.ckpt" in done.output


def test_verify_of_shared_yamnet(shared: Path) -> None:
    """Not the official bytes, and it behaves as published: one check of four fails."""
    done = CliRunner().invoke(command, ["verify", "yamnet.h5", "--weights", str(shared / "models"), "--json"])
    checks = json.loads(done.stdout)["checks"]
    assert [check["ok"] for check in checks] == [False, True, True, True]


def test_a_file_that_is_no_weight_file_fails_its_self_check(sandbox: Path) -> None:
    (sandbox / "yamnet.h5").write_bytes(b"junk")
    done = CliRunner().invoke(command, ["verify", "yamnet.h5", "--weights", str(sandbox)])
    assert isinstance(done.exception, WeightsError)
    assert "not a Keras-2 weight file" in done.output
