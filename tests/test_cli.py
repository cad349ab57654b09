"""The command's manners: one line per mistake, the right exit code, nothing but JSON under --json."""

import importlib
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.cli import COMMANDS

ROOT = Path(__file__).parent.parent


def run(*args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "app.cli", *args], cwd=ROOT, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["nonsense"], "nonsense"),
        (["embed"], "Missing argument"),
        (["embed", "/no/such/folder", "--encoder", "yamnet", "--out", "emb"], "/no/such/folder"),
        (["embed", ".", "--encoder", "wavenet", "--out", "emb"], "wavenet"),
        (["train", "/no/such/store", "--out", "model"], "/no/such/store"),
        (["predict", "/no/such/model", "a.wav"], "/no/such/model"),
        (["weights", "fetch", "resnet"], "resnet"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(args: list[str], says: str) -> None:
    done = run(*args)
    assert done.returncode == 2
    assert done.stdout == ""
    assert says in done.stderr
    assert done.stderr.startswith("earshot: ")
    assert done.stderr.count("\n") == 1


def test_an_error_of_the_disk_is_one_line_and_exit_1(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    done = run("demo", "--out", str(tmp_path / "file" / "demo"))
    assert done.returncode == 1
    assert str(tmp_path / "file") in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
@pytest.mark.parametrize("args", [["models"], ["models", "list"]])
def test_an_answer_that_finds_no_room_is_one_line_and_exit_1(args: list[str]) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", *args],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert done.returncode == 1 and done.stderr.count("\n") == 1, done.stderr
    assert "No space left on device" in done.stderr


def test_debug_adds_the_traceback() -> None:
    assert "Traceback" in run("--debug", "predict", "/no/such/model", "a.wav").stderr


def test_no_arguments_show_the_help() -> None:
    done = run()
    assert done.returncode == 0
    assert "earshot demo" in done.stdout


def test_what_a_group_says_of_its_commands_is_not_cut_off() -> None:
    commands = {name: importlib.import_module(f"app.commands.{name}").command for name in COMMANDS}
    groups = [name for name, command in commands.items() if isinstance(command, click.Group)]
    assert "ingest" in groups
    for name in groups:
        said = CliRunner().invoke(commands[name], ["--help"], terminal_width=80).output.partition("Commands:")[2]
        assert said and "..." not in said, name
