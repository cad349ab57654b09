"""The options of `earshot ingest youtube`: what is fetched, from whom, where and how fast."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from app.options.gathering import gather
from app.options.places import HereType, NameType
from ingest.engines.engine import ENGINES
from ingest.youtube.sources import YOUTUBE

GUEST_RATE = 300.0


class _Rate(click.ParamType):
    """A sample rate, or None for `source`."""

    name = "rate"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | None:
        if value == "source":
            return None
        try:
            return int(value)
        except ValueError:
            self.fail(f"must be `source` or a whole number of Hz, got {value!r}; try 16000", param, ctx)


@dataclass(frozen=True, slots=True)
class FetchingOptions:
    """The options as given; see their help.

    sample_rate: in Hz; None keeps what each video has. rate: requests per hour from each address.
    """

    suffix: str
    sample_rate: int | None
    channels: str
    source_names: str
    mirror: str | None
    workers: int
    rate: float
    engine_name: str
    ray_address: str | None
    address_per_node: bool
    cookies: Path | None
    cookies_from_browser: str | None
    proxies: tuple[str, ...]
    source_addresses: tuple[str, ...]
    ytdlp_options: Path | None
    url_template: str | None
    recheck_permanent: bool
    shards: str | None
    publish: str | None


fetching_options = gather(
    "fetching",
    FetchingOptions,
    click.option(
        "--format",
        "suffix",
        type=click.Choice(["flac", "wav", "ogg"]),
        default="flac",
        show_default=True,
        help="Of the audio files.",
    ),
    click.option(
        "--sample-rate",
        type=_Rate(),
        default="16000",
        show_default=True,
        help="In Hz, or `source` to keep what each video has.",
    ),
    click.option(
        "--channels",
        type=click.Choice(["mono", "source"]),
        default="mono",
        show_default=True,
        help="Downmix, or keep what each video has.",
    ),
    click.option(
        "--source",
        "source_names",
        default=YOUTUBE,
        show_default=True,
        metavar="NAMES",
        help="Whom to ask, the first first: youtube, mirror, or both with a comma between.",
    ),
    click.option(
        "--mirror",
        type=NameType(),
        metavar="WHERE",
        help="Copies of AudioSet's audio: a folder of Parquet files, or its page on Hugging Face.",
    ),
    click.option(
        "--workers",
        type=int,
        default=2,
        show_default=True,
        help="Segments fetched at the same time, from each address.",
    ),
    click.option(
        "--rate",
        type=float,
        default=GUEST_RATE,
        show_default=True,
        help="Requests to YouTube started per hour, from each address; a guest may have about 300. `inf` for no limit.",
    ),
    click.option(
        "--engine",
        "engine_name",
        type=click.Choice(ENGINES),
        default="local",
        show_default=True,
        help="Where segments are fetched: by this machine, or by a Ray cluster; the folder is on this one.",
    ),
    click.option(
        "--ray-address",
        type=NameType(),
        metavar="HOST:PORT",
        help="The cluster's head. Default: RAY_ADDRESS, else the Ray of this machine, else one for this run.",
    ),
    click.option(
        "--address-per-node",
        is_flag=True,
        help="Each machine of the cluster has a public address of its own to ask from. Else they share one.",
    ),
    click.option("--cookies", type=HereType(), help="A cookies.txt of a signed-in browser."),
    click.option(
        "--cookies-from-browser", type=NameType(), metavar="BROWSER", help="Or the browser itself: firefox, chrome ..."
    ),
    click.option(
        "--proxy", "proxies", multiple=True, metavar="URL", help="An address to ask through; may be given again."
    ),
    click.option(
        "--source-address",
        "source_addresses",
        multiple=True,
        metavar="ADDRESS",
        help="An address of this machine to ask from; may be given again.",
    ),
    click.option(
        "--ytdlp-options",
        type=HereType(),
        metavar="FILE",
        help="JSON object of yt-dlp's YoutubeDL parameters.",
    ),
    click.option(
        "--url-template", type=NameType(), metavar="URL", help="Another source than YouTube; {id} stands for the id."
    ),
    click.option("--recheck-permanent", is_flag=True, help="Ask again for what was gone or has failed."),
    click.option(
        "--shards", type=click.Choice(["webdataset"]), help="Also pack the finished segments into tar shards."
    ),
    click.option(
        "--publish",
        type=NameType(),
        metavar="FOLDER",
        help="Also keep a copy of status.json there, e.g. on s3://, for `earshot ingest status` from elsewhere.",
    ),
)
