"""`earshot recipe`: the problems people train for, run end to end."""

import json
import shlex
from pathlib import Path

import click

from app.options.places import HereType, WeightsType
from ingest.counted import counted
from ingest.errors import EarshotError, UsageError


@click.group()
def command() -> None:
    """Run a known problem end to end: its data, its features, its heads, and ours beside them."""


@command.command(
    "list",
    epilog="""\b
Examples:
  earshot recipe list
  earshot recipe list --json
""",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def list_(as_json: bool) -> None:
    """Name the recipes and what data each takes."""
    from app.recipes.recipe import read_recipe, recipe_names

    recipes = [read_recipe(name) for name in recipe_names()]
    if as_json:
        click.echo(json.dumps({"recipes": [{"name": r.name, "title": r.title, "data": r.data} for r in recipes]}))
        return
    width = max(len(r.name) for r in recipes)
    for recipe in recipes:
        click.echo(f"{recipe.name:<{width}}  {recipe.title}")
        click.echo(f"{'':<{width}}  data: {recipe.data}\n")


@command.command(
    epilog="""\b
Examples:
  earshot recipe show urban-sounds
  earshot recipe show city-sounds --json
"""
)
@click.argument("name")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def show(name: str, as_json: bool) -> None:
    """Show a recipe: the problem, and every command it runs."""
    from app.recipes.recipe import read_recipe

    recipe = read_recipe(name)
    steps = recipe.plan(data="DATA", out="OUT")
    if as_json:
        listed = [{"say": s.say, "command": f"earshot {shlex.join(s.words)}", "only_for": s.only_for} for s in steps]
        about = {"name": recipe.name, "title": recipe.title, "problem": recipe.problem, "data": recipe.data}
        click.echo(json.dumps(about | {"steps": listed}))
        return
    click.echo(f"{recipe.title}\n\n{recipe.problem}\n\ndata: {recipe.data}\n")
    for step in steps:
        only = f" (when the data is {step.only_for})" if step.only_for else ""
        click.echo(f"# {step.say}{only}\nearshot {shlex.join(step.words)}\n")


@command.command(
    epilog="""\b
Examples:
  earshot recipe run urban-sounds --data UrbanSound8K --out urban
  earshot recipe run city-sounds --data features.tar.gz --out city
  earshot recipe run city-sounds --data features.tar.gz --quick      fewer heads, short trainings: does it work here?

Every step is an earshot command, which is shown. Stopped at any moment, the same command goes on with the step where it
was. The table and the report are in the folder --out: report.html, results.json.
"""
)
@click.argument("name")
@click.option("--data", type=HereType(), help="What the recipe works on; `earshot recipe show` says what.")
@click.option("--out", type=HereType(), help="Folder for everything. Default: the recipe's name.")
@click.option("--weights", type=WeightsType(), help="A folder with weight files of your own.")
@click.option("--quick", is_flag=True, help="Leave out what takes long, train briefly: the numbers are worth less.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def run(  # noqa: PLR0917 - click passes them all by name
    name: str, data: Path | None, out: Path | None, weights: Path | None, quick: bool, as_json: bool
) -> None:
    """Run a recipe: its steps, one table, one report."""
    from app.recipes.recipe import read_recipe
    from app.recipes.report import QUICK, render_recipe, table_rows, text_table
    from app.recipes.run import RunSettings, run_recipe
    from ingest.places.files import write_whole

    recipe = read_recipe(name)
    if data is None:
        raise UsageError(f"--data: {recipe.name} needs {recipe.data}")
    settings = RunSettings(data, out or Path(recipe.name), quick, weights)
    results = run_recipe(
        recipe,
        settings,
        say=lambda line: click.echo(line, err=as_json),
    )
    rows = table_rows(results, settings.out)
    report = settings.out / "report.html"
    summary = {
        "recipe": recipe.name,
        "quick": quick,
        "rows": [row.to_json() for row in rows],
        "steps": [{"command": shlex.join(r.step.words), "state": r.state, "problem": r.problem} for r in results],
        "report": str(report),
    }
    write_whole(report, render_recipe(recipe, rows, results, quick=quick))
    write_whole(settings.out / "results.json", json.dumps(summary, indent=2) + "\n")
    brief = f"\n  {QUICK}" if quick else ""
    click.echo(json.dumps(summary) if as_json else f"\n{text_table(rows)}{brief}\n\nreport: {report}")
    if failed := [r for r in results if r.state == "failed"]:
        raise EarshotError(
            f"{len(failed)} of {counted(len(results), 'step')} failed, the first: {failed[0].problem}; mend that and "
            "run it again"
        )
