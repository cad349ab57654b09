"""What can be held of the Dockerfile without a daemon: its files are there, and its command is one that we take."""

import json
from pathlib import Path

import click

from app.cli import earshot

ROOT = Path(__file__).parents[3]
LINES = (ROOT / "Dockerfile").read_text().splitlines()


def instruction(name: str) -> list[str]:
    return [line.partition(" ")[2] for line in LINES if line.startswith(f"{name} ")]


def test_what_it_copies_is_there_and_not_ignored() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    for copied in instruction("COPY"):
        *sources, _ = copied.split()
        assert all((ROOT / source).exists() and source not in ignored for source in sources)


def test_its_command_is_ours() -> None:
    (entry,), (default,) = instruction("ENTRYPOINT"), instruction("CMD")
    program, name, *words = [*json.loads(entry), *json.loads(default)]
    assert program == "earshot"
    command = earshot.get_command(click.Context(earshot), name)
    assert command is not None
    with command.make_context(name, words) as context:
        assert context.params["address"] == "0.0.0.0"
        assert context.params["models"] == (Path("/model"),)
    assert str(context.params["port"]) in instruction("EXPOSE")
