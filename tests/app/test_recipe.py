"""Recipes: every file is whole, the runner skips what is done, says what failed, and goes on after a kill."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from app.cli import earshot, main
from app.recipes import run as recipe_run
from app.recipes.recipe import Recipe, Step, kind_of, read_recipe, recipe_names
from app.recipes.report import render_recipe, table_rows, text_table
from app.recipes.run import RunSettings, StepResult, run_recipe
from classifiers.heads import HEADS
from embeddings.encoders import ENCODERS
from embeddings.weights import WEIGHTS
from ingest.audioset.class_sets import find_class_set
from ingest.errors import EarshotError, UsageError
from tests.app.recipe_data import urbansound8k, vocalsound
from tests.app.test_train_predict import generated_store

ROOT = Path(__file__).parent.parent.parent
PLANS = [
    (name, kind, quick)
    for name in recipe_names()
    for kind in sorted({s.only_for or "audio" for s in read_recipe(name).steps})
    for quick in (False, True)
]

SMALL = """
title = "Small"
problem = "Three generated classes."
data = "a folder with a store"

[[steps]]
say = "a quick head"
run = "train {data}/emb --head svc --set costs=[1.0] --set gammas=[1.0] --protocol split --out {out}/one"
row = "one"

[[steps]]
say = "the same rows again"
run = "evaluate {out}/one {data}/emb --report {out}/one.html"
row = "one"

