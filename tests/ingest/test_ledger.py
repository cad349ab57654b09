"""The ledger: every requested segment in exactly one state, whatever happens, in whatever order."""

import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ingest.audioset.segments import Segment
from ingest.errors import FormatError, SpecMismatchError, UsageError
from ingest.ledger.ledger import FILE_NAME, AudioFile, Ledger, State
from ingest.youtube.availability import markdown, survey
from ingest.youtube.fetched_manifest import write_fetched_manifest
from ingest.youtube.naming import audio_path

ROOT = Path(__file__).parents[2]


def segments(count: int, offset: int = 0) -> list[Segment]:
    return [Segment(f"-id_{offset + number:07d}", 30.0, 40.0, ("/m/09x0r",)) for number in range(count)]


def file_of(key: str) -> AudioFile:
    return AudioFile(str(audio_path(key, "flac")), 10, "0" * 64, 10.0, 16_000)


class LedgerMachine(RuleBasedStateMachine):
    """A model in a dictionary beside the real thing; the process may die at any point."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.ledger = Ledger.open(self.folder)
        self.model: dict[str, State] = {}
        self.due: dict[str, float] = {}
        self.run: set[str] = set()
        self.now = 1000.0

    def teardown(self) -> None:
        self.ledger.close()
        shutil.rmtree(self.folder)

    @rule(offset=st.integers(0, 8), count=st.integers(0, 5))
    def request(self, offset: int, count: int) -> None:
        asked = segments(count, offset)
        assert self.ledger.request(asked + asked, split="balanced", now=self.now) == count
        self.run = {segment.key for segment in asked}
        for key in self.run:
            self.model.setdefault(key, State.PENDING)

    @rule(seconds=st.sampled_from([1.0, 100.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule()
    def claim(self) -> None:
        row = self.ledger.claim(self.now)
        ready = {k for k in self.run if self.model[k] is State.PENDING or self.due.get(k, 1e9) <= self.now}
        if row is None:
            assert not ready
            return
        assert row.segment.key in ready
        assert row.state is self.model[row.segment.key]
        assert row.state is State.WAITING or not any(self.due.get(k, 1e9) <= self.now for k in ready)
        self.model[row.segment.key] = State.RUNNING
        self.due.pop(row.segment.key, None)

    def running(self) -> list[str]:
        return sorted(key for key, state in self.model.items() if state is State.RUNNING)

    @precondition(lambda self: self.running())
    @rule(data=st.data(), end=st.sampled_from(["done", "gone", "failed", "waiting", "put back"]))
    def finish(self, data: st.DataObject, end: str) -> None:
        key = data.draw(st.sampled_from(self.running()))
        if end == "done":
            self.ledger.done(key, file_of(key), bytes_read=5, versions="v", now=self.now)
            self.model[key] = State.DONE
        elif end == "put back":
            self.ledger.put_back(key, objection=True)
            self.model[key] = State.PENDING
        else:
            due = self.now + 50 if end == "waiting" else None
            self.ledger.failed(key, State(end), failure="forbidden", text="no", now=self.now, next_attempt=due)
            self.model[key] = State(end)
            if due:
                self.due[key] = due
        with pytest.raises(LookupError):
            self.ledger.put_back(key)

    @rule()
    def killed_and_opened_again(self) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(self.folder)
        assert self.ledger.release_running() == len(self.running())
        for key in self.running():
            self.model[key] = State.PENDING

    @rule()
    def reopen(self) -> None:
        keys = {k for k in self.run if self.model[k] in (State.GONE, State.FAILED)}
        assert self.ledger.reopen(["forbidden", "private"]) == len(keys)
        for key in keys:
            self.model[key] = State.PENDING

    @rule()
    def file_lost(self) -> None:
        for key in [k for k, state in self.model.items() if state is State.DONE][:1]:
            self.ledger.forget_file(key)
            self.model[key] = State.PENDING

    @invariant()
    def requested_is_the_sum_of_the_states(self) -> None:
        counts = self.ledger.counts()
        assert sum(counts.values()) == len(self.model)
        assert {row.segment.key: row.state for row in self.ledger.rows()} == self.model
        assert sum(self.ledger.counts(this_run=True).values()) == len(self.run)


TestLedger = LedgerMachine.TestCase
TestLedger.settings = settings(max_examples=25, stateful_step_count=25, deadline=None)


def test_a_second_run_on_the_folder_is_refused_and_a_look_is_not(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.request(segments(2), split="", now=0)
        code = f"import pathlib; from ingest.ledger.ledger import Ledger; Ledger.open(pathlib.Path({str(tmp_path)!r}))"
        done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
        assert "another run (process " in done.stderr
        with Ledger.read(tmp_path) as reader:
            assert reader.counts()[State.PENDING] == 2
    Ledger.open(tmp_path).close()


def test_other_settings_are_refused(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.settle({"format": "flac", "sample_rate": 16_000})
        ledger.settle({"format": "flac", "sample_rate": 16_000})
        with pytest.raises(SpecMismatchError, match=r"--format is wav, but .* was begun with flac"):
            ledger.settle({"format": "wav"})


def test_what_is_no_ledger_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=FILE_NAME):
        Ledger.read(tmp_path)
    (tmp_path / FILE_NAME).write_bytes(b"not a database" * 100)
    with pytest.raises(FormatError, match="not a ledger"):
        Ledger.open(tmp_path)
    (tmp_path / FILE_NAME).unlink()
    with sqlite3.connect(tmp_path / FILE_NAME) as newer:
        newer.execute("PRAGMA user_version = 99")
    newer.close()
    with pytest.raises(FormatError, match="newer"):
        Ledger.open(tmp_path)


@pytest.mark.parametrize("events", ["5", "[[1.0, 2.0]]", '[[1.0, "2", "/m/1"]]', "[", "null"])
def test_damaged_events_are_named(tmp_path: Path, events: str) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.request(segments(1), split="", now=0.0)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("INSERT INTO strong VALUES (?, ?)", ("-id_0000000", events))
    db.close()
    with Ledger.open(tmp_path) as ledger, pytest.raises(FormatError, match="a row is damaged"):
        ledger.strong(["-id_0000000"])


@pytest.mark.parametrize(
    "change",
    [
        "state = 'null'", "split = x'ff'", "mids = '[1]'", "mids = '['", "start_s = 'x'", "start_s = 9e999",
        "start_s = 1.0", "finished_at = 'x'", "finished_at = 9e999, started_at = 1.0", "path = x'00'", "path = NULL",
        "duration_s = '{}'", "duration_s = 9e999", "sample_rate = 1.5", "sha256 = NULL", "text = x'ff'",
        "bytes_read = 'x'", "bytes_read = 9e999", "key = 'other'",
    ],
)  # fmt: skip
def test_a_value_that_no_run_wrote_is_damage(tmp_path: Path, change: str) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.request(segments(2), split="eval", now=0.0)
        first = ledger.claim(1.0)
        assert first
        file = AudioFile("audio/a.flac", 9, "0" * 64, 10.0, 16_000)
        ledger.done(first.segment.key, file, bytes_read=9, versions="x", now=2.0)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("PRAGMA ignore_check_constraints = ON")
        db.execute(f"UPDATE segments SET {change} WHERE state = 'done'")
    db.close()
    with Ledger.open(tmp_path) as ledger:
        with suppress(FormatError):
            markdown(survey(ledger), "it")
        with pytest.raises(FormatError, match=r"ledger\.sqlite: .*move .*away"):
            list(ledger.rows())
            ledger.counts()
            ledger.claim(9.0)
            write_fetched_manifest(ledger)


def test_a_failure_without_words_is_shown_without(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.request(segments(1), split="eval", now=0.0)
        first = ledger.claim(1.0)
        assert first
        ledger.failed(first.segment.key, State.GONE, failure="private", text="Private video", now=2.0)
    with sqlite3.connect(tmp_path / FILE_NAME) as db:
        db.execute("UPDATE segments SET text = NULL")
    db.close()
    with Ledger.read(tmp_path) as ledger:
        assert "| gone | private | 1 |  |" in markdown(survey(ledger), "it")


def test_the_database_itself_refuses_what_cannot_be(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.request(segments(1), split="", now=0)
        for change in ("state = 'lost'", "state = 'done'", "state = 'waiting'", "state = 'gone'"):
            with pytest.raises(FormatError, match="CHECK constraint failed"):
                ledger.query(f"UPDATE segments SET {change}")


def test_segments_that_met_an_objection_stand_behind_the_others(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.request(segments(3), split="", now=0)
        first = ledger.claim(0)
        assert first
        ledger.put_back(first.segment.key, objection=True)
        claimed = [row.segment.key for _ in range(3) if (row := ledger.claim(0))]
        assert claimed[-1] == first.segment.key
        assert ledger.row(first.segment.key).attempts == 0


@pytest.mark.slow
def test_a_claim_among_two_hundred_thousand_takes_no_time(tmp_path: Path) -> None:
    with Ledger.open(tmp_path) as ledger:
        ledger.request(segments(200_000), split="unbalanced", now=0)
        began = time.perf_counter()
        for _ in range(200):
            row = ledger.claim(0)
            assert row
            ledger.failed(row.segment.key, State.WAITING, failure="forbidden", text="", now=0, next_attempt=9.0)
        assert (time.perf_counter() - began) / 200 < 0.01
