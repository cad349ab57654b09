"""`earshot ingest youtube`: the audio of a list of segments, and an account of what cannot be had."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from app.options.choosing import ChoosingOptions, choosing_options, chosen_segments, tell_bad_rows
from app.options.places import HereType, NameType
from ingest.audioset.choose import Chosen
from ingest.audioset.segments import Segment
from ingest.engines.engine import ENGINES, EngineSettings
from ingest.errors import EarshotError, UsageError
from ingest.youtube.address import Address, choose_addresses
from ingest.youtube.mirror import Mirror
from ingest.youtube.pace import PaceSettings
from ingest.youtube.plan import Plan, cost_text, make_plan, plan_text
from ingest.youtube.sources import MIRROR, MIRROR_INDEX, YOUTUBE, Sources, clip_starts, parse_sources
from ingest.youtube.streams import WATCH_URL, Source, YouTube, YouTubeSettings

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


@click.command(
    short_help="A list of segments -> their audio, resumable.",
    epilog="""\b
Examples:
  earshot ingest youtube balanced_train_segments.csv --out balanced --limit 100
  earshot ingest youtube balanced_train_segments.csv --out city --classes city10 --per-class 100 --dry-run
  earshot ingest youtube eval_segments.csv --out eval --cookies cookies.txt --rate 1000
  earshot ingest youtube audioset/eval_segments.csv --out eval --source mirror,youtube --mirror parquet/
  earshot ingest status balanced
""",
)
@click.argument("segments", type=HereType())
@click.option("--out", type=HereType(file_okay=False), required=True, help="Folder for it all.")
@choosing_options
@click.option(
    "--dry-run", is_flag=True, help="Say what it would fetch, its size and how long it would take; stop there."
)
@click.option(
    "--format",
    "suffix",
    type=click.Choice(["flac", "wav", "ogg"]),
    default="flac",
    show_default=True,
    help="Of the audio files.",
)
@click.option(
    "--sample-rate",
    type=_Rate(),
    default="16000",
    show_default=True,
    help="In Hz, or `source` to keep what each video has.",
)
@click.option(
    "--channels",
    type=click.Choice(["mono", "source"]),
    default="mono",
    show_default=True,
    help="Downmix, or keep what each video has.",
)
@click.option(
    "--source",
    "source_names",
    default=YOUTUBE,
    show_default=True,
    metavar="NAMES",
    help="Whom to ask, the first first: youtube, mirror, or both with a comma between.",
)
@click.option(
    "--mirror",
    type=NameType(),
    metavar="WHERE",
    help="Copies of AudioSet's audio: a folder of Parquet files, or its page on Hugging Face.",
)
@click.option(
    "--workers", type=int, default=2, show_default=True, help="Segments fetched at the same time, from each address."
)
@click.option(
    "--rate",
    type=float,
    default=GUEST_RATE,
    show_default=True,
    help="Requests to YouTube started per hour, from each address; a guest may have about 300. `inf` for no limit.",
)
@click.option(
    "--engine",
    "engine_name",
    type=click.Choice(ENGINES),
    default="local",
    show_default=True,
    help="Where segments are fetched: by this machine, or by a Ray cluster; the folder is on this one.",
)
@click.option(
    "--ray-address",
    type=NameType(),
    metavar="HOST:PORT",
    help="The cluster's head. Default: RAY_ADDRESS, else the Ray of this machine, else one for this run.",
)
@click.option(
    "--address-per-node",
    is_flag=True,
    help="Each machine of the cluster has a public address of its own to ask from. Else they share one.",
)
@click.option("--cookies", type=HereType(), help="A cookies.txt of a signed-in browser.")
@click.option(
    "--cookies-from-browser", type=NameType(), metavar="BROWSER", help="Or the browser itself: firefox, chrome ..."
)
@click.option("--proxy", "proxies", multiple=True, metavar="URL", help="An address to ask through; may be given again.")
@click.option(
    "--source-address",
    "source_addresses",
    multiple=True,
    metavar="ADDRESS",
    help="An address of this machine to ask from; may be given again.",
)
@click.option(
    "--ytdlp-options",
    type=HereType(),
    metavar="FILE",
    help="JSON object of yt-dlp's YoutubeDL parameters.",
)
@click.option(
    "--url-template", type=NameType(), metavar="URL", help="Another source than YouTube; {id} stands for the id."
)
@click.option("--recheck-permanent", is_flag=True, help="Ask again for what was gone or has failed.")
@click.option("--shards", type=click.Choice(["webdataset"]), help="Also pack the finished segments into tar shards.")
@click.option(
    "--publish",
    type=NameType(),
    metavar="FOLDER",
    help="Also keep a copy of status.json there, e.g. on s3://, for `earshot ingest status` from elsewhere.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def youtube(segments: Path, choosing: ChoosingOptions, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Fetch the audio of SEGMENTS, a list like AudioSet's, from YouTube or from copies of its audio. Run it again to go
    on where it stopped."""
    from app.terminal.ingest_progress import ProgressDisplay, describe, given_up
    from ingest.youtube.job import run_job

    name = segments.stem.removesuffix("_segments")
    settings = _job_settings(name, options)
    addresses = _addresses(options)
    found = chosen_segments(segments, choosing)
    sources = _sources(segments, found.chosen.segments, options)
    tell_bad_rows(found.bad_rows)
    plan = _plan(found.chosen, options, max(1, len(addresses)))
    if MIRROR in sources:
        click.echo("the time below is what YouTube would take for all of it; a mirror has no such pace", err=True)
    if not addresses:
        click.echo("the time below is from one address: each machine of the cluster brings one of its own", err=True)
    if dry_run:
        click.echo(json.dumps(plan.to_json()) if as_json else plan_text(plan))
        return
    click.echo(cost_text(plan), err=True)
    with ProgressDisplay() as display:
        result = run_job(
            found.chosen.segments,
            options["out"],
            sources,
            settings,
            addresses=addresses,
            strong=found.strong,
            progress=display,
        )
    end, had = result.progress, result.availability
    facts = {
        "out": str(options["out"]),
        "requested": end.requested,
        "states": end.counts,
        "available": had.available,
        "fingerprint": had.fingerprint,
        "manifest": str(result.manifest),
        "report": str(result.report),
        "shards_written": result.shards,
        "mended": asdict(result.mended),
        "stopped": result.stopped,
        "given_up": given_up(end),
    }
    lines = [describe(end), f"wrote {result.manifest} and {result.report}", *_advice(had.states)]
    click.echo(json.dumps(facts) if as_json else "\n".join(lines))
    if result.stopped:
        raise EarshotError(f"stopped early: {result.stopped}; mend that and run the same command again")


