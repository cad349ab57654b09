"""The options of every command that can run on a cluster, as one decorator."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

import click

from ingest.engine import ENGINES, EngineSettings, open_engine

F = TypeVar("F", bound=Callable[..., Any])


def engine_options(*, local_workers: str, stall_minutes: float = 10.0) -> Callable[[F], F]:
    """Adds --engine and its companions; the command gets them as one argument, `engine: EngineSettings`.

    Args:
        local_workers: what --workers are on this machine, and how many by default, for the help.
        stall_minutes: the default of --stall-limit: longer than any task is silent.
    """
    options = (
        click.option(
            "--engine",
            "engine_name",
            type=click.Choice(ENGINES),
            default="local",
            show_default=True,
            help="This machine, or a Ray cluster (`pip install earshot[ray]`).",
        ),
        click.option("--workers", type=click.IntRange(1), help=f"{local_workers} With ray: actors, one CPU each."),
        click.option(
            "--ray-address",
            metavar="HOST:PORT",
            help="The cluster's head. Default: RAY_ADDRESS, else the Ray of this machine, else one for this run.",
        ),
        click.option(
            "--gpus-per-worker",
            type=click.FloatRange(0),
            default=0.0,
            metavar="N",
            help="GPUs of each Ray actor.",
        ),
        click.option(
            "--stall-limit",
            type=click.FloatRange(0, min_open=True),
            default=stall_minutes,
            show_default=True,
            metavar="MINUTES",
            help="Give up when no Ray actor has been heard of for so long.",
        ),
    )

    def decorate(command: F) -> F:
        @wraps(command)
        def with_engine(
            *args: Any,
            engine_name: str,
            workers: int | None,
            ray_address: str | None,
            gpus_per_worker: float,
            stall_limit: float,
            **kwargs: Any,
        ) -> Any:
            engine = EngineSettings(engine_name, workers, ray_address, gpus_per_worker, 60 * stall_limit)
            if engine.name == "ray":
                click.echo(f"{open_engine(engine)}: starting", err=True)
            return command(*args, engine=engine, **kwargs)

        decorated: Any = with_engine
        for option in reversed(options):
            decorated = option(decorated)
        return decorated

    return decorate
