"""The `earshot` command: finds the subcommand, turns expected errors into one line and an exit code."""

import codecs
import importlib
import io
import json
import logging
import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import Any

import click

from app.signals import heeding_signals
from ingest.counted import counted
from ingest.errors import EarshotError

COMMANDS = {
    "demo": "The whole road on this machine, nothing to download.",
    "doctor": "What works on this machine, what would fail, how to mend it.",
    "weights": "The encoders' official weight files: list, fetch, verify.",
    "ingest": "Sounds in: AudioSet's segments, labelled folders, released features.",
    "embed": "Audio -> an embedding store, resumable.",
    "export": "A store -> AudioSet tfrecords, plain Parquet or npz.",
    "plot": "What the features see of a sound, as a picture.",
    "train": "A store -> a model with honest numbers and a report.",
    "compare": "Several heads on the same rows and splits, in one table.",
    "evaluate": "Measure a model on a labelled store.",
    "predict": "What is in these sounds, per ten seconds.",
    "recipe": "Known problems end to end: data, heads, table, report.",
    "models": "Models ready to use: list, make without training, pack.",
    "app": "A page in the browser that listens, live and to recordings.",
    "serve": "Predictions over HTTP and WebSocket.",
}
"""Subcommand -> what `earshot --help` says of it. It is the click command named `command` in app/commands/<name>.py,
imported only when it is called: the list of commands needs no more than this table."""


class _LazyGroup(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"app.commands.{cmd_name}").command
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="earshot")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def earshot(debug: bool) -> None:
    """Audio into answers: datasets, embeddings, trained heads, predictions.

    \b
    Start here:
      earshot demo                                    the whole road in under three minutes, no downloads needed
      earshot ingest folder sounds/ --out clips       a folder per class -> a manifest
      earshot embed clips --encoder yamnet --out emb  audio -> embeddings
      earshot train emb --head attention --out model  embeddings -> a head, with honest numbers
      earshot predict model street.wav                what is in it, per ten seconds
    """


def main(argv: list[str] | None = None) -> None:
    """Run the command line and leave with 0, 1 (the work failed), 2 (the user's mistake), 130 (interrupted) or 143
    (asked to end by SIGTERM)."""
    logging.basicConfig(format="%(levelname)s: %(message)s")
    _print_any_name()
    argv = sys.argv[1:] if argv is None else argv
    options = argv[: argv.index("--")] if "--" in argv else argv  # behind it everything is a name
    debug = "--debug" in options
    argv = [arg for arg in options if arg != "--debug"] + argv[len(options) :]
    terminated: list[int] = []
    try:
        with heeding_signals(terminated):
            result = _run(argv)
        sys.exit(result or 0)
    except click.ClickException as error:
        _leave(error.format_message().replace("\n", " "), 2, debug)
    except (click.Abort, KeyboardInterrupt):
        went_on = "go on where it stopped" if argv[:1] in (["embed"], ["ingest"]) else "do it anew"
        why, code = ("ended by SIGTERM", 143) if terminated else ("interrupted", 130)
        _leave(f"{why}; nothing half-done is left, run the same command again to {went_on}", code, debug)
    except BrokenPipeError:  # the reader of our output has gone: `earshot ... | head`
        sys.stderr.close()
        sys.exit(0)
    except EarshotError as error:
        _leave(str(error), error.exit_code, debug)
    except OSError as error:  # of the disk: a folder that cannot be written, no room
        where = f"{error.filename}: " if error.filename else ""
        reason = error.strerror or str(error).replace("\n", " ")
        _leave(f"{where}{reason}; check that the place exists, may be written and has room", 1, debug)


def _print_any_name() -> None:
    """The name of a file may be no UTF-8: it goes out byte for byte, and must not end the work half way."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        utf8 = codecs.lookup(sys.stdout.encoding).name == "utf-8"
        sys.stdout.reconfigure(errors="surrogateescape" if utf8 else "backslashreplace")


def _run(argv: list[str]) -> int | None:
    """A command group without a command shows its help."""
    try:
        result: int | None = earshot.main(args=argv, prog_name="earshot", standalone_mode=False)
        return result
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 0


def said_as_json(words: Sequence[str]) -> Any:
    """What an `earshot` command, run in this process, prints under --json. Its errors are raised as they are."""
    printed = io.StringIO()
    with redirect_stdout(printed):
        earshot.main(args=[*words, "--json"], prog_name="earshot", standalone_mode=False)
    return json.loads(printed.getvalue())


def end_with_failures(failed: int, of: int, what: str) -> None:
    """Leave with 1 where a file failed; say how many did, unless it was the only one, of which all is said.

    Args:
        what: could not be done with them, e.g. "drawn".
    """
    if failed and of == 1:
        raise click.exceptions.Exit(EarshotError.exit_code)
    if failed:
        raise EarshotError(f"{failed:,} of {counted(of, 'file')} could not be {what}; each is named above")


def _leave(message: str, code: int, debug: bool, **_: Any) -> None:
    if debug:
        raise  # noqa: PLE0704 - called from an except clause only
    click.echo(f"earshot: {message}", err=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
