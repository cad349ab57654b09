"""`earshot ingest youtube`: the audio of a list of segments, and an account of what cannot be had."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from app.options.choosing import ChoosingOptions, choosing_options, chosen_segments, tell_bad_rows
from app.options.fetching import GUEST_RATE, FetchingOptions, fetching_options
from app.options.places import HereType
from ingest.audioset.choose import Chosen
from ingest.audioset.segments import Segment
from ingest.counted import are, counted
from ingest.engines.engine import EngineSettings
from ingest.errors import EarshotError, UsageError
from ingest.youtube.address import Address, choose_addresses
from ingest.youtube.mirror import Mirror
from ingest.youtube.pace import PaceSettings
from ingest.youtube.plan import Plan, cost_text, make_plan, plan_text
from ingest.youtube.sources import MIRROR, MIRROR_INDEX, YOUTUBE, Sources, clip_starts, parse_sources
from ingest.youtube.streams import WATCH_URL, Source, YouTube, YouTubeSettings


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
@fetching_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def youtube(
    segments: Path, *, out: Path, choosing: ChoosingOptions, fetching: FetchingOptions, dry_run: bool, as_json: bool
) -> None:
    """Fetch the audio of SEGMENTS, a list like AudioSet's, from YouTube or from copies of its audio. Run it again to go
    on where it stopped."""
    from app.terminal.ingest_progress import ProgressDisplay, describe, given_up
    from ingest.youtube.job import run_job

    settings = _job_settings(segments, fetching)
    addresses = _addresses(fetching)
    found = chosen_segments(segments, choosing)
    sources = _sources(segments, found.chosen.segments, out, fetching)
    tell_bad_rows(found.bad_rows)
    plan = _plan(found.chosen, out, fetching, max(1, len(addresses)))
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
            out,
            sources,
            settings,
            addresses=addresses,
            strong=found.strong,
            progress=display,
        )
    end, had = result.progress, result.availability
    facts = {
        "out": str(out),
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


def _addresses(asked: FetchingOptions) -> tuple[Address, ...]:
    """None: the machines of the cluster are."""
    per_node, on_ray = asked.address_per_node, asked.engine_name == "ray"
    addresses = choose_addresses(asked.proxies, asked.source_addresses)
    if per_node and (asked.proxies or not on_ray):
        raise UsageError(
            "--address-per-node must come with --engine ray and without --proxy: the machines are the addresses, or "
            "the proxies are; drop one"
        )
    if on_ray and asked.source_addresses:
        raise UsageError("--source-address is one of this machine, and --engine ray asks from others; drop one of them")
    if on_ray and asked.cookies_from_browser:
        raise UsageError(
            "--cookies-from-browser is read where it is used, and --engine ray asks from machines without it; "
            "export the cookies to a file, and give that as --cookies"
        )
    return () if per_node else addresses


def _plan(chosen: Chosen, out: Path, asked: FetchingOptions, addresses: int) -> Plan:
    """At the rate observed in the folder where a run has been, else at the one asked for, else at the default, the
    latter two from each address."""
    from ingest.ledger.ledger import FILE_NAME, Ledger
    from ingest.youtube.availability import survey

    observed = None
    if (out / FILE_NAME).exists():
        with Ledger.read(out) as ledger:
            observed = survey(ledger).rate_per_hour
    rate = asked.rate if math.isfinite(asked.rate) else GUEST_RATE
    return make_plan(
        chosen,
        rate_per_hour=observed or rate * addresses,
        observed=observed is not None,
        sample_rate=asked.sample_rate,
        channels=asked.channels,
    )


def _advice(states: dict[Any, int]) -> list[str]:
    left = states["waiting"] + states["pending"]
    return [f"{counted(left, 'segment')} {are(left)} left for later: run the same command again"] if left else []


def _sources(path: Path, segments: Sequence[Segment], out: Path, asked: FetchingOptions) -> Sources:
    """In the order of --source."""
    names, where = parse_sources(asked.source_names), asked.mirror or ""
    if (MIRROR in names) != bool(where):
        raise UsageError(
            f"--mirror must be given with a --source that names it, and only then, got --source {','.join(names)} and "
            f"{f'--mirror {where}' if where else 'no --mirror'}; try --source youtube,mirror --mirror parquet/"
        )
    sources: dict[str, Source | Mirror] = {}
    for name in names:
        if name == MIRROR:
            starts = clip_starts(path, segments)
            sources[name] = Mirror(where, starts=starts, index=out / MIRROR_INDEX)
        else:
            sources[name] = YouTube(_youtube_settings(asked))
    return sources


def _youtube_settings(asked: FetchingOptions) -> YouTubeSettings:
    return YouTubeSettings(
        cookies=asked.cookies,
        cookies_from_browser=asked.cookies_from_browser,
        options_file=asked.ytdlp_options,
        url_template=asked.url_template or WATCH_URL,
    )


def _job_settings(segments: Path, asked: FetchingOptions) -> Any:
    from ingest.places.folder import folder_at
    from ingest.youtube.fetch import FetchSettings
    from ingest.youtube.job import JobSettings
    from ingest.youtube.run import RunSettings

    rate = asked.rate if YOUTUBE in parse_sources(asked.source_names) else math.inf
    return JobSettings(
        name=segments.stem.removesuffix("_segments"),
        fetch=FetchSettings(asked.suffix, asked.sample_rate, asked.channels),
        run=RunSettings(PaceSettings(workers=asked.workers, rate_per_hour=rate)),
        recheck=asked.recheck_permanent,
        with_cookies=bool(asked.cookies or asked.cookies_from_browser),
        shards=bool(asked.shards),
        engine=EngineSettings(asked.engine_name, ray_address=asked.ray_address),
        publish=folder_at(asked.publish) if asked.publish else None,
    )
