"""The table of docs/heads.md names every head, and its files, as the table of heads does."""

import re
from pathlib import Path

from classifiers.heads import HEADS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "heads.md"


def test_every_head_is_told_apart() -> None:
    section = PAGE.read_text().split("## Which head")[1].split("\n## ")[0]
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if "|" in line]
    rows = {name.strip("`"): (when, files) for name, _, when, files in table[2:]}
    assert sorted(rows) == sorted(HEADS)
    for name, (when, files) in rows.items():
        assert when, f"{name}: when to use it is not said"
        assert re.findall(r"`([^`]+)`", files) == list(dict.fromkeys((HEADS[name].full_file, HEADS[name].light_file)))
