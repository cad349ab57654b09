"""`earshot serve`: predictions over HTTP and WebSocket."""

import os
from pathlib import Path

import click

from app.commands.numbers import FiniteRange
from app.commands.places import HereType, WeightsType
from ingest.errors import UsageError

KEY_VARIABLE = "EARSHOT_KEY"
CLIENT_FOLDER = Path(__file__).resolve().parents[2] / "docs" / "client"
LOCAL = ("127.0.0.1", "localhost", "::1")


@click.command(
    epilog="""\b
Examples:
  earshot serve --model model
  earshot serve --model esc10=models/esc --model city=models/city --port 9000
  earshot serve --model model --client            then open http://127.0.0.1:8000/client/
  earshot serve --model model --host 0.0.0.0 --key key.txt --allow-origin https://example.org

\b
  curl --data-binary @street.wav http://127.0.0.1:8000/v1/predictions

Ctrl-C or SIGTERM stops it; requests that are there are answered first.
"""
)
@click.option(
    "--model", "models", multiple=True, required=True, metavar="NAME_OR_FOLDER",
    help="A folder, or a name of `earshot models list`; NAME=FOLDER for another name. May be given again; the first "
    "is the default.",
)  # fmt: skip
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on; 0.0.0.0 for all.")
@click.option("--port", type=click.IntRange(0, 65_535), default=8000, show_default=True, help="Port; 0 for a free one.")
@click.option("--weights", type=WeightsType(), help="A folder with weight files of your own.")
@click.option(
    "--precision", metavar="NAME",
    help="Of the encoders that have it, if not the models' own: int8 is VGGish's quickest.",
)  # fmt: skip
@click.option(
    "--key", type=HereType(), metavar="FILE",
    help=f"Who comes must show one of the keys in this file, one a line; or that in ${KEY_VARIABLE}.",
)  # fmt: skip
@click.option(
    "--allow-origin", "origins", multiple=True, metavar="ORIGIN",
    help="Web pages of this address may use it from a browser, e.g. https://example.org; * for all.",
)  # fmt: skip
@click.option("--client", is_flag=True, help="Serve the browser example too, at /client/.")
@click.option(
    "--max-mb", type=FiniteRange(0.001, 10_000), default=50.0, show_default=True, help="Most bytes of an upload, in MB."
)
@click.option(
    "--max-s",
    type=FiniteRange(1, 86_400),
    default=600.0,
    show_default=True,
    help="Most audio of an upload, in seconds.",
)
@click.option(
    "--max-requests", type=click.IntRange(1, 10_000), default=64, show_default=True, help="Most uploads at once."
)
@click.option(
    "--max-streams",
    type=click.IntRange(1, 10_000),
    default=32,
    show_default=True,
    help="Most WebSocket streams at once.",
)
@click.option("--workers", type=click.IntRange(0, 256), default=0, help="Threads that score. Default: one a core.")
@click.option("--log-requests", is_flag=True, help="A line on standard error for every request.")
def command(  # noqa: PLR0917 - click passes them all by name
    models: tuple[str, ...],
    host: str,
    port: int,
    weights: Path | None,
    precision: str | None,
    key: Path | None,
    origins: tuple[str, ...],
    client: bool,
    max_mb: float,
    max_s: float,
    max_requests: int,
    max_streams: int,
    workers: int,
    log_requests: bool,
) -> None:
    """Answer HTTP and WebSocket requests with what models say of their audio."""
    from app.api.models import load_models
    from app.api.server import open_port, serve
    from app.api.settings import ApiSettings
    from embeddings.encoders import require_precision

    settings = ApiSettings(
        max_mb=max_mb,
        max_s=max_s,
        max_requests=max_requests,
        max_streams=max_streams,
        workers=workers,
        keys=_keys(key),
        origins=origins,
    )
    if client and not CLIENT_FOLDER.is_dir():
        raise UsageError(f"--client: {CLIENT_FOLDER} is missing, as this is no full checkout; leave it out")
    require_precision(precision)
    loaded = load_models(models, weights, precision)
    with open_port(host, port) as listener:
        address = f"http://{f'[{host}]' if ':' in host else host}:{listener.getsockname()[1]}"
        if host not in LOCAL and not settings.keys:
            click.echo(f"earshot: whoever reaches {address} may use it; --key keeps others out", err=True)
        line = f"serving {', '.join(loaded.names)} on {address}   (Ctrl-C stops it; {address}/docs says more)"
        serve(
            loaded,
            settings,
            listener,
            client=CLIENT_FOLDER if client else None,
            log_requests=log_requests,
            announce=lambda: click.echo(line),
        )


def _keys(file: Path | None) -> tuple[str, ...]:
    if file is None:
        return tuple(filter(None, [os.environ.get(KEY_VARIABLE, "").strip()]))
    try:
        keys = tuple(filter(None, map(str.strip, file.read_text().splitlines())))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--key: {file} cannot be read ({error}); name a text file with a key a line") from error
    if not keys:
        raise UsageError(f"--key: {file} holds no key; make one: openssl rand -hex 24 > {file}")
    return keys
