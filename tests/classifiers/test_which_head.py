"""Heads by name: docs/heads.md tells every one apart, and its files; the families that pages name are there."""

import re
from pathlib import Path

import pytest

from classifiers.comparison.compare import choose_heads
from classifiers.heads import HEADS
from embeddings.encoders import encoder_row

PAGE = Path(__file__).resolve().parents[2] / "docs" / "heads.md"


def test_every_head_is_told_apart() -> None:
    section = PAGE.read_text().split("## Which head")[1].split("\n## ")[0]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    rows = {name.strip("`"): (when, files) for name, _, when, files in table[2:]}
    assert sorted(rows) == sorted(HEADS)
    for name, (when, files) in rows.items():
        assert when, f"{name}: when to use it is not said"
        assert re.findall(r"`([^`]+)`", files) == list(dict.fromkeys((HEADS[name].full_file, HEADS[name].light_file)))


@pytest.mark.parametrize(
    ("family", "some", "others"),
    [
        ("shallow", {"svc", "logistic", "xgboost", "mlp"}, {"attention", "cnn", "yamnet-native"}),
        ("attention-family", {"attention", "decision", "transformer"}, {"svc", "wide", "cnn"}),
    ],
)
def test_the_families_that_are_documented_can_be_named(family: str, some: set[str], others: set[str]) -> None:
    chosen = set(choose_heads(family, encoder_row("yamnet").spec())[0])
    assert some <= chosen
    assert not others & chosen
