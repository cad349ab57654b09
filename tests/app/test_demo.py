"""The demo, run as a newcomer runs it: no weights, no arguments but where to put things."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from app.citysounds import KINDS

ROOT = Path(__file__).parents[2]
CHANCE = 1 / len(KINDS)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_whole_road(tmp_path: Path) -> None:
    environment = os.environ | {
        "PYTHONPATH": str(ROOT),
        "EARSHOT_WEIGHTS": str(tmp_path),
        "XDG_CACHE_HOME": str(tmp_path),
    }
    command = [sys.executable, "-m", "app.cli", "demo", "--out", "out", "--json"]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    for head, metrics in result["results"].items():
        assert metrics["n"] == 80, head
        # Far from chance, and not so good that the held-out sounds could be the training sounds.
        assert 5 * CHANCE < metrics["balanced_accuracy"] <= 1
        assert (tmp_path / "out" / f"model-{head}" / "report.html").stat().st_size > 10_000
    assert set(result["prediction"]["files"][0]["windows"][0]["scores"]) == set(KINDS)
    shown = [line for line in done.stderr.splitlines() if line.startswith("$ earshot ")]
    assert [line.split()[2] for line in shown] == ["ingest", "embed"] * 2 + ["train", "evaluate"] * 2 + ["predict"]
    train, heldout = (
        json.loads((tmp_path / "out" / f"{s}.emb" / "spec.json").read_text()) for s in ("train", "heldout")
    )
    assert train["spec"] == heldout["spec"]
