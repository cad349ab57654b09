"""The command's manners: one line per mistake, the right exit code, nothing but JSON under --json."""

import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile
from click.testing import CliRunner

from app.cli import COMMANDS, main
from app.options.places import AudioType, NameType, StoreType
from ingest.errors import UsageError

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
        (["serve", "--model", "m", "--max-mb", "nan"], "--max-mb"),
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


@pytest.mark.skipif(sys.platform != "linux", reason="only there a name may be any bytes")
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_a_name_that_is_no_text_of_the_terminal_is_printed_all_the_same(encoding: str, tmp_path: Path) -> None:
    out = os.fsencode(tmp_path / "鳥") + b"\xff"
    args = [sys.executable, "-m", "app.cli", "models", "pack", "city10", "--out", out]
    env = os.environ | {"PYTHONIOENCODING": f"{encoding}:strict"}
    done = subprocess.run(args, cwd=ROOT, env=env, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(out if encoding == "utf-8" else os.fsencode(tmp_path))


@pytest.mark.parametrize(
    "args", [["predict", "city10", ""], ["plot", "", "--out", "x.png"], ["train", "", "--out", "m"]]
)
def test_nothing_is_not_taken_for_the_folder_one_is_in(args: list[str]) -> None:
    done = run(*args)
    assert (done.returncode, done.stdout) == (2, "")
    assert "names no file and no folder" in done.stderr


def places() -> Iterator[tuple[str, click.Parameter, click.ParamType]]:
    """Every argument and option that names a place, with the name of its command."""

    def walk(name: str, command: click.Command) -> Iterator[tuple[str, click.Parameter, click.ParamType]]:
        for inner, below in command.commands.items() if isinstance(command, click.Group) else ():
            yield from walk(f"{name} {inner}", below)
        for parameter in command.params:
            if isinstance(parameter.type, click.Path | StoreType | AudioType | NameType):
                yield name, parameter, parameter.type

    for name in COMMANDS:
        yield from walk(name, importlib.import_module(f"app.commands.{name}").command)


def test_no_command_takes_nothing_for_a_place() -> None:
    """`--out "$UNSET"` must not write into the folder one is in."""
    found = list(places())
    assert len(found) > 40
    for name, parameter, kind in found:
        with pytest.raises((click.BadParameter, UsageError), match=r"names (no file and no folder|nothing)"):
            raise AssertionError(f"{name} {parameter.name}: {kind.convert('', parameter, None)!r}")


def test_a_folder_of_weights_that_is_not_there_is_not_passed_over(tmp_path: Path) -> None:
    found = [(name, kind) for name, parameter, kind in places() if "--weights" in parameter.opts]
    assert len(found) > 8
    (tmp_path / "file").touch()
    for _, kind in found:
        for place in ("none", "file"):
            with pytest.raises(click.BadParameter, match="is no folder"):
                kind.convert(str(tmp_path / place), None, None)
        assert kind.convert(str(tmp_path), None, None) == tmp_path


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


def test_the_name_that_was_asked_for_is_told_and_not_that_of_our_temporary_file(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "sound.wav", np.zeros(1600), 16_000)
    picture = tmp_path / f"{'long' * 70}.png"
    done = run("plot", str(tmp_path / "sound.wav"), "--out", str(picture))
    assert done.returncode == 1
    assert done.stderr.startswith(f"earshot: {picture}: File name too long; ")


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


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("ingest folder sounds --layout esc50 --out o", "in this layout a name is fold-id-take"),
        ("ingest folder sounds --layout vocalsound --out o", "in this layout a name is speaker_collection_sound"),
        ("ingest folder sounds --layout urbansound8k --out o", "holds no metadata/UrbanSound8K.csv"),
        ("ingest folder sounds --layout fsd50k --out o", "holds no audio in the layout fsd50k"),
        ("ingest folder sounds --layout csv --out o", "must hold one CSV file"),
        ("ingest folder table --out o", "fold must be a whole number"),
        ("ingest youtube notes.csv --out o", "holds no segment"),
        ("ingest features sounds --out o", "holds no *.tfrecord"),
        ("embed notes.parquet --encoder handcrafted --out o", "not a manifest"),
        ("embed other.parquet --encoder handcrafted --out o", "not a manifest"),
        ("recipe run notes.toml --out o", "is no recipe"),
        ("train sounds --out o", "is no embedding store"),
        ("predict sounds sounds", "is no model"),
    ],
)
def test_a_file_or_folder_of_the_wrong_kind_is_the_users_mistake(
    args: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sounds/Dog").mkdir(parents=True)
    (tmp_path / "table").mkdir()
    soundfile.write("sounds/Dog/a.wav", np.zeros(1600), 16_000)
    Path("table/t.csv").write_text("path,label,fold\n../sounds/Dog/a.wav,Dog,one\n")
    for suffix in ("csv", "parquet", "toml"):
        Path(f"notes.{suffix}").write_text("hello")
    pq.write_table(pa.table({"key": ["a"]}), "other.parquet")
    with pytest.raises(SystemExit) as left:
        main(args.split())
    assert left.value.code == 2
    assert message in capsys.readouterr().err.splitlines()[-1]