[[steps]]
say = "a head of two classes"
run = "train {data}/emb --classes Dog;Bird --head svc --set costs=[1.0] --set gammas=[1] --protocol split --out {out}/b"
quick = "--seed 1"
row = "two"
"""


@pytest.fixture
def small(tmp_path: Path) -> tuple[Path, Path]:
    """A recipe and its data."""
    (tmp_path / "data").mkdir()
    generated_store(tmp_path / "data" / "emb")
    path = tmp_path / "small.toml"
    path.write_text(SMALL)
    return path, tmp_path / "data"


def run(recipe: Recipe, data: Path, out: Path, quick: bool = False) -> list[StepResult]:
    return run_recipe(
        recipe,
        RunSettings(data, out, quick),
        say=lambda line: None,
    )


def states(results: list[StepResult]) -> list[str]:
    return [r.state for r in results]


@pytest.mark.parametrize(("name", "kind", "quick"), PLANS)
def test_every_command_of_a_recipe_is_one_and_reads_only_what_was_made_before(name, kind, quick):
    steps = read_recipe(name).plan(data="DATA", out="OUT", kind=kind, quick=quick)
    made: set[str] = set()
    for step in steps:
        words = list(step.words)
        context, command = click.Context(earshot), earshot.get_command(click.Context(earshot), words.pop(0))
        while isinstance(command, click.Group):
            command = command.get_command(context, words.pop(0))
        assert command is not None, step.words
        said = command.make_context("earshot", [*words, "--json"]).params
        own = {word for word in step.words if word.startswith("OUT/")} - {step.makes}
        assert own <= made, f"{step.words} reads what no step made"
        assert step.makes and step.makes not in made, f"{step.words} makes nothing, or what another makes"
        made.add(step.makes)
        if classes := said.get("classes"):
            assert find_class_set(classes) or ";" in classes
        heads = [said["head"]] if "head" in said else said.get("heads", "").split(",")
        assert {head for head in heads if head} <= set(HEADS)
        assert said.get("encoder") is None or said["encoder"] in ENCODERS
        assert set(step.needs) <= set(WEIGHTS)
    assert any(step.row for step in steps)


def test_a_run_ends_in_a_table_and_the_next_one_keeps_it_all(small, tmp_path):
    recipe, data = read_recipe(str(small[0])), small[1]
    first = run(recipe, data, tmp_path / "out")
    assert states(first) == ["done", "done", "done"]
    again = run(recipe, data, tmp_path / "out")
    assert states(again) == ["kept", "kept", "kept"]
    rows = table_rows(again, tmp_path / "out")
    assert rows == table_rows(first, tmp_path / "out")
    assert [(row.name, row.n) for row in rows] == [("one", 18), ("one", 90), ("two", 12)]
    assert all(row.accuracy is not None and row.accuracy > 0.8 for row in rows)
    assert text_table(rows).count("\n  one ") == 2
    assert [row.measured for row in rows] == ["one fifth", "all of emb", "one fifth"]
    page = render_recipe(recipe, rows, again)
    assert "--quick" not in page and "the numbers are worth less" in render_recipe(recipe, rows, again, quick=True)
    assert 'href="one/report.html"' in page
    assert "earshot train" in page and "http" not in page


def test_what_changed_or_vanished_is_done_again_with_all_that_reads_it(small, tmp_path):
    recipe, data, out = read_recipe(str(small[0])), small[1], tmp_path / "out"
    run(recipe, data, out)
    assert states(run(recipe, data, out, quick=True)) == ["kept", "kept", "done"]
    (out / "one" / "model.json").unlink()
    for path in (out / "one").iterdir():
        path.unlink()
    (out / "one").rmdir()
    assert states(run(recipe, data, out, quick=True)) == ["done", "done", "kept"]


def test_a_kill_between_a_step_done_again_and_its_reader_leaves_no_old_result(small, tmp_path, monkeypatch):
    class Killed(BaseException):
        pass

    recipe, data, out = read_recipe(str(small[0])), small[1], tmp_path / "out"
    run(recipe, data, out)
    shutil.rmtree(out / "one")
    with pytest.raises(Killed), monkeypatch.context() as patch:
        write = recipe_run._write_record

        def write_and_die(*arguments: object) -> None:
            write(*arguments)
            raise Killed

        patch.setattr(recipe_run, "_write_record", write_and_die)
        run(recipe, data, out)
    assert states(run(recipe, data, out)) == ["kept", "done", "kept"]
    assert states(run(recipe, data, out)) == ["kept", "kept", "kept"]


def test_a_step_that_fails_says_why_and_only_what_needs_it_is_left_out(small, tmp_path, capsys):
    small[0].write_text(SMALL.replace("--set costs=[1.0] ", "--classes Dog;Jackhammer ", 1))
    results = run(read_recipe(str(small[0])), small[1], tmp_path / "out")
    assert states(results) == ["failed", "left out", "done"]
    assert "Jackhammer" in results[0].problem
    with pytest.raises(SystemExit) as left:
        main(["recipe", "run", str(small[0]), "--data", str(small[1]), "--out", str(tmp_path / "out")])
    assert left.value.code == 1
    printed = capsys.readouterr()
    assert "Jackhammer" in printed.out and "1 of 3 steps failed" in printed.err.splitlines()[-1]
    said = json.loads((tmp_path / "out" / "results.json").read_text())
    assert [row["problem"] != "" for row in said["rows"]] == [True, True, False]
    assert "Jackhammer" in (tmp_path / "out" / "report.html").read_text()


def test_without_weights_their_steps_are_left_out(tmp_path, monkeypatch):
    monkeypatch.setenv("EARSHOT_WEIGHTS", str(tmp_path / "nowhere"))
    monkeypatch.setattr("app.recipes.run.look_up", lambda name, folder: None)
    monkeypatch.setattr("app.recipes.run.fetch", refuse)
    steps = (Step("s", ("embed", "{data}", "--encoder", "yamnet", "--out", "{out}/y"), needs=("yamnet.h5",)),)
    (result,) = run(Recipe("r", "t", "p", "d", steps), tmp_path, tmp_path / "out")
    assert (result.state, result.problem) == ("left out", "not to be had")


def refuse(*_: object, **__: object) -> None:
    from ingest.errors import WeightsError

    raise WeightsError("not to be had")


def test_one_folder_is_for_one_recipe_on_one_set_of_data(small, tmp_path):
    recipe, data, out = read_recipe(str(small[0])), small[1], tmp_path / "out"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").touch()
    with pytest.raises(UsageError, match="no recipe's"):
        run(recipe, data, tmp_path / "mine")
    run(recipe, data, out)
    with pytest.raises(UsageError, match="other data"):
        run(recipe, tmp_path, out)
    with pytest.raises(UsageError, match="nothing at"):
        run(recipe, tmp_path / "nowhere", out)


@pytest.mark.slow
def test_a_kill_loses_only_the_step_it_hit(small, tmp_path):
    out = tmp_path / "out"
    argv = [sys.executable, "-m", "app.cli", "recipe", "run", str(small[0]), "--data", str(small[1]), "--out", str(out)]
    process = subprocess.Popen(argv, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not (out / "steps" / "train-one.json").exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    results = run(read_recipe(str(small[0])), small[1], out)
    assert results[0].state == "kept"
    assert "done" in states(results)
    assert all(r.result for r in results)
    assert not [path for path in out.iterdir() if path.name.startswith(".")]


def test_the_kind_of_data_is_seen(tmp_path):
    with pytest.raises(UsageError, match="--data"):
        kind_of(tmp_path / "no")
    assert kind_of(tmp_path) == "audio"
    (tmp_path / "bal_train").mkdir()
    (tmp_path / "bal_train" / "aa.tfrecord").touch()
    assert kind_of(tmp_path) == kind_of(tmp_path / "bal_train" / "aa.tfrecord") == "features"


@pytest.mark.parametrize(
    "text",
    [
        "no toml",
        'title = "t"',
        SMALL + '\nsoon = "x"\n',
        SMALL.replace("say", "tell"),
        *(SMALL.replace("--seed 1", quick) for quick in ("--seed", "seed 1", "--seed --set", "--seed 1 2")),
        SMALL.replace("--out {out}/b", "--out {out}/b --seed"),  # quick would change a value that is not there
    ],
)
def test_what_is_no_recipe_is_named(tmp_path, text):
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"bad\.toml"):
        read_recipe(str(path))
    with pytest.raises(UsageError, match="city-sounds"):
        read_recipe("nonsense")
    with pytest.raises(EarshotError):
        read_recipe("../recipes/city-sounds")


def test_list_and_show(capsys):
    for argv in (["list"], ["show", "urban-sounds"]):
        with pytest.raises(SystemExit) as left:
            main(["recipe", *argv])
        assert not left.value.code
    printed = capsys.readouterr().out
    assert all(name in printed for name in recipe_names())
    assert "earshot embed OUT/clips --encoder yamnet --out OUT/yamnet" in printed
    with pytest.raises(SystemExit):
        main(["recipe", "show", "city-sounds", "--json"])
    assert json.loads(capsys.readouterr().out)["steps"][0]["command"].startswith("earshot ingest features DATA")


def test_run_without_data_says_where_it_is_to_be_had(capsys):
    with pytest.raises(SystemExit) as left:
        main(["recipe", "run", "urban-sounds"])
    assert left.value.code == 2
    assert "urbansounddataset" in capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # Keras 3.15's own
@pytest.mark.parametrize(("name", "make"), [("urban-sounds", urbansound8k), ("human-sounds", vocalsound)])
def test_a_recipe_on_a_small_copy_of_its_data(name, make, shared, tmp_path, capsys):
    data = make(tmp_path / "data")
    argv = ["recipe", "run", name, "--data", str(data), "--out", str(tmp_path / "out"), "--quick", "--json"]
    with pytest.raises(SystemExit) as left:
        main([*argv, "--weights", str(shared / "models")])
    printed = capsys.readouterr()
    assert not left.value.code, printed.err[-2000:]
    said = json.loads(printed.out)
    assert {step["state"] for step in said["steps"]} == {"done"}
    assert not [row["problem"] for row in said["rows"] if row["problem"]]
    assert max(row["accuracy"] for row in said["rows"]) > 0.3
    assert (tmp_path / "out" / "report.html").stat().st_size > 2000
