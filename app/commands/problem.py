"""The options that say what is to be learned and how that is measured, shared by `earshot train` and `earshot compare`.

@problem_options("auto", "folds", "cv5")
def command(store: Path, problem: ProblemOptions, ...):
    settings = TrainSettings(**problem.settings(), head=head)
"""

import tomllib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import click

from app.commands.gathering import Decorator, gather
from app.commands.numbers import FiniteRange
from ingest.errors import UsageError

if TYPE_CHECKING:
    from classifiers.protocol import Protocol

MAX_SEED = 2**31 - 1
"""NumPy, scikit-learn and Keras take seeds below 2^32, and those of an ensemble's members are counted on from it."""


@dataclass(frozen=True, slots=True)
class ProblemOptions:
    """The options as given; see their help."""

    classes: str | None
    background: str
    keep: float
    protocol: "Protocol"
    seed: int
    min_sources: int

    def settings(self) -> dict[str, Any]:
        """As fields of `classifiers.train.ProblemSettings`."""
        return asdict(self) | {"background": _parse_background(self.background)}

    def words(self) -> list[str]:
        """What to type for the same problem."""
        words = ["--classes", self.classes] if self.classes else []
        words += ["--min-sources", str(self.min_sources)] if self.min_sources > 1 else []
        words += ["--background", self.background] if self.background != "0" else []
        return [*words, "--keep", f"{self.keep:g}", "--protocol", self.protocol, "--seed", str(self.seed)]


def problem_options(*protocols: "Protocol") -> Decorator[Any]:
    """Give a command these options; they arrive as one argument, `problem`."""
    return gather(
        "problem",
        ProblemOptions,
        click.option(
            "--classes",
            metavar="SET",
            help="A name in data/class_sets, a .toml file, or class names separated by ';'. Default: every label of "
            "the store.",
        ),
        click.option(
            "--min-sources",
            type=click.IntRange(min=1),
            default=1,
            show_default=True,
            metavar="N",
            help="Leave out classes with sounds of fewer recordings; with 2, every class that is left can be measured.",
        ),
        click.option(
            "--background",
            default="0",
            show_default=True,
            metavar="N|all",
            help="So many rows with none of the classes nor their relatives in the ontology teach what is none of "
            "these; all: every row without a class, relatives too.",
        ),
        click.option(
            "--keep",
            type=FiniteRange(0, 1, min_open=True),
            metavar="SHARE",
            default=0.9,
            show_default=True,
            help="The share of its classes that a model shall keep when it rejects the rest.",
        ),
        click.option(
            "--protocol",
            type=click.Choice(protocols),
            default="auto",
            show_default=True,
            help="How to measure: the data set's own folds, five-fold cross-validation, one fifth held out"
            f"{', or not at all' * ('none' in protocols)}; auto takes the data set's folds where every row has one, "
            "else cv5.",
        ),
        click.option(
            "--seed",
            type=click.IntRange(0, MAX_SEED),
            default=0,
            show_default=True,
            metavar="N",
            help="Of everything random.",
        ),
    )


def parse_changes(changes: tuple[str, ...]) -> dict[str, Any]:
    """("hidden=256", "mixup=0.4") -> {"hidden": 256, "mixup": 0.4}; values in TOML, bare words are text.

    Raises:
        UsageError: no name with a value, or a whole number beyond the 64 bits that TOML has.
    """
    parsed: dict[str, Any] = {}
    for change in changes:
        name, equals, value = change.partition("=")
        if not equals or not name.isidentifier():
            raise UsageError(f"--set: takes NAME=VALUE, got {change!r}; for example --set epochs=30")
        try:
            parsed[name] = tomllib.loads(f"value = {value}")["value"]
        except (ValueError, RecursionError):
            parsed[name] = value
        if any(abs(number) >> 63 for number in _whole_numbers(parsed[name])):
            raise UsageError(f"--set {name}: whole numbers have at most 64 bits, got {value}; give a smaller one")
    return parsed


def _whole_numbers(value: Any) -> Iterator[int]:
    """Those at any depth of a value in TOML."""
    if isinstance(value, int):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _whole_numbers(inner)


def _parse_background(text: str) -> int:
    """ "4000" -> 4000, "all" -> ALL_BACKGROUND."""
    from classifiers.targets import ALL_BACKGROUND

    if text == "all":
        return ALL_BACKGROUND
    if not text.isdecimal():
        raise UsageError(f"--background: takes a number of rows or the word all, got {text!r}")
    return int(text)
