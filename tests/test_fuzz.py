"""A few hundred damaged files for each reader, the same ones every time; `python -m tests.fuzz` feeds them more."""

import os
from pathlib import Path
from random import Random

import pytest

from ingest.audio.clip import AudioItem
from ingest.errors import MESSAGE_HEAD, MESSAGE_TAIL, AudioError, EarshotError
from tests.fuzz import Reader, attempt, case, run_children, scratch_folder
from tests.fuzz_mutators import json_node
from tests.fuzz_readers import READERS, check_items

CASES = {"audio": 60, "part": 80, "stats": 60, "ledger": 40, "head-tflite": 30, "bundle": 40}
"""What takes longer."""
ENGINE = ("head-skops",)  # scikit-learn takes seconds to import


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name in ENGINE)) for name in READERS])
def test_a_damaged_file_is_read_whole_or_refused_in_one_line(name: str) -> None:
    reader = READERS[name]
    with scratch_folder() as scratch:
        folder = Path(scratch)
        seeds = reader.seeds(folder)
        assert [attempt(reader, data, folder) for data in seeds] == ["read"] * len(seeds)
        outcomes = {n: attempt(reader, case(reader, seeds, 0, n), folder) for n in range(1, CASES.get(name, 150))}
    assert {n: said for n, said in outcomes.items() if said not in ("read", "refused")} == {}
    assert "refused" in outcomes.values(), "nothing was damaged"


def test_the_fuzzer_finds_what_is_there_to_be_found(tmp_path: Path) -> None:
    def careless(data: bytes, _: Path) -> None:
        if data[:1] != b"a":
            raise EarshotError("refused")
        assert int(data[1:3]) > 0

    reader = Reader("careless", lambda _: [b"a12" * 9], careless)
    outcomes = [attempt(reader, case(reader, [b"a12" * 9], 0, n), tmp_path) for n in range(300)]
    assert {"read", "refused"} < set(outcomes)
    assert any(said.startswith("ValueError at tests/test_fuzz.py") for said in outcomes)
    assert case(reader, [b"a12" * 9], 3, 7) == case(reader, [b"a12" * 9], 3, 7)


def test_a_broken_promise_is_said_in_the_words_of_the_assertion(tmp_path: Path) -> None:
    nameless = AudioItem("", tmp_path / "a.wav", "s")
    reader = Reader("nameless", lambda _: [], lambda *_: check_items([nameless]))
    assert "AssertionError at tests/fuzz_readers.py" in attempt(reader, b"", tmp_path)
    assert "isinstance(item.key, str) and item.key" in attempt(reader, b"", tmp_path)


@pytest.mark.parametrize("tree", [b"7", b'"text"', b"null", b"[]", b"{}", b"not json", b'{"a": [1]}'])
def test_any_json_can_be_damaged_again(tree: bytes) -> None:
    for seed in range(20):
        assert isinstance(json_node(tree, Random(seed)), bytes)


def test_no_time_left_for_a_case_is_no_error() -> None:
    counts, findings = run_children("manifest", 0, 0, 5, seconds=0.02)  # its imports take longer
    assert not counts and not findings


def test_a_message_is_one_line_of_bounded_length_with_its_remedy() -> None:
    said = str(EarshotError("what\nis " + "x" * 10_000 + " wrong\x1b[2J\u2028; the remedy"))
    assert said.isprintable() and said.endswith("; the remedy") and len(said) < MESSAGE_HEAD + MESSAGE_TAIL + 10
    assert str(AudioError("a\nb.wav", "rule", "remedy")) == "a\\nb.wav: rule; remedy"


def test_a_pipe_in_a_folder_of_audio_is_not_waited_for(tmp_path: Path) -> None:
    from ingest.audio.windows import read_windows
    from ingest.errors import NotAudioError

    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(NotAudioError, match="no ordinary file"):
        list(read_windows(tmp_path / "pipe.wav"))
