"""Which models can be chosen, and why others cannot."""

import json
import shutil
from pathlib import Path

import pytest

from app.page.models import find_models, look_at
from app.page.serving import Serving, check
from app.page.settings import PageSettings
from ingest.errors import UsageError
from tests.app.test_train_predict import generated_store, run


def bundle(folder: Path, capsys: pytest.CaptureFixture[str], encoder: str = "yamnet") -> Path:
    store = generated_store(folder / "emb", n=60)
    small = ["--set", "costs=[1.0]", "--set", "gammas=[0.1]"]
    code, _, error = run(
        capsys, "train", store, "--head", "svc", "--protocol", "none", *small, "--out", folder / "model"
    )
    assert not code, error
    said = json.loads((folder / "model" / "model.json").read_text())
    said["encoder"]["encoder"] = encoder
    (folder / "model" / "model.json").write_text(json.dumps(said))
    return folder / "model"


def test_models_are_found_once_and_say_what_they_lack(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EARSHOT_WEIGHTS", str(tmp_path / "weights"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    named = bundle(tmp_path / "models", capsys)
    weights = tmp_path / "weights"
    assert "weights fetch yamnet.h5" in look_at(named).missing
    weights.mkdir()
    (weights / "yamnet.h5").write_bytes(b"not looked into")
    assert look_at(named).missing == ""
    assert look_at(named).summary == "3 sounds, svc on yamnet"
    for name, change in (("torn", "{"), ("newer", '{"format_version": 99}')):
        shutil.copytree(named, named.parent / name)
        (named.parent / name / "model.json").write_text(change)
    shutil.copytree(named, named.parent / "no-head")
    (named.parent / "no-head" / "head.npz").unlink()
    found = find_models(PageSettings(models=(named,)), searched=[named.parent])
    assert [model.name for model in found] == ["model", "newer", "no-head", "torn"]
    assert "head.npz is missing" in found[2].missing
    assert "update Earshot" in found[1].missing
    assert "damaged" in found[3].missing


def test_the_command_refuses_what_cannot_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UsageError, match=r"--model: .*holds no model.json"):
        check(PageSettings(models=(tmp_path,)), Serving(port=1))
    with pytest.raises(UsageError, match="--cert"):
        check(PageSettings(), Serving(port=1, cert=tmp_path / "c.pem"))
    with pytest.raises(UsageError, match=r"there is no file .*c.pem"):
        check(PageSettings(), Serving(port=1, cert=tmp_path / "c.pem", key=tmp_path / "k.pem"))
