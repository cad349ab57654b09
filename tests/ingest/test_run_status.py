"""How a run stands, told to whoever looks from elsewhere: nothing is lost on the way, and nobody is held up."""

import json
import math
import tempfile
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.audioset.segments import Segment
from ingest.errors import FormatError, UsageError
from ingest.ledger.ledger import Ledger, State
from ingest.places.folder import LocalFolder
from ingest.youtube.availability import Availability, survey
from ingest.youtube.governor import Standing
from ingest.youtube.pace import Phase
from ingest.youtube.run import Progress
from ingest.youtube.run_status import STATUS, RunStatus, StatusWriter, from_json, read_status, to_json
from tests.ingest.fetching import StubSource, job
from tests.ingest.media import chirp, wav
from tests.ingest.media_server import serve

PROGRESS = Progress(
    {state: number for number, state in enumerate(State)}, 300.0, 12.5, Phase.RUNNING, "", 0.0, 99,
    (Standing("http://one:1", Phase.RUNNING, "", 0.0, 300.0, 1, 44),
     Standing("http://two:2", Phase.PAUSED, "bot-check: Sign in", 3100.5, 150.0, 0, 20)),
)  # fmt: skip


@cache
def availability() -> Availability:
    with tempfile.TemporaryDirectory() as folder, Ledger.open(Path(folder)) as ledger:
        ledger.request([Segment("a", 0.0, 10.0, ("/m/09x0r",)), Segment("b", 0.0, 10.0)], split="s", now=1.0)
        ledger.claim(2.0)
        ledger.failed("a_0", State.GONE, failure="private", text="Private video", now=3.0)
        return survey(ledger)


def status(**changes: object) -> RunStatus:
    whole = RunStatus("host", 7, "ray", 1.0, 5.0, False, "", PROGRESS, availability(), 4.0)
    return replace(whole, **changes)  # type: ignore[arg-type]


def test_it_comes_back_as_it_was() -> None:
    assert from_json(to_json(status())) == status()


@given(
    rate=st.one_of(st.just(math.inf), st.floats(0.1, 1e6)),
    phase=st.sampled_from(Phase),
    started=st.integers(0, 1 << 62),
)
def test_every_standing_comes_back(rate: float, phase: Phase, started: int) -> None:
    standing = Standing("a", phase, "why", 1.0, rate, 0, started)
    told = status(progress=replace(PROGRESS, phase=phase, addresses=(standing,)))
    assert from_json(to_json(told)) == told


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b'{"format": 1}', b'{"format": 2}', b"null", b"\xff\xfe", b"[" * 100_000]
)
def test_what_no_run_wrote_is_refused_in_one_line(text: bytes, tmp_path: Path) -> None:
    (tmp_path / STATUS).write_bytes(text)
    with pytest.raises(FormatError) as caught:
        read_status(tmp_path)
    assert str(caught.value).startswith(f"{tmp_path / STATUS}: is ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("at",), "noon"),
        (("at",), 1e300),
        (("host",), None),
        (("progress", "addresses", 0, "rate_per_hour"), "fast"),
        (("progress", "addresses", 1, "paused_for_s"), 1e300),
        (("availability", "newest", 0, "at"), -1),
        (("availability", "by_split", "s"), [1, 2, 3]),
        (("availability", "by_split", "s"), [1, 0]),
        (("availability", "bytes_on_disk"), "many"),
    ],
)
def test_a_value_that_no_run_writes_is_found_where_it_comes_in(place: tuple[str | int, ...], value: object) -> None:
    whole = json.loads(to_json(status()))
    inner = whole
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    with pytest.raises(FormatError, match=r"status\.json: is not what a run wrote"):
        from_json(json.dumps(whole))


def test_it_goes_silent_and_it_ends() -> None:
    running = status(at=1000.0)
    assert not running.is_silent(1060.0)
    assert running.is_silent(1300.0)
    assert not replace(running, ended=True).is_silent(1300.0)
    assert running.is_elsewhere and not replace(running, ended=True).is_elsewhere


def test_a_run_writes_it_and_a_copy_elsewhere(tmp_path: Path) -> None:
    seen: list[RunStatus | None] = []
    with serve({"chirp.wav": wav(chirp(20.0, 16_000))}) as server:
        job(
            [Segment("ok/1/chirp.wav", 5.0, 15.0), Segment("404/2/chirp.wav", 5.0, 15.0)],
            tmp_path / "o",
            StubSource(server.url),
            progress=lambda _: seen.append(read_status(tmp_path / "o")),
            publish=LocalFolder(tmp_path / "copy"),
        )
    first, last = seen[0], read_status(tmp_path / "o")
    assert first and not first.ended and first.progress.requested == 2
    assert first.progress.phase is Phase.RUNNING and not first.progress.pause
    assert last and last.ended and last.stopped == ""
    assert last.availability.states[State.DONE] == last.availability.states[State.GONE] == 1
    assert last.availability.reasons[0].failure == "not-found"
    assert read_status(f"file://{tmp_path}/copy") == last
    assert not list(tmp_path.rglob("*.tmp"))


def test_a_place_that_takes_no_copy_holds_nothing_up(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    writer = StatusWriter(tmp_path, "local", publish=LocalFolder(tmp_path / "file" / "below"))
    for ended in (False, True):
        writer.write(PROGRESS, availability(), 4.0, ended=ended)
        writer.close() if ended else writer._copy.result()  # type: ignore[union-attr]
    found = read_status(tmp_path)
    assert found and found.ended
    assert [("--publish" in line, "tries again" in line) for line in caplog.messages] == [(True, True)], "said once"


def test_places_that_do_not_exist(tmp_path: Path) -> None:
    assert read_status(tmp_path) is None
    assert read_status(f"file://{tmp_path}/none") is None
    with pytest.raises(UsageError, match="none://a: is no address that Arrow takes"):
        read_status("none://a")


def test_the_names_of_the_file_and_the_folder(tmp_path: Path) -> None:
    StatusWriter(tmp_path, "local").write(PROGRESS, availability(), 4.0)
    assert (tmp_path / STATUS).is_file()
