"""The demo, run as a newcomer runs it: no weights, no arguments but where to put things."""

import json
from pathlib import Path

import pytest

from app.citysounds import KINDS
from app.cli import main

CHANCE = 1 / len(KINDS)


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3.15's own
def test_the_whole_road(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARSHOT_WEIGHTS", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(SystemExit) as left:
        main(["demo", "--out", "out", "--json"])
    said = capsys.readouterr()
    assert not left.value.code, said.err
    result = json.loads(said.out)
    for head, metrics in result["results"].items():
        assert metrics["n"] == 80, head
        # Far from chance, and not so good that the held-out sounds could be the training sounds.
        assert 5 * CHANCE < metrics["balanced_accuracy"] <= 1
        assert (tmp_path / "out" / f"model-{head}" / "report.html").stat().st_size > 10_000
    assert set(result["prediction"]["files"][0]["windows"][0]["scores"]) == set(KINDS)
    shown = [line for line in said.err.splitlines() if line.startswith("$ earshot ")]
    assert [line.split()[2] for line in shown] == ["ingest", "embed"] * 2 + ["train", "evaluate"] * 2 + ["predict"]
    train, heldout = (
        json.loads((tmp_path / "out" / f"{s}.emb" / "spec.json").read_text()) for s in ("train", "heldout")
    )
    assert train["spec"] == heldout["spec"]
