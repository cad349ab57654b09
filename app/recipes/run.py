"""Runs a recipe, step by step, and again where it was stopped. Touches the disk and, for weights, the network.

A step is done when its record stands in `steps/` with the same command, what it makes is there, and what it reads is
still what it read: each run of a step has a name by lot, and a record holds its own and those of the runs it read from.
The record is written last. A step that fails is a row of the table that says why; the others go on, except those that
would read what it did not make.
"""

import json
import shlex
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import click

from app.cli import said_as_json
from app.recipes.recipe import Recipe, Step, kind_of
from embeddings.weights import fetch, look_up
from ingest.errors import EarshotError, UsageError, WeightsError
from ingest.places.files import write_whole

FETCH_TIMEOUT_S = 5.0
STATE_FILE, RECORDS = "recipe.json", "steps"

Say = Callable[[str], None]
State = Literal["done", "kept", "failed", "left out"]


@dataclass(frozen=True, slots=True)
class RunSettings:
    """data: what the recipe works on; out: the folder that gets everything; weights_dir: the user's own weights."""

    data: Path
    out: Path
    quick: bool = False
    weights_dir: Path | None = None


@dataclass(frozen=True, slots=True)
class StepResult:
    """What became of a step.

    state: "kept" is done in an earlier run.
    result: what its command printed under --json; empty unless done or kept.
    problem: why it failed or was left out.
    made_as: the name of the run that made what is there; "" unless done or kept.
    """

    step: Step
    state: State
    result: dict[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    problem: str = ""
    made_as: str = ""


def run_recipe(recipe: Recipe, settings: RunSettings, say: Say) -> list[StepResult]:
    """Run all steps that are not done yet; one result a step, in their order.

    Args:
        say: shows one line to the person watching.
    Raises:
        UsageError: there is no data, or `out` holds a run of another recipe or on other data.
    """
    kind = kind_of(settings.data)
    _claim(recipe, settings)
    steps = [
        _with_weights(step, settings.weights_dir)
        for step in recipe.plan(data=str(settings.data), out=str(settings.out), kind=kind, quick=settings.quick)
    ]
    made: dict[str, StepResult] = {}  # by what they make
    results = []
    for number, step in enumerate(steps, start=1):
        say(f"\n[{number}/{len(steps)}] {step.say}\n$ earshot {shlex.join(step.words)}")
        result = _one(step, made, _record_path(settings.out, step), settings.weights_dir)
        say({"done": f"done in {result.seconds:.0f} s", "kept": "done before"}.get(result.state, "")
            or f"{result.state}: {result.problem}")  # fmt: skip
        results.append(result)
        if step.makes:
            made[step.makes] = result
    return results


def _one(step: Step, made: dict[str, StepResult], record: Path, weights_dir: Path | None) -> StepResult:
    """One step: left out, kept, done or failed."""
    inputs = [made[path] for path in sorted(step.takes(set(made)))]
    if missing := [i for i in inputs if i.state in ("failed", "left out")]:
        return StepResult(step, "left out", problem=f"needs {missing[0].step.makes}, which was not made")
    read = {str(i.step.makes): i.made_as for i in inputs}
    if kept := _read_record(record, step, read):
        return kept
    record.unlink(missing_ok=True)
    if problem := _missing_weights(step, weights_dir):
        return StepResult(step, "left out", problem=problem)
    started = time.perf_counter()
    try:
        said = said_as_json(step.words)
    except click.ClickException as error:
        return StepResult(step, "failed", problem=error.format_message())
    except EarshotError as error:
        return StepResult(step, "failed", problem=str(error))
    seconds, made_as = time.perf_counter() - started, uuid.uuid4().hex
    result = StepResult(step, "done", said, seconds, made_as=made_as)
    _write_record(record, result, read)
    return result


def _claim(recipe: Recipe, settings: RunSettings) -> None:
    """The folder belongs to one recipe on one set of data: stores that go on must not mix two."""
    path = settings.out / STATE_FILE
    ours = {"recipe": recipe.name, "data": str(settings.data.resolve())}
    try:
        theirs = json.loads(path.read_text())
    except FileNotFoundError:
        if settings.out.is_dir() and any(settings.out.iterdir()):
            raise UsageError(
                f"--out: {settings.out} holds something that is no recipe's; name another folder"
            ) from None
        write_whole(path, json.dumps(ours) + "\n")
        return
    except ValueError:
        theirs = None
    if theirs != ours:
        raise UsageError(f"--out: {settings.out} belongs to another recipe or other data; name another folder")


def _with_weights(step: Step, weights_dir: Path | None) -> Step:
    if not step.needs or weights_dir is None:
        return step
    return Step(step.say, (*step.words, "--weights", str(weights_dir)), step.row, needs=step.needs)


def _missing_weights(step: Step, weights_dir: Path | None) -> str:
    """Why the step's weights are not to be had; "" when they are here, or have just been fetched."""
    for name in step.needs:
        if look_up(name, weights_dir) is None:
            try:
                fetch(name, timeout_s=FETCH_TIMEOUT_S)
            except WeightsError as error:
                return str(error)
    return ""


def _record_path(out: Path, step: Step) -> Path:
    """A record is named by the verb and what the step makes, which no two steps of a recipe share."""
    made = Path(step.makes or "").relative_to(out) if step.makes else Path("nothing")
    return out / RECORDS / f"{step.words[0]}-{'-'.join(made.parts)}.json"


def _read_record(path: Path, step: Step, read: dict[str, str]) -> StepResult | None:
    """The result of an earlier run, when it was of the same command, read what is there now, and its work is there.

    Args:
        read: what the step reads -> the name of the run that made it.
    """
    try:
        record = json.loads(path.read_text())
        same = (record["words"], record["read"]) == (list(step.words), read)
        if not same or (step.makes and not Path(step.makes).exists()):
            return None
        return StepResult(step, "kept", record["result"], record["seconds"], made_as=record["made_as"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_record(path: Path, result: StepResult, read: dict[str, str]) -> None:
    record = {
        "words": result.step.words,
        "made_as": result.made_as,
        "read": read,
        "seconds": result.seconds,
        "result": result.result,
    }
    write_whole(path, json.dumps(record) + "\n")
