"""The shape of the house: rooms import leftwards only, nothing heavy at start-up, docs speak of real commands."""

import ast
import graphlib
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import click
import pytest

from app.cli import COMMANDS, earshot

ROOT = Path(__file__).parent.parent
ROOMS = ("ingest", "embeddings", "classifiers", "app")
HEAVY = (
    "tensorflow",
    "keras",
    "tf_keras",
    "tensorflow_hub",
    "librosa",
    "numba",
    "streamlit",
    "yt_dlp",
    "sklearn",
    "xgboost",
    "matplotlib",
    "pandas",
    "ray",
)
MODULES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported_rooms(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.split(".")[0])
    return found & {*ROOMS, "tests", "bench"}


def imported_modules(path: Path) -> set[str]:
    """Names of modules, and what may be one: `from a.b import c` gives a.b and a.b.c."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return found


@pytest.mark.parametrize("path", MODULES, ids=module_name)
def test_a_room_imports_only_itself_and_rooms_to_its_left(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    allowed = set(ROOMS[: ROOMS.index(room) + 1])
    assert imported_rooms(path) <= allowed, f"{room} may import {sorted(allowed)}"


@pytest.mark.parametrize("depth", [2, 9], ids=["folders", "files"])
def test_nothing_imports_itself_in_a_circle(depth: int) -> None:
    """Neither files nor the folders of a room, late imports and those for types included."""
    names = {module_name(path) for path in MODULES}
    graph: dict[str, set[str]] = {}
    for path in MODULES:
        mine = ".".join(module_name(path).split(".")[:depth])
        theirs = {".".join(name.split(".")[:depth]) for name in imported_modules(path) & names}
        graph.setdefault(mine, set()).update(theirs - {mine})
    graphlib.TopologicalSorter(graph).prepare()


def test_data_holds_no_code() -> None:
    assert not list((ROOT / "data").rglob("*.py"))


def test_importing_every_module_brings_in_nothing_heavy() -> None:
    names = [module_name(path) for path in MODULES]
    code = f"import importlib, sys\nfor n in {names!r}: importlib.import_module(n)\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not set(done.stdout.split()) & set(HEAVY)


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        module_name(path)
        for path in MODULES
        if path.stat().st_size and not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not silent


def test_help_answers_in_half_a_second() -> None:
    def seconds() -> float:
        before = os.times()
        subprocess.run([sys.executable, "-m", "app.cli", "--help"], cwd=ROOT, capture_output=True, check=True)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    # Of the processor, and the best of several: what the command costs, not what else keeps the machine busy.
    assert min(seconds() for _ in range(5)) < 0.5


def leaf_commands(command: click.Command, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        children = [(name, command.get_command(context, name)) for name in command.list_commands(context)]
        return [leaf for name, child in children if child for leaf in leaf_commands(child, (*path, name))]
    return [(path, command)]


@pytest.mark.parametrize(
    ("path", "command"), leaf_commands(earshot), ids=lambda v: " ".join(v) if isinstance(v, tuple) else ""
)
def test_every_command_has_help_with_an_example(path: tuple[str, ...], command: click.Command) -> None:
    text = command.get_help(click.Context(command, info_name=" ".join(["earshot", *path])))
    assert f"earshot {' '.join(path)} " in text.split("Usage:")[1].split("\n", 1)[1], (
        f"no example in the help of {path}"
    )
    for parameter in command.params:
        if isinstance(parameter, click.Option) and parameter.name != "help":
            assert parameter.help, f"{path}: {parameter.name} says nothing"


def commands_in(page: Path) -> list[str]:
    blocks = re.findall(r"```(?:sh|console)\n(.*?)```", page.read_text(), flags=re.DOTALL)
    lines = [line.removeprefix("$ ") for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    return [line for line in lines if line.startswith("earshot ")]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_in_the_docs_exists_with_its_options(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = "ingest.places.arrow_folder._connect"  # the buckets of the pages
    monkeypatch.setattr(made_up, lambda address, shown: (None, ""))
    for line in commands_in(page):
        words = shlex.split(line, comments=True)[1:]
        if words[:1] in (["--help"], ["--version"]):
            continue
        assert words[0] in COMMANDS, line
        context, command = click.Context(earshot), earshot.get_command(click.Context(earshot), words.pop(0))
        while isinstance(command, click.Group):
            command = command.get_command(context, words.pop(0))
        assert command is not None, line
        command.make_context(line, words, resilient_parsing=True)


def test_every_page_is_linked_from_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert not [page.name for page in PAGES[1:] if f"docs/{page.name}" not in readme and page.name != "README.md"]


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
