"""AudioSet whole, from many addresses: days, bytes, cores and cost, by the very pace that `ingest youtube` keeps.

A discrete-event simulation over `youtube.pace.Pace`: addresses ask as their pace allows, the server answers, refuses
who asks too often or at a whim, machines are lost with what they have under way and come back. All that is assumed is a
field of `Assumptions` with its source. The floor is the closed form: every segment asked for once, nobody refused,
nothing lost. Expected before simulating: within a fifth of it.

    python -m bench scale_model
    python -m bench.scale_model --help           # every assumption is an option
    python -m bench.scale_model --addresses 30 --address-month-price 3
    python -m bench.scale_model --plot docs/images/scale.png
"""

import heapq
import math
from collections import deque
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from random import Random
from typing import Any

import click

from bench.result import Result
from ingest.ledger.outcomes import HOUR, classify
from ingest.youtube.pace import Pace, PaceSettings, Phase

SWEEP = (1, 3, 10, 30, 100, 300)
_BOT_CHECK = classify("Sign in to confirm you're not a bot")
_RATE_LIMIT = classify("The current session has been rate-limited by YouTube for up to an hour")
_MONTH_H = 730.0


def _given(value: Any, unit: str, source: str) -> Any:
    return field(default=value, metadata={"unit": unit, "source": source})


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What the simulation takes for granted. Prices are only an example: put in your own."""

    segments: int = _given(2_084_320, "segments", "AudioSet's three lists: 22,160 + 20,371 + 2,041,789 rows")
    segment_s: float = _given(10.0, "s", "AudioSet; 1 or 2 % are shorter")
    addresses: int = _given(100, "addresses", "chosen")
    rate_per_hour: float = _given(300.0, "requests/h", "chosen, from each address: --rate")
    workers: int = _given(2, "requests at once", "chosen, from each address: --workers")
    allowed_per_hour: float = _given(300.0, "requests/h", "yt-dlp's wiki: guests get about 300 videos an hour")
    whims_per_1000: float = _given(0.2, "of 1,000 requests", "assumed: refused as a bot, though not too fast")
    fetch_s: float = _given(4.0, "s", "assumed: a request from start to file; 0.11 s of it measured here")
    gone_share: float = _given(0.2, "of segments", "assumed; of a copy of March 2023, 16 % were gone")
    again_share: float = _given(0.03, "of requests", "assumed: fail, and are asked for again")
    addresses_per_node: int = _given(10, "addresses", "chosen")
    cores_per_node: int = _given(2, "cores", "chosen")
    node_life_h: float = _given(168.0, "h", "assumed: mean time until a machine is lost; infinite for never")
    node_away_s: float = _given(300.0, "s", "assumed: until another stands in for it")
    node_missed_s: float = _given(30.0, "s", "Ray's health check: until its requests are known to be lost")
    read_kb: float = _given(451.0, "kB", "python -m bench ingest: for a segment that is had")
    kept_kb: float = _given(177.0, "kB", "ingest/youtube/plan.py: ten seconds of 16 kHz mono FLAC, mean of ESC-10")
    fetch_core_s: float = _given(0.11, "s", "python -m bench ingest: all of it, an upper bound")
    embed_speed: float = _given(87.0, "x real time a core", "python -m bench vggish: 2,000 s in 11.5 s on two cores")
    core_hour_price: float = _given(0.04, "$", "assumed")
    address_month_price: float = _given(3.0, "$", "assumed")
    gb_in_price: float = _given(
        0.0, "$", "assumed: what clouds take for traffic that comes in; proxies often take more"
    )
    gb_month_price: float = _given(0.023, "$", "assumed: an object store")

    @property
    def nodes(self) -> int:
        return math.ceil(self.addresses / self.addresses_per_node)

    @property
    def floor_h(self) -> float:
        """The closed form: hours until the last segment was asked for once, with nothing in the way."""
        each = math.ceil(self.segments / self.addresses)
        by_rate_s = (each - 1) * 3600 / self.rate_per_hour + self.fetch_s
        by_workers_s = math.ceil(each / self.workers) * self.fetch_s
        return max(by_rate_s, by_workers_s) / 3600


@dataclass(frozen=True, slots=True)
class Simulated:
    """What came of it. had, gone: segments, together all, unless every address was `given_up`. requests: had, gone,
    failed, refused and lost ones together."""

    hours: float
    had: int
    gone: int
    requests: int
    refused: int
    lost: int
    given_up: int

    @property
    def days(self) -> float:
        return self.hours / 24


@dataclass(slots=True)
class _Asker:
    """An address. recent: starts of the last hour. away_until: its machine is lost."""

    pace: Pace
    in_flight: int = 0
    recent: deque[float] = field(default_factory=deque)
    away_until: float = 0.0
    wake_at: float = math.inf
    losses: int = 0


def simulate(given: Assumptions, seed: int = 0) -> Simulated:
    """One course of events; the same for the same seed. Not quicker than a few microseconds for each request."""
    return _Simulation(given, seed).go()


class _Simulation:
    def __init__(self, given: Assumptions, seed: int) -> None:
        self._given, self._random = given, Random(seed)
        settings = PaceSettings(given.workers, given.rate_per_hour)
        self._askers = [_Asker(Pace(settings, self._random)) for _ in range(given.addresses)]
        self._events: list[tuple[float, int, str, int, Any]] = []
        self._order = 0
        self._left = given.segments
        self._counts = dict.fromkeys(("had", "gone", "failed", "refused", "lost"), 0)
        self._last_s = 0.0

    def go(self) -> Simulated:
        for number in range(len(self._askers)):
            self._start_all(number, 0.0)
        for node in range(self._given.nodes):
            self._lose_later(node, 0.0)
        while self._events and (self._left or any(asker.in_flight for asker in self._askers)):
            now, _, kind, number, what = heapq.heappop(self._events)
            if kind == "loss":
                if not any(asker.in_flight or asker.wake_at < math.inf for asker in self._askers):
                    break  # all are given up
                self._lose(number, now)
                self._lose_later(number, now)
                continue
            if kind == "end":
                self._end(number, now, *what)
            else:
                self._askers[number].wake_at = math.inf
            self._start_all(number, now)
        stopped = sum(asker.pace.phase is Phase.STOPPED for asker in self._askers)
        counts = self._counts
        return Simulated(
            self._last_s / 3600, counts["had"], counts["gone"], sum(counts.values()), counts["refused"], counts["lost"],
            stopped,
        )  # fmt: skip

    def _push(self, at: float, kind: str, number: int, what: Any = None) -> None:
        self._order += 1
        heapq.heappush(self._events, (at, self._order, kind, number, what))

    def _start_all(self, number: int, now: float) -> None:
        asker = self._askers[number]
        while self._left:
            delay_s = max(asker.pace.delay_s(now, asker.in_flight), asker.away_until - now)
            if delay_s > 1e-9:
                if delay_s < math.inf and now + delay_s < asker.wake_at:
                    asker.wake_at = now + delay_s
                    self._push(asker.wake_at, "wake", number)
                return
            probe = asker.pace.started(now)
            asker.in_flight += 1
            self._left -= 1
            self._push(now + self._given.fetch_s, "end", number, (self._answer(asker, now), probe, asker.losses))

    def _answer(self, asker: _Asker, now: float) -> str:
        while asker.recent and asker.recent[0] <= now - HOUR:
            asker.recent.popleft()
        asker.recent.append(now)
        if len(asker.recent) > self._given.allowed_per_hour + 1:
            return "limited"
        chance = self._random.random()
        for answer, share in (("whim", self._given.whims_per_1000 / 1000), ("failed", self._given.again_share)):
            if chance < share:
                return answer
            chance -= share
        return "gone" if self._random.random() < self._given.gone_share else "had"

    def _end(self, number: int, now: float, answer: str, probe: bool, losses: int) -> None:
        asker = self._askers[number]
        if losses < asker.losses and answer != "lost":
            self._push(now + self._given.node_missed_s, "end", number, ("lost", probe, losses))
            return
        asker.in_flight -= 1
        self._last_s = now
        if answer in ("had", "gone"):
            self._counts[answer] += 1
            asker.pace.answered(probe=probe)
            return
        self._left += 1
        if answer in ("whim", "limited"):
            self._counts["refused"] += 1
            asker.pace.objected(_RATE_LIMIT if answer == "limited" else _BOT_CHECK, now, probe=probe)
        else:
            self._counts[answer] += 1
            asker.pace.failed(answer, fresh=answer == "failed", probe=probe)

    def _lose_later(self, node: int, now: float) -> None:
        if self._given.node_life_h < math.inf:
            self._push(now + self._random.expovariate(1 / (self._given.node_life_h * 3600)), "loss", node)

    def _lose(self, node: int, now: float) -> None:
        first = node * self._given.addresses_per_node
        for number in range(first, min(first + self._given.addresses_per_node, len(self._askers))):
            self._askers[number].away_until = now + self._given.node_away_s
            self._askers[number].losses += 1
            self._start_all(number, now)  # to be woken when it is back


@dataclass(frozen=True, slots=True)
class Bill:
    """What it takes. Prices in dollars."""

    read_tb: float
    kept_tb: float
    audio_h: float
    fetch_core_h: float
    embed_core_h: float
    nodes: int
    cores_price: float
    addresses_price: float
    traffic_price: float
    store_month_price: float

    @property
    def price(self) -> float:
        """Of fetching; without a store that keeps it."""
        return self.cores_price + self.addresses_price + self.traffic_price


def reckon(given: Assumptions, came: Simulated) -> Bill:
    read_tb, kept_tb = came.had * given.read_kb / 1e9, came.had * given.kept_kb / 1e9
    audio_h = came.had * given.segment_s / 3600
    return Bill(
        read_tb=read_tb,
        kept_tb=kept_tb,
        audio_h=audio_h,
        fetch_core_h=(came.had + came.gone) * given.fetch_core_s / 3600,
        embed_core_h=audio_h / given.embed_speed,
        nodes=given.nodes,
        cores_price=given.nodes * given.cores_per_node * came.hours * given.core_hour_price,
        addresses_price=given.addresses * max(1, math.ceil(came.hours / _MONTH_H)) * given.address_month_price,
        traffic_price=1000 * read_tb * given.gb_in_price,
        store_month_price=1000 * kept_tb * given.gb_month_price,
    )


def run() -> list[Result]:
    """Days for a tenth of AudioSet from a tenth of the addresses, which are the days for the whole; and what becomes of
    who asks for more than is allowed."""
    whole = Assumptions()
    tenth = replace(whole, segments=whole.segments // 10, addresses=whole.addresses // 10)
    came = simulate(tenth)
    greedy = simulate(replace(tenth, rate_per_hour=2 * whole.rate_per_hour))
    polite = "as many days as asking for what is allowed"
    return [
        Result("all of AudioSet, 100 addresses", came.days, tenth.floor_h / 24, "days", "within 1.2 of the closed form",
               came.hours < 1.2 * tenth.floor_h, f"{came.refused} refused, {came.lost} lost of {came.requests:,}"),
        Result("the same, asking twice too fast", greedy.days, came.days, "days", f"at least {polite}",
               greedy.days >= came.days, f"{greedy.refused:,} refused; floor: {polite}"),
    ]  # fmt: skip


def table(given: Assumptions, sweep: tuple[int, ...] = SWEEP) -> str:
    """Markdown: a row for each number of addresses."""
    lines = ["| addresses | machines | closed form | simulated | refused | lost | machines cost | addresses cost |"]
    lines += ["|---:|---:|---:|---:|---:|---:|---:|---:|"]
    for addresses in sweep:
        each = replace(given, addresses=addresses)
        came = simulate(each)
        bill = reckon(each, came)
        lines.append(
            f"| {addresses} | {each.nodes} | {each.floor_h / 24:,.1f} days | {came.days:,.1f} days | "
            f"{came.refused:,} | {came.lost:,} | ${bill.cores_price:,.0f} | ${bill.addresses_price:,.0f} |"
        )
    return "\n".join(lines)


def account(given: Assumptions, came: Simulated) -> str:
    """What the given number of addresses comes to, in lines."""
    bill = reckon(given, came)
    return "\n".join(
        [
            f"{given.segments:,} segments from {given.addresses} addresses on {given.nodes} machines",
            f"  {came.days:,.1f} days ({given.floor_h / 24:,.1f} by the closed form), {came.requests:,} requests, "
            f"{came.refused:,} refused, {came.lost:,} lost, {came.given_up} addresses given up",
            f"  {came.had:,} had, {came.gone:,} gone: {bill.audio_h:,.0f} hours of audio",
            f"  {bill.read_tb:.2f} TB read, {bill.kept_tb:.2f} TB kept",
            f"  {bill.fetch_core_h:,.0f} core-hours to fetch, {bill.embed_core_h:,.0f} to embed with VGGish",
            f"  ${bill.price:,.0f}: machines ${bill.cores_price:,.0f}, addresses ${bill.addresses_price:,.0f}, traffic "
            f"${bill.traffic_price:,.0f}; to keep it ${bill.store_month_price:,.2f} a month",
        ]
    )


def plot(given: Assumptions, path: Path) -> None:
    """Days against addresses, and what is got against what is asked for."""
    import matplotlib as mpl
    import matplotlib.ticker

    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.loglog(SWEEP, [replace(given, addresses=n).floor_h / 24 for n in SWEEP], "k--", lw=1, label="closed form")
    worlds = {
        "as assumed": given,
        "refused ten times as often": replace(given, whims_per_1000=10 * given.whims_per_1000),
        "machines lost every 6 hours": replace(given, node_life_h=6.0),
    }
    for mark, size, (name, world) in zip("o^s", (9, 5, 4), worlds.items(), strict=True):
        days = [simulate(_shrunk(replace(world, addresses=n))).days for n in SWEEP]
        left.loglog(SWEEP, days, mark, ms=size, mfc="none" if mark == "o" else None, label=name)
    left.set(xlabel="addresses", ylabel="days for all of AudioSet", xticks=SWEEP, yticks=(1, 3, 10, 30, 100, 300))
    for axis in (left.xaxis, left.yaxis):
        axis.set_major_formatter("{x:g}")
        axis.set_minor_locator(mpl.ticker.NullLocator())
    left.legend(frameon=False)
    rates = [50, 100, 150, 200, 250, 300, 350, 400, 500, 600, 900, 1200]
    few = replace(given, addresses=10, segments=60_000)
    got = [few.segments / few.addresses / simulate(replace(few, rate_per_hour=rate)).hours for rate in rates]
    right.plot(rates, got, "o-", ms=4)
    right.axvline(given.allowed_per_hour, color="k", ls="--", lw=1)
    right.set(xlabel="requests an hour asked for (--rate)", ylabel="segments an hour got, an address", ylim=(0, None))
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def _shrunk(given: Assumptions) -> Assumptions:
    """Less to simulate and the same days: fewer addresses with as much each, but whole machines."""
    divisor = max(1, given.addresses // given.addresses_per_node)
    return replace(given, segments=given.segments // divisor, addresses=given.addresses // divisor)


def assumptions_table() -> str:
    """Markdown: every assumption with its source."""
    lines = ["| assumption | value | source |", "|---|---:|---|"]
    for each in fields(Assumptions):
        value = f"{each.default:,}" if isinstance(each.default, int) else f"{each.default:g}"
        lines.append(f"| `{each.name}` | {value} {each.metadata['unit']} | {each.metadata['source']} |")
    return "\n".join(lines)


@click.command(help=(__doc__ or "").split("\n", maxsplit=1)[0])
@click.option("--seed", default=0, show_default=True, help="Of the events.")
@click.option("--sweep", "swept", is_flag=True, help="Also a table of 1 to 300 addresses, which takes minutes.")
@click.option("--assumptions", "shown", is_flag=True, help="Show what is assumed, and stop.")
@click.option("--plot", "picture", type=click.Path(path_type=Path), help="Draw days and rates into this file.")
def main(seed: int, swept: bool, shown: bool, picture: Path | None, **given: Any) -> None:
    if shown:
        click.echo(assumptions_table())
        return
    assumed = Assumptions(**given)
    click.echo(account(assumed, simulate(assumed, seed)))
    if swept:
        click.echo(table(assumed))
    if picture:
        plot(assumed, picture)


for _each in reversed(fields(Assumptions)):
    _words = f"{_each.metadata['unit']}; {_each.metadata['source']}"
    main = click.option(f"--{_each.name.replace('_', '-')}", default=_each.default, show_default=True, help=_words)(
        main
    )

if __name__ == "__main__":
    main()
