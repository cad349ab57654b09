"""Several sources in turn: what each order asks whom, what becomes of a segment, and what the ledger says of it."""

import io
import json
import sqlite3
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from ingest.audioset.segments import Segment
from ingest.errors import UsageError
from ingest.ledger.ledger import FILE_NAME, Ledger, Row, State
from ingest.ledger.outcomes import BY_NAME
from ingest.youtube.mirror import Mirror
from ingest.youtube.remote import MediaStream
from ingest.youtube.sources import clip_starts, in_order, parse_sources
from tests.ingest.fetching import JumpingClock, StubSource, job
from tests.ingest.file_server import serving
from tests.ingest.media import chirp, time_error_s, wav
from tests.ingest.media_server import MediaServer, serve

START_S, RATE = 5.0, 16_000
TREE = "datasets/owner/name/tree/main/data"
TEXTS = {
    "private": "Private video. Sign in if you've been granted access",
    "age": "Sign in to confirm your age. This video may be",
    "country": "The uploader has not made this video available in your country",
    "unavailable": "Video unavailable",
    "bot": "Sign in to confirm you're not a bot",
    "forbidden": "unable to download video data: HTTP Error 403: Forbidden",
}
ORDERS = ("youtube", "mirror", "youtube,mirror", "mirror,youtube")


class Videos(StubSource):
    """`ok/...` are chirps from 0 s on; remembers who was asked for."""

    def __init__(self, url: str) -> None:
        super().__init__(url, TEXTS)
        self.asked: list[str] = []

    def find(self, video_id: str) -> MediaStream:
        self.asked.append(video_id)
        return super().find(video_id)


def copy_of(samples: "np.ndarray[Any, np.dtype[np.float32]]") -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, RATE, format="FLAC")
    return buffer.getvalue()


def parquet(clips: dict[str, bytes]) -> bytes:
    """In an order that is nobody else's."""
    rows = [{"video_id": i, "audio": {"bytes": clips[i], "path": i}} for i in sorted(clips, reverse=True)]
    buffer = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), buffer, row_group_size=2)
    return buffer.getvalue()


SEGMENT = chirp(START_S + 10.0, RATE)[round(START_S * RATE) :]
HELD = ("ok/both.wav", "private/1", "age/1", "country/1", "unavailable/1", "bot/1", "forbidden/1")
COPIES = {video_id: copy_of(SEGMENT) for video_id in HELD} | {
    "private/silent": copy_of(np.zeros(RATE * 10, np.float32)),
    "private/short": copy_of(SEGMENT[: RATE * 4]),
    "private/noise": b"<html>" * 100,
}


@pytest.fixture(scope="module")
def videos_server() -> Iterator[MediaServer]:
    with serve({"both.wav": wav(chirp(20.0, RATE)), "alone.wav": wav(chirp(20.0, RATE))}) as running:
        yield running


@pytest.fixture
def videos(videos_server: MediaServer) -> Videos:
    return Videos(videos_server.url)


