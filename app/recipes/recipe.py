"""Reads data/recipes: the problems people train for, each a list of `earshot` commands that solves it end to end."""

import shlex
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ingest.errors import UsageError
from ingest.foreign import checked

Kind = Literal["features", "audio"]
RECIPES = Path(__file__).resolve().parents[2] / "data" / "recipes"
_STEP_KEYS = {"say", "run", "row", "quick", "only_for", "needs", "skip_when_quick"}


@dataclass(frozen=True, slots=True)
class Step:
    """One `earshot` command, with {data} and {out} for the folders.

    say: why, in a line.
    words: the command line without the word earshot.
    row: what the result is called in the final table; "" for a step that measures nothing.
    quick: options with their values, which `--quick` adds, or puts in the place of the step's own; --set may repeat.
    skip_when_quick: `--quick` leaves the step out.
    only_for: the kind of data that the step is for; None for any.
    needs: weight files, without which the step and all that builds on it are left out.
    """

    say: str
    words: tuple[str, ...]
    row: str = ""
    quick: tuple[str, ...] = ()
    skip_when_quick: bool = False
    only_for: Kind | None = None
    needs: tuple[str, ...] = ()

    @property
    def makes(self) -> str | None:
        """What the step leaves behind: where its --out or --report points."""
        for option in ("--out", "--report"):
            if option in self.words[:-1]:
                return self.words[self.words.index(option) + 1]
        return None

    def takes(self, made: set[str]) -> set[str]:
        """Those of the things made before that this step reads."""
        return made.intersection(self.words) - {self.makes or ""}

    def filled(self, *, data: str, out: str, quick: bool) -> "Step":
        """The step with its folders named."""
        words = _changed(self.words, self.quick) if quick else self.words
        named = tuple(word.replace("{data}", data).replace("{out}", out) for word in words)
        return Step(self.say, named, self.row, (), False, self.only_for, self.needs)


@dataclass(frozen=True, slots=True)
class Recipe:
    """A problem and the way through it.

    problem: what it is, who solved it first and how, in a few sentences.
    data: what --data must be, and where it is to be had.
    """

    name: str
    title: str
    problem: str
    data: str
    steps: tuple[Step, ...]

    def plan(self, *, data: str, out: str, kind: Kind | None = None, quick: bool = False) -> list[Step]:
        """The steps for data of this kind (None: of any kind), in their order."""
        chosen = [s for s in self.steps if kind is None or s.only_for in (None, kind)]
        return [s.filled(data=data, out=out, quick=quick) for s in chosen if not (quick and s.skip_when_quick)]


def recipe_names() -> list[str]:
    """The recipes there are."""
    return sorted(path.stem for path in RECIPES.glob("*.toml"))


def read_recipe(name: str) -> Recipe:
    """The recipe of that name in data/recipes, or of a .toml file.

    Raises:
        UsageError: there is none, or the file is no recipe.
    """
    path = Path(name) if name.endswith(".toml") else RECIPES / f"{name}.toml"
    if not path.is_file() or not (name.endswith(".toml") or name in recipe_names()):
        raise UsageError(f"no recipe is named {name!r}; there are {', '.join(recipe_names())}")
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
        steps = tuple(_step(row) for row in table["steps"])
        return checked(Recipe(path.stem, table["title"], table["problem"].strip(), table["data"].strip(), steps))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        raise UsageError(
            f"{path}: is no recipe ({error}); it needs title, problem, data and [[steps]] with say and run"
        ) from error


def kind_of(data: Path) -> Kind:
    """Whether data is AudioSet's released features (a tar, or a folder with tfrecords at any depth) or audio.

    Raises:
        UsageError: there is nothing.
    """
    if not data.exists():
        raise UsageError(f"--data: there is nothing at {data}; check the path")
    return "features" if data.is_file() or next(data.rglob("*.tfrecord"), None) else "audio"


def _changed(words: tuple[str, ...], changes: tuple[str, ...]) -> tuple[str, ...]:
    """A command line with other values for some of its options."""
    changed = list(words)
    for option, value in zip(changes[::2], changes[1::2], strict=True):
        if option in changed and option != "--set":
            changed[changed.index(option) + 1] = value
        else:
            changed += [option, value]
    return tuple(changed)


def _step(row: dict[str, Any]) -> Step:
    if foreign := set(row) - _STEP_KEYS:
        raise ValueError(f"a step has no {', '.join(sorted(foreign))}")
    words, quick = tuple(shlex.split(row["run"])), tuple(shlex.split(row.get("quick", "")))
    pairs = len(quick) % 2 == 0 and all(word.startswith("--") == (at % 2 == 0) for at, word in enumerate(quick))
    if not pairs or set(words[-1:]) & set(quick[::2]):  # an option at the end of run has no value to change
        raise ValueError(f"quick is options with their values, got {row['quick']!r}")
    return Step(
        say=row["say"],
        words=words,
        row=row.get("row", ""),
        quick=quick,
        skip_when_quick=row.get("skip_when_quick", False),
        only_for=row.get("only_for"),
        needs=tuple(row.get("needs", ())),
    )
