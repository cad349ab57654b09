"""The options of every command that can run on a cluster."""

from typing import Any

import click

from app.options.gathering import Decorator, gather
from app.options.numbers import FiniteRange
from app.options.places import NameType
from ingest.engines.engine import ENGINES, Engine, EngineSettings
from ingest.engines.opening import open_engine


def engine_options(*, local_workers: str, stall_minutes: float = 10.0) -> Decorator[Any]:
    """Give a command --engine and its companions; they arrive as one argument, `engine`.

    Args:
        local_workers: what --workers are on this machine, and how many by default, for the help.
        stall_minutes: the default of --stall-limit: longer than any task is silent.
    """
    return gather(
        "engine",
        EngineSettings,
        click.option(
            "--engine",
            "name",
            type=click.Choice(ENGINES),
            default="local",
            show_default=True,
            help="This machine, or a Ray cluster (`pip install earshot[ray]`).",
        ),
        click.option(
            "--workers", type=click.IntRange(1), metavar="N", help=f"{local_workers} With ray: actors, one CPU each."
        ),
        click.option(
            "--ray-address",
            type=NameType(),
            metavar="HOST:PORT",
            help="The cluster's head. Default: RAY_ADDRESS, else the Ray of this machine, else one for this run.",
        ),
        click.option(
            "--gpus-per-worker",
            type=FiniteRange(0),
            default=0.0,
            metavar="N",
            help="GPUs of each Ray actor, or a share of one; without it they use none.",
        ),
        click.option(
            "--stall-limit",
            "stall_s",
            type=FiniteRange(0, min_open=True),
            default=stall_minutes,
            show_default=True,
            metavar="MINUTES",
            callback=lambda context, option, minutes: 60 * minutes,
            help="Give up when no Ray actor has been heard of for so long.",
        ),
    )


def start_engine(settings: EngineSettings, *, processes: int = 1) -> Engine:
    """`open_engine`, with a word on standard error where that takes a while."""
    engine = open_engine(settings, processes=processes)
    if settings.name == "ray":
        click.echo(f"{engine}: starting", err=True)
    return engine
