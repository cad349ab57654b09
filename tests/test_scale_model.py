"""The simulator of docs/scale.md against what can be worked out by hand."""

import math
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.scale_model import SWEEP, Assumptions, Simulated, account, assumptions_table, reckon, simulate

DOCS = (Path(__file__).parent.parent / "docs" / "scale.md").read_text()
PERFECT = Assumptions(
    segments=3000, addresses=1, whims_per_1000=0.0, gone_share=0.0, again_share=0.0, node_life_h=math.inf
)
"""Nobody is refused, nothing fails, nothing is lost."""


def test_one_address_takes_as_long_as_its_rate_says() -> None:
    came = simulate(PERFECT)
    assert came.hours * 3600 == pytest.approx(2999 * 12.0 + PERFECT.fetch_s)
    assert (came.had, came.requests, came.refused, came.lost) == (3000, 3000, 0, 0)


@pytest.mark.parametrize(("addresses", "in_turn"), [(1, 3000), (7, 429), (10, 300), (3000, 1), (5000, 1)])
def test_addresses_share_the_work(addresses: int, in_turn: int) -> None:
    many = replace(PERFECT, addresses=addresses)
    assert simulate(many).hours * 3600 == pytest.approx((in_turn - 1) * 12.0 + PERFECT.fetch_s)
    assert simulate(many).hours == pytest.approx(many.floor_h)


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_without_a_rate_the_workers_are_the_limit(workers: int) -> None:
    busy = replace(PERFECT, workers=workers, rate_per_hour=math.inf, allowed_per_hour=math.inf, fetch_s=60.0)
    assert simulate(busy).hours == pytest.approx(3000 / workers / 60) == pytest.approx(busy.floor_h)


def test_what_fails_is_asked_for_again() -> None:
    again = simulate(replace(PERFECT, segments=20_000, again_share=0.2))
    assert again.had == 20_000
    assert again.requests == pytest.approx(20_000 / 0.8, rel=0.02)


def test_what_is_gone_costs_a_request_and_no_more() -> None:
    came = simulate(replace(PERFECT, segments=20_000, gone_share=0.2))
    assert came.had + came.gone == came.requests == 20_000
    assert came.gone == pytest.approx(4000, rel=0.05)


def test_machines_that_are_lost_take_their_time_with_them() -> None:
    """Losses come with rate 1/life, whenever; at any time a machine is there if none came within `away`."""
    life_h, away_s = 5.0, 1800.0
    came = simulate(replace(PERFECT, segments=60_000, node_life_h=life_h, node_away_s=away_s))
    there = math.exp(-away_s / (life_h * 3600))
    assert came.hours == pytest.approx(PERFECT.floor_h * 20 / there, rel=0.05)
    assert came.had == 60_000
    assert came.lost == came.requests - 60_000 > 0


def test_who_is_always_refused_gives_up_after_its_probes() -> None:
    came = simulate(replace(PERFECT, addresses=4, workers=1, whims_per_1000=1000.0, node_life_h=24.0))
    assert (came.had, came.given_up, came.refused) == (0, 4, 4 * 7)


def test_asking_for_more_than_is_allowed_gets_less() -> None:
    polite = simulate(PERFECT)
    greedy = simulate(replace(PERFECT, rate_per_hour=600.0))
    assert polite.refused == 0 < greedy.refused
    assert greedy.hours > polite.hours


@settings(max_examples=30)
@given(
    addresses=st.integers(1, 12),
    rate=st.sampled_from([60.0, 300.0, 900.0]),
    whims=st.sampled_from([0.0, 2.0, 50.0]),
    life_h=st.sampled_from([1.0, 10.0, math.inf]),
    seed=st.integers(0, 5),
)
def test_every_segment_ends_once_and_no_faster_than_the_closed_form(
    addresses: int, rate: float, whims: float, life_h: float, seed: int
) -> None:
    world = Assumptions(
        segments=600, addresses=addresses, rate_per_hour=rate, whims_per_1000=whims, node_life_h=life_h,
        addresses_per_node=3,
    )  # fmt: skip
    came = simulate(world, seed)
    assert came == simulate(world, seed), "the same for the same seed"
    assert came.had + came.gone == 600 or came.given_up == addresses
    if came.had + came.gone == 600:
        assert came.requests >= 600
        assert came.hours >= world.floor_h - 1e-9


def test_the_bill() -> None:
    came = Simulated(hours=100.0, had=1_000_000, gone=0, requests=1_000_000, refused=0, lost=0, given_up=0)
    world = Assumptions(
        addresses=20, addresses_per_node=10, cores_per_node=4, core_hour_price=0.05, address_month_price=2.0,
        gb_in_price=0.01, gb_month_price=0.02, read_kb=500.0, kept_kb=200.0, fetch_core_s=0.36, embed_speed=100.0,
    )  # fmt: skip
    bill = reckon(world, came)
    assert (bill.read_tb, bill.kept_tb) == (0.5, 0.2)
    assert bill.audio_h == pytest.approx(1e7 / 3600)
    assert bill.fetch_core_h == pytest.approx(100.0)
    assert bill.embed_core_h == pytest.approx(1e5 / 3600)
    assert (bill.cores_price, bill.addresses_price) == (pytest.approx(2 * 4 * 100 * 0.05), 40.0)
    assert (bill.traffic_price, bill.store_month_price) == (pytest.approx(5.0), pytest.approx(4.0))
    assert bill.price == pytest.approx(85.0)
    assert "$85" in account(world, came)


@pytest.mark.parametrize("addresses", SWEEP)
def test_the_docs_have_the_closed_form(addresses: int) -> None:
    world = Assumptions(addresses=addresses)
    assert f"| {addresses} | {world.nodes} | {world.floor_h / 24:,.1f} days |" in DOCS


def test_every_assumption_has_its_unit_and_source() -> None:
    lines = assumptions_table().splitlines()[2:]
    assert len(lines) == len(fields(Assumptions))
    assert all(each.metadata["unit"] and each.metadata["source"] for each in fields(Assumptions))
    assert assumptions_table() in DOCS
    assert Assumptions().segments == 22_160 + 20_371 + 2_041_789