def _addresses(options: dict[str, Any]) -> tuple[Address, ...]:
    """None: the machines of the cluster are."""
    per_node, on_ray = options["address_per_node"], options["engine_name"] == "ray"
    addresses = choose_addresses(options["proxies"], options["source_addresses"])
    if per_node and (options["proxies"] or not on_ray):
        raise UsageError(
            "--address-per-node must come with --engine ray and without --proxy: the machines are the addresses, or "
            "the proxies are; drop one"
        )
    if on_ray and options["source_addresses"]:
        raise UsageError("--source-address is one of this machine, and --engine ray asks from others; drop one of them")
    if on_ray and options["cookies_from_browser"]:
        raise UsageError(
            "--cookies-from-browser is read where it is used, and --engine ray asks from machines without it; "
            "export the cookies to a file, and give that as --cookies"
        )
    return () if per_node else addresses


def _plan(chosen: Chosen, options: dict[str, Any], addresses: int) -> Plan:
    """At the rate observed in the folder where a run has been, else at the one asked for, else at the default, the
    latter two from each address."""
    from ingest.ledger.ledger import FILE_NAME, Ledger
    from ingest.youtube.availability import survey

    observed = None
    if (options["out"] / FILE_NAME).exists():
        with Ledger.read(options["out"]) as ledger:
            observed = survey(ledger).rate_per_hour
    asked = options["rate"] if math.isfinite(options["rate"]) else GUEST_RATE
    return make_plan(
        chosen,
        rate_per_hour=observed or asked * addresses,
        observed=observed is not None,
        sample_rate=options["sample_rate"],
        channels=options["channels"],
    )


def _advice(states: dict[Any, int]) -> list[str]:
    left = states["waiting"] + states["pending"]
    return [f"{left} segments are left for later: run the same command again"] if left else []


def _sources(path: Path, segments: Sequence[Segment], options: dict[str, Any]) -> Sources:
    """In the order of --source."""
    names, where = parse_sources(options["source_names"]), options["mirror"]
    if (MIRROR in names) != bool(where):
        raise UsageError(
            f"--mirror must be given with a --source that names it, and only then, got --source {','.join(names)} and "
            f"{f'--mirror {where}' if where else 'no --mirror'}; try --source youtube,mirror --mirror parquet/"
        )
    sources: dict[str, Source | Mirror] = {}
    for name in names:
        if name == MIRROR:
            starts = clip_starts(path, segments)
            sources[name] = Mirror(where, starts=starts, index=options["out"] / MIRROR_INDEX)
        else:
            sources[name] = YouTube(_youtube_settings(options))
    return sources


def _youtube_settings(options: dict[str, Any]) -> YouTubeSettings:
    return YouTubeSettings(
        cookies=options["cookies"],
        cookies_from_browser=options["cookies_from_browser"],
        options_file=options["ytdlp_options"],
        url_template=options["url_template"] or WATCH_URL,
    )


def _job_settings(name: str, options: dict[str, Any]) -> Any:
    from ingest.places.folder import folder_at
    from ingest.youtube.fetch import FetchSettings
    from ingest.youtube.job import JobSettings
    from ingest.youtube.run import RunSettings

    rate = options["rate"] if YOUTUBE in parse_sources(options["source_names"]) else math.inf
    return JobSettings(
        name=name,
        fetch=FetchSettings(options["suffix"], options["sample_rate"], options["channels"]),
        run=RunSettings(PaceSettings(workers=options["workers"], rate_per_hour=rate)),
        recheck=options["recheck_permanent"],
        with_cookies=bool(options["cookies"] or options["cookies_from_browser"]),
        shards=bool(options["shards"]),
        engine=EngineSettings(options["engine_name"], ray_address=options["ray_address"]),
        publish=folder_at(options["publish"]) if options["publish"] else None,
    )
