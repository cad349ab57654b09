"""docs/reliability.md promises nothing that no test holds."""

import ast
import re
from pathlib import Path

from tests.fuzz_readers import READERS

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text()


def functions_of(path: Path) -> set[str]:
    return {node.name for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


def test_every_promise_names_a_test_that_exists() -> None:
    table = PAGE.split("## What is promised")[1].split("\n## ")[0].strip().splitlines()
    promises = [row for row in table if row.startswith("|")][2:]
    assert len(promises) > 10
    for row in promises:
        named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row)
        assert named, f"nothing holds: {row}"
        for file, name in named:
            assert name in functions_of(ROOT / file), f"{file} has no {name}"


def test_every_reader_that_was_fuzzed_is_one_that_exists() -> None:
    fuzzed = {name for row in re.findall(r"^\| `([^|]+)` \|", PAGE.split("## Fuzzing")[1], re.MULTILINE)
              for name in row.replace("`", "").split(", ")}  # fmt: skip
    assert fuzzed <= set(READERS)
