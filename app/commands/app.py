"""`earshot app`: the page that listens."""

import sys
from pathlib import Path

import click

from app.commands.places import HereType, WeightsType

DEFAULT_PORT = 8501


@click.command(
    epilog="""\b
Examples:
  earshot app --model model                                   http://localhost:8501
  earshot app --model model --model other --port 8600
  earshot app --model model --address 0.0.0.0 --cert cert.pem --key key.pem      from a phone, see docs/live.md

Without --model the page offers the models in models/, here and in data/models. Browsers give out the microphone on
localhost or over HTTPS only. Nothing leaves this machine.
"""
)
@click.option("--model", "models", multiple=True, type=HereType(), help="A model to choose; may be given again.")
@click.option("--port", type=click.IntRange(1, 65_535), default=DEFAULT_PORT, show_default=True, help="Of the page.")
@click.option("--address", default="localhost", show_default=True, help="Where to listen; 0.0.0.0 for every network.")
@click.option("--cert", type=HereType(), help="HTTPS: the certificate, as PEM.")
@click.option("--key", type=HereType(), help="HTTPS: its private key, as PEM.")
@click.option("--weights", type=WeightsType(), help="A folder with weight files of your own.")
@click.option(
    "--precision", metavar="NAME",
    help="Of the encoders that have it, if not the models' own: int8 is VGGish's quickest.",
)  # fmt: skip
@click.option(
    "--keep",
    type=HereType(),
    default=Path("earshot-sounds"),
    show_default=True,
    help="Folder for recordings and taught clips.",
)
@click.option("--listeners", type=click.IntRange(1, 10_000), default=16, show_default=True, help="At once, at most.")
@click.option("--open/--no-open", "browser", default=False, help="Open a browser.")
def command(  # noqa: PLR0917 - click passes them all by name
    models: tuple[Path, ...],
    port: int,
    address: str,
    cert: Path | None,
    key: Path | None,
    weights: Path | None,
    precision: str | None,
    keep: Path,
    listeners: int,
    browser: bool,
) -> None:
    """Show the page that listens: live, recordings, teaching, models."""
    from app.page.serving import Serving, serve
    from app.page.settings import PageSettings
    from embeddings.encoders import require_precision

    require_precision(precision)
    settings = PageSettings(models, weights, keep, listeners, precision)
    sys.exit(serve(settings, Serving(address, port, cert, key, browser)))