@pytest.fixture(params=["folder", "hub"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    data = parquet(COPIES)
    if request.param == "folder":
        (tmp_path / "copies").mkdir()
        (tmp_path / "copies" / "00.parquet").write_bytes(data)
        yield str(tmp_path / "copies")
        return
    tree = json.dumps([{"path": "data/00.parquet", "size": len(data)}]).encode()
    with serving({"datasets/owner/name/resolve/main/data/00.parquet": data, f"api/{TREE}": tree}) as server:
        yield server.url + TREE


def asked(*ids: str, start_s: float = START_S) -> list[Segment]:
    return [Segment(video_id, start_s, start_s + 10.0) for video_id in ids]


def named(order: str, videos: StubSource, mirror: Mirror) -> dict[str, Any]:
    both = {"youtube": videos, "mirror": mirror}
    return {name: both[name] for name in parse_sources(order)}


def rows(out: Path) -> dict[str, Row]:
    with Ledger.read(out) as ledger:
        return {row.segment.youtube_id: row for row in ledger.rows()}


@pytest.mark.parametrize("order", ORDERS)
def test_each_order_asks_in_that_order_and_says_where_it_is_from(
    order: str, videos: Videos, where: str, tmp_path: Path
) -> None:
    ids = ("ok/both.wav", "ok/alone.wav", "private/1", "private/nowhere")
    result = job(asked(*ids), tmp_path / "out", named(order, videos, Mirror(where)))
    first, _, second = order.partition(",")
    expected = {
        "ok/both.wav": (State.DONE, None, first),
        "ok/alone.wav": (State.DONE, None, "youtube") if "youtube" in order else (State.GONE, "not-in-mirror", None),
        "private/1": (State.DONE, None, "mirror") if "mirror" in order else (State.GONE, "private", None),
        "private/nowhere": (State.GONE, "private" if "youtube" in order else "not-in-mirror", None),
    }
    found = rows(tmp_path / "out")
    assert {i: (row.state, row.failure, row.origin) for i, row in found.items()} == expected
    wanted = {"youtube": set(ids), "mirror": set()}.get(first if not second else "")
    if wanted is None:
        wanted = set(ids) if first == "youtube" else {"ok/alone.wav", "private/nowhere"}
    assert set(videos.asked) == wanted and len(videos.asked) == len(wanted)
    origins = [row.origin for row in found.values() if row.origin]
    assert result.availability.by_origin == {name: origins.count(name) for name in sorted(set(origins))}
    manifest = pq.read_table(result.manifest).to_pylist()
    assert {row["source"]: row["origin"] for row in manifest} == {i: o for i, (_, _, o) in expected.items() if o}
    assert f"| {origins[0]} | {origins.count(origins[0])} |" in result.report.read_text()


@pytest.mark.parametrize("name", ["private", "age", "country", "unavailable"])
def test_what_lies_with_the_video_falls_through_at_once(name: str, videos: Videos, where: str, tmp_path: Path) -> None:
    job(asked(f"{name}/1"), tmp_path / "out", named("youtube,mirror", videos, Mirror(where)))
    row = rows(tmp_path / "out")[f"{name}/1"]
    assert (row.state, row.origin, row.attempts) == (State.DONE, "mirror", 1)
    samples, rate = soundfile.read(tmp_path / "out" / str(row.path), dtype="float32")
    assert len(samples) == 10 * rate
    assert abs(time_error_s(samples[: rate // 4], rate, START_S)) < 0.005
    assert abs(time_error_s(samples[-rate // 4 :], rate, START_S + 9.75)) < 0.005


def test_the_environment_pauses_and_does_not_fall_through(videos: Videos, where: str, tmp_path: Path) -> None:
    result = job(asked("bot/1"), tmp_path, named("youtube,mirror", videos, Mirror(where)), pace={"probes": 2})
    assert "bot-check" in result.stopped
    row = rows(tmp_path)["bot/1"]
    assert (row.state, row.failure, row.attempts) == (State.PENDING, None, 0)
    assert len(videos.asked) == 3


def test_what_may_be_had_later_is_waited_for(videos: Videos, where: str, tmp_path: Path) -> None:
    job(asked("forbidden/1"), tmp_path, named("youtube,mirror", videos, Mirror(where)))
    row = rows(tmp_path)["forbidden/1"]
    assert (row.state, row.failure, row.attempts) == (State.FAILED, "forbidden", BY_NAME["forbidden"].attempts)


@pytest.mark.parametrize(
    ("video_id", "alone"),
    [("private/silent", "silent"), ("private/short", "too-short"), ("private/noise", "undecodable")],
)
def test_a_copy_is_checked_like_anything_else(
    video_id: str, alone: str, videos: Videos, where: str, tmp_path: Path
) -> None:
    job(asked(video_id), tmp_path / "a", {"mirror": Mirror(where)})
    row = rows(tmp_path / "a")[video_id]
    assert (row.state, row.failure) == (State.GONE, alone)
    job(asked(video_id), tmp_path / "b", named("youtube,mirror", videos, Mirror(where)))
    assert rows(tmp_path / "b")[video_id].failure == "private"


def test_another_start_is_not_in_the_mirror(videos: Videos, where: str, tmp_path: Path) -> None:
    mirror = Mirror(where, starts={"ok/both.wav": START_S})
    job(asked("ok/both.wav", start_s=6.0), tmp_path / "out", {"mirror": mirror})
    assert rows(tmp_path / "out")["ok/both.wav"].failure == "not-in-mirror"
    job(asked("ok/both.wav", start_s=6.0), tmp_path / "out", named("mirror,youtube", videos, mirror))
    assert rows(tmp_path / "out")["ok/both.wav"].origin == "youtube", "what only the mirror lacked is asked for again"


def test_holes_are_filled_from_the_mirror_and_the_old_reasons_stay(videos: Videos, where: str, tmp_path: Path) -> None:
    segments = asked("ok/alone.wav", "private/1", "private/nowhere", "forbidden/1", "forbidden/2")
    job(segments, tmp_path / "out", {"youtube": videos})
    videos.asked.clear()
    job(segments, tmp_path / "out", {"mirror": Mirror(where)})
    assert rows(tmp_path / "out")["private/1"].failure == "private", "what is gone is not asked again"
    job(segments, tmp_path / "out", {"mirror": Mirror(where)}, recheck=True)
    assert not videos.asked
    assert {i: row.failure or row.origin for i, row in rows(tmp_path / "out").items()} == {
        "ok/alone.wav": "youtube",
        "private/1": "mirror",
        "private/nowhere": "private",
        "forbidden/1": "mirror",
        "forbidden/2": "not-in-mirror",
    }


def test_a_stopped_run_goes_on(videos: Videos, where: str, tmp_path: Path) -> None:
    segments, stop = asked(*HELD[:5]), threading.Event()
    job(segments, tmp_path / "out", {"mirror": Mirror(where)}, stop=stop, progress=lambda _: stop.set())
    before = {i for i, row in rows(tmp_path / "out").items() if row.state is State.DONE}
    assert 0 < len(before) < 5
    job(segments, tmp_path / "out", {"mirror": Mirror(where)})
    found = rows(tmp_path / "out")
    assert {(row.state, row.origin, row.attempts) for row in found.values()} == {(State.DONE, "mirror", 1)}


def test_the_mirrors_order_is_asked_in_where_it_is_first(videos: Videos, where: str, tmp_path: Path) -> None:
    segments, mirror = asked("ok/alone.wav", *sorted(HELD)), Mirror(where)
    ids = [s.youtube_id for s in in_order(segments, {"mirror": mirror, "youtube": videos})]
    assert ids == [*sorted(HELD, reverse=True), "ok/alone.wav"]
    assert in_order(segments, {"youtube": videos, "mirror": mirror}) == segments
    with Ledger.open(tmp_path / "ledger") as ledger:
        ledger.request(segments, split="", now=0)
        ledger.request(reversed(segments), split="", now=0)
        assert [row.segment for row in iter(lambda: ledger.claim(0), None) if row] == segments[::-1]


@pytest.mark.parametrize(("order", "waited_s"), [("mirror,youtube", 0.0), ("youtube,mirror", 400.0)])
def test_only_what_youtube_is_asked_counts_against_the_rate(
    order: str, waited_s: float, videos: Videos, where: str, tmp_path: Path
) -> None:
    """Five requests a hundred seconds apart; nothing is waited for after the last."""
    clock, pace = JumpingClock(), {"rate_per_hour": 36.0, "workers": 1}
    job(asked(*HELD[:5]), tmp_path / "out", named(order, videos, Mirror(where)), pace=pace, clock=clock)
    assert clock.now() - time.time() == pytest.approx(waited_s, abs=40.0)


def test_a_mirror_that_is_none_is_told_before_anything_starts(videos: Videos, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no \.parquet"):
        job(asked("ok/both.wav"), tmp_path / "out", named("youtube,mirror", videos, Mirror(str(tmp_path / "none"))))
    assert not videos.asked and not (tmp_path / "out").exists()


@pytest.mark.parametrize("text", ["", "vimeo", "youtube,youtube", "youtube,", "YouTube"])
def test_other_sources_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--source must be of youtube and mirror"):
        parse_sources(text)


def test_audiosets_own_lists_tell_where_clips_begin(tmp_path: Path) -> None:
    mine = asked("a", "b", start_s=30.0)
    assert clip_starts(tmp_path / "eval_segments.csv", mine) is None
    with pytest.raises(UsageError, match="only AudioSet's lists tell"):
        clip_starts(tmp_path / "mine.csv", mine)
    (tmp_path / "eval_segments.csv").write_text('a, 30.000, 40.000, "/m/09x0r"\nc, 0.000, 10.000, "/m/09x0r"\n')
    (tmp_path / "balanced_train_segments.csv").write_text('b, 20.000, 30.000, "/m/09x0r"\n')
    assert clip_starts(tmp_path / "mine.csv", mine) == {"a": 30.0, "b": 20.0}


def test_a_ledger_of_before_is_brought_up_to_date(videos: Videos, tmp_path: Path) -> None:
    job(asked("ok/both.wav", "private/1"), tmp_path, {"youtube": videos})
    with sqlite3.connect(tmp_path / FILE_NAME) as older:
        older.executescript("ALTER TABLE segments DROP COLUMN origin; PRAGMA user_version = 1;")
    older.close()
    assert {i: row.origin for i, row in rows(tmp_path).items()} == {"ok/both.wav": "youtube", "private/1": None}
    job(asked("ok/both.wav", "private/1"), tmp_path, {"youtube": videos})
