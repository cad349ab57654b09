"""What came of a recipe: one table for the terminal, one page that opens offline. Pure: results in, text out."""

import shlex
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from app.recipes.recipe import Recipe
from app.recipes.run import StepResult
from classifiers.report.numbers import format_number
from classifiers.report.templates import render

QUICK = "--quick: fewer heads, short trainings, one fifth held out in place of folds; the numbers are worth less"
TEMPLATE = Path(__file__).with_name("recipe.html.jinja")
_MEASURES = ("accuracy", "balanced_accuracy", "mAP", "auc")


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the final table: a head, and how it did.

    measured: on what. seconds: the head's share of its step, all folds together.
    page: the head's own report, relative to the recipe's folder, or "".
    problem: why there are no numbers.
    """

    name: str
    measured: str = ""
    n: int | None = None
    accuracy: float | None = None
    balanced_accuracy: float | None = None
    mAP: float | None = None  # noqa: N815 - the field's name for it
    auc: float | None = None
    seconds: float = 0.0
    page: str = ""
    problem: str = ""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def table_rows(results: Sequence[StepResult], out: Path) -> list[Row]:
    """The rows of all steps that measure something."""
    rows = []
    for result in results:
        if not result.step.row:
            continue
        if result.problem:
            rows.append(Row(result.step.row, problem=result.problem))
        else:
            rows += _ROWS_OF[result.step.words[0]](result, out)
    return rows


def text_table(rows: Sequence[Row]) -> str:
    """The table for the terminal; what has no numbers says why, below."""
    width = max((len(row.name) for row in rows), default=0)
    on = max((len(row.measured) for row in rows), default=0)
    lines = [f"  {'':<{width}}  {'measured on':<{on}}  {'rows':>6}  accuracy  balanced   mAP   AUC"]
    lines += [
        f"  {row.name:<{width}}  {row.measured:<{on}}  {row.n or '–':>6}  {format_number(row.accuracy):>8}  "
        f"{format_number(row.balanced_accuracy):>8}  {format_number(row.mAP):>4}  {format_number(row.auc):>4}"
        for row in rows
        if not row.problem
    ]
    return "\n".join([*lines, *(f"  {row.name}: {row.problem}" for row in rows if row.problem)])


def render_recipe(recipe: Recipe, rows: Sequence[Row], results: Sequence[StepResult], *, quick: bool = False) -> str:
    """HTML with everything in it: the problem, the table, and the commands in their order."""
    commands = [(r.step.say, f"earshot {shlex.join(r.step.words)}", r.problem or f"{r.seconds:.0f} s") for r in results]
    return render(TEMPLATE, recipe=recipe, rows=rows, commands=commands, quick=QUICK if quick else "")


def _of_train(result: StepResult, out: Path) -> list[Row]:
    said, step = result.result, result.step
    page = _relative(Path(said["model"]) / "report.html", out)
    if said["metrics"] is None:
        return [Row(step.row, seconds=result.seconds, page=page, problem="nothing was measured (--protocol none)")]
    measured = HOW_MEASURED_SHORT[said["protocol"]].format(n=len(said["folds"]))
    return [_row(step.row, measured, said["metrics"], result, page)]


def _of_evaluate(result: StepResult, out: Path) -> list[Row]:
    page = _relative(Path(result.step.makes), out) if result.step.makes else ""
    return [_row(result.step.row, f"all of {Path(result.result['store']).name}", result.result, result, page)]


def _of_compare(result: StepResult, out: Path) -> list[Row]:
    said, step = result.result, result.step
    page = _relative(Path(step.makes) / "report.html", out) if step.makes else ""
    measured = HOW_MEASURED_SHORT[said["protocol"]].format(n=len(said["folds"]))
    rows = []
    for head in said["heads"]:
        name = f"{step.row}: {head['head']}"
        if head["refused"]:
            rows.append(Row(name, problem=head["refused"]))
            continue
        means: dict[str, Any] = {measure: head["measures"][measure]["mean"] for measure in _MEASURES}
        seconds = (head["fit_s"] + head["predict_s"]) * len(said["folds"]) * len(said["seeds"])
        rows.append(Row(name, measured, said["tested"], seconds=seconds, page=page, **means))
    return rows


def _row(name: str, measured: str, metrics: dict[str, Any], result: StepResult, page: str) -> Row:
    values: dict[str, Any] = {measure: metrics[measure] for measure in _MEASURES}
    return Row(name, measured, metrics["n"], seconds=result.seconds, page=page, **values)


def _relative(path: Path, out: Path) -> str:
    return path.relative_to(out).as_posix() if path.is_relative_to(out) else str(path)


HOW_MEASURED_SHORT = {"folds": "its own {n} folds", "cv5": "{n} folds", "split": "one fifth"}
_ROWS_OF: dict[str, Callable[[StepResult, Path], list[Row]]] = {
    "train": _of_train,
    "compare": _of_compare,
    "evaluate": _of_evaluate,
}
