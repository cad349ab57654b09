"""Whole runs against a real server: what becomes of each segment, and of the run."""

from pathlib import Path

import numpy as np
import pytest

from ingest.audio.clip import AudioItem
from ingest.audioset.segments import Segment
from ingest.errors import UsageError
from ingest.ledger.ledger import Ledger, State
from ingest.ledger.outcomes import BY_NAME, Kind
from ingest.manifest import read_items
from ingest.youtube.fetch import FetchSettings
from ingest.youtube.run import verdict
from tests.ingest.fetching import StubSource, end_state, job
from tests.ingest.media import chirp, chirp_file, time_error_s, wav
from tests.ingest.media_server import serve
from tests.ingest.test_outcomes import TEXTS

SPEECH = ("/m/09x0r",)
FILES = {
    "chirp.wav": wav(chirp(20.0, 16_000)),
    "short.wav": wav(chirp(6.0, 16_000)),
    "silent.wav": wav(np.zeros(16_000 * 20, np.float32)),
    "text.wav": b"<html>" * 100,
}


@pytest.fixture(scope="module")
def server():  # type: ignore[no-untyped-def]
    with serve(FILES, retry_after="1") as running:
        yield running


def asked(*ids: str) -> list[Segment]:
    return [Segment(video_id, 5.0, 15.0, SPEECH) for video_id in ids]


def states(out: Path) -> dict[str, tuple[State, str | None]]:
    with Ledger.read(out) as ledger:
        return {row.segment.youtube_id: (row.state, row.failure) for row in ledger.rows()}


@pytest.mark.parametrize(
    ("video_id", "state", "failure"),
    [
        ("ok/chirp.wav", State.DONE, None),
        ("slow/chirp.wav", State.DONE, None),
        ("norange/chirp.wav", State.DONE, None),
        ("403@1/chirp.wav", State.DONE, None),
        ("cut@2/chirp.wav", State.DONE, None),
        ("stalled@1/chirp.wav", State.DONE, None),
        ("429@1/chirp.wav", State.DONE, None),
        ("503@3/chirp.wav", State.DONE, None),
        ("404@1/chirp.wav", State.DONE, None),
        ("403/chirp.wav", State.FAILED, "forbidden"),
        ("500/chirp.wav", State.FAILED, "server-error"),
        ("cut/chirp.wav", State.FAILED, "truncated"),
        ("shifted/chirp.wav", State.FAILED, "truncated"),
        ("stalled/chirp.wav", State.FAILED, "stalled"),
        ("emptybody/chirp.wav", State.FAILED, "empty"),
        ("404/chirp.wav", State.GONE, "not-found"),
        ("ok/short.wav", State.GONE, "too-short"),
        ("ok/silent.wav", State.GONE, "silent"),
        ("ok/text.wav", State.GONE, "undecodable"),
    ],
)
def test_each_fault_ends_in_its_state(
    server: object, tmp_path: Path, video_id: str, state: State, failure: str | None
) -> None:
    """Beside it go good ones, which must not suffer."""
    result = job(asked("ok/a/chirp.wav", video_id, "ok/b/chirp.wav"), tmp_path, StubSource(server.url))  # type: ignore[attr-defined]
    found = states(tmp_path)
    assert found[video_id] == (state, failure)
    assert found["ok/a/chirp.wav"] == found["ok/b/chirp.wav"] == (State.DONE, None)
    assert sum(result.progress.counts.values()) == result.progress.requested == 3
    assert result.stopped == ""


@pytest.mark.parametrize(("text", "name", "kind"), TEXTS, ids=[name for _, name, _ in TEXTS])
def test_each_text_ends_in_the_state_of_its_kind(
    server: object, tmp_path: Path, text: str, name: str, kind: Kind
) -> None:
    """One video that always says so, among videos that are there."""
    source = StubSource(server.url, {"bad": text})  # type: ignore[attr-defined]
    good = [f"ok/{number}/chirp.wav" for number in range(8)]
    result = job(asked("bad/1", *good), tmp_path, source, pace={"probes": 2})
    found = states(tmp_path)
    row = BY_NAME[name]
    if kind is Kind.ENVIRONMENT and row.in_a_row == 1:
        assert found["bad/1"] == (State.PENDING, None), "never counted against a segment"
        assert name in result.stopped
    elif kind is Kind.ENVIRONMENT:
        assert found["bad/1"] == (State.FAILED, name), "met nobody else: its own after all"
    else:
        assert found["bad/1"] == (verdict(row, row.attempts), name)
    assert all(found[video_id][0] is State.DONE for video_id in good)


def test_the_environment_pauses_everybody_and_blames_nobody(server: object, tmp_path: Path) -> None:
    source, phases = StubSource(server.url, {"ok": "Sign in to confirm you're not a bot"}), []  # type: ignore[attr-defined]

    def watch(progress: object) -> None:
        phases.append(progress.phase)  # type: ignore[attr-defined]
        if phases.count("paused") == 2:  # the first probe is refused too
            source.texts.clear()

    result = job(asked(*(f"ok/{n}/chirp.wav" for n in range(6))), tmp_path, source, progress=watch)
    assert {"paused", "running"} <= set(phases)
    assert result.progress.counts[State.DONE] == 6
    with Ledger.read(tmp_path) as ledger:
        assert {row.attempts for row in ledger.rows()} == {1}


def test_when_everything_fails_it_stops_early_and_says_why(server: object, tmp_path: Path) -> None:
    ids = [f"403/{number}/chirp.wav" for number in range(40)]
    result = job(asked(*ids), tmp_path, StubSource(server.url), pace={"stop_after": 10})  # type: ignore[attr-defined]
    assert "10 segments in a row failed: forbidden 10" in result.stopped
    assert result.progress.counts[State.PENDING] >= 20
    assert result.progress.requested == 40


def test_a_full_disk_pauses_and_is_not_counted(server: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import errno

    import ingest.youtube.fetch

    full = iter([True, True])

    def write(self: Path, data: bytes, real: object = Path.write_bytes) -> int:
        if next(full, False):
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(self, data)  # type: ignore[operator,no-any-return]

    monkeypatch.setattr(ingest.youtube.fetch.Path, "write_bytes", write)
    result = job(asked("ok/1/chirp.wav", "ok/2/chirp.wav"), tmp_path, StubSource(server.url))  # type: ignore[attr-defined]
    assert result.progress.counts[State.DONE] == 2
    with Ledger.read(tmp_path) as ledger:
        assert {row.attempts for row in ledger.rows()} == {1}
    assert not list(tmp_path.rglob("*.tmp"))


def test_run_again_asks_only_for_what_is_missing(server: object, tmp_path: Path) -> None:
    source = StubSource(server.url, {"gone": "Private video. Sign in if you've been granted access"})  # type: ignore[attr-defined]
    segments = asked("ok/again/chirp.wav", "gone/1")
    job(segments, tmp_path, source)
    before = end_state(tmp_path), server.requests.total()  # type: ignore[attr-defined]
    job(segments, tmp_path, source)
    assert (end_state(tmp_path), server.requests.total()) == before  # type: ignore[attr-defined]
    source.texts.clear()
    job(segments, tmp_path, source, recheck=True)
    assert states(tmp_path)["gone/1"] == (State.GONE, "not-found")


def test_cookies_open_what_needed_them(server: object, tmp_path: Path) -> None:
    source = StubSource(server.url, {"ok": "Sign in to confirm your age. This video may be"})  # type: ignore[attr-defined]
    segments = asked("ok/age/chirp.wav")
    job(segments, tmp_path, source)
    assert states(tmp_path)["ok/age/chirp.wav"] == (State.GONE, "age")
    source.texts.clear()
    job(segments, tmp_path, source)
    assert states(tmp_path)["ok/age/chirp.wav"] == (State.GONE, "age")
    job(segments, tmp_path, source, with_cookies=True)
    assert states(tmp_path)["ok/age/chirp.wav"] == (State.DONE, None)


@pytest.mark.parametrize("suffix", ["flac", "wav", "ogg"])
@pytest.mark.parametrize(("rate", "channels"), [(16_000, "mono"), (None, "source"), (8_000, "source")])
def test_files_are_what_was_asked_for(tmp_path: Path, suffix: str, rate: int | None, channels: str) -> None:
    import soundfile

    with serve({"chirp.webm": chirp_file("opus.webm", channels=2)}) as server:
        settings = FetchSettings(suffix, rate, channels)
        job([Segment("ok/chirp.webm", 17.3, 27.3)], tmp_path, StubSource(server.url), fetch=settings)
    (path,) = (tmp_path / "audio").rglob(f"*.{suffix}")
    samples, found = soundfile.read(path, always_2d=True, dtype="float32")
    assert found == (rate or 48_000)
    assert samples.shape == (10 * found, 1 if channels == "mono" else 2)
    assert abs(time_error_s(samples[: found // 4, 0], found, 17.3)) < 0.005
    assert abs(time_error_s(samples[-found // 4 :, 0], found, 27.05)) < 0.005


def test_embed_sees_the_same_items_before_there_is_a_manifest(server: object, tmp_path: Path) -> None:
    job(asked("ok/1/chirp.wav", "404/2/chirp.wav"), tmp_path, StubSource(server.url))  # type: ignore[attr-defined]
    with_manifest = read_items(tmp_path)
    (tmp_path / "manifest.parquet").unlink()
    assert len(with_manifest) == 1 and read_items(tmp_path) == with_manifest


def test_a_folder_of_which_nothing_is_finished_says_so(tmp_path: Path) -> None:
    Ledger.open(tmp_path).close()
    with pytest.raises(UsageError, match="finished yet"):
        read_items(tmp_path)


def test_manifest_is_read_by_embed_and_shards_hold_the_same(server: object, tmp_path: Path) -> None:
    import hashlib
    import json
    import tarfile

    ids = ("ok/1/chirp.wav", "ok/2/chirp.wav")
    job(asked(*ids), tmp_path, StubSource(server.url), shards=True)  # type: ignore[attr-defined]
    items = read_items(tmp_path)
    assert [(item.source, item.mids, item.start_s) for item in items] == [(name, SPEECH, 5.0) for name in ids]
    assert all(isinstance(item, AudioItem) and item.path.is_file() for item in items)
    with tarfile.open(tmp_path / "shards" / "000000.tar") as tar:
        members = {member.name: tar.extractfile(member).read() for member in tar}  # type: ignore[union-attr]
    facts = [json.loads(data) for name, data in members.items() if name.endswith(".json")]
    sounds = [hashlib.sha256(data).hexdigest() for name, data in members.items() if name.endswith(".flac")]
    assert sorted(sounds) == sorted(fact["sha256"] for fact in facts)
    assert [fact["names"] for fact in facts] == [["Speech"]] * 2
    job(asked(*ids, "ok/3/chirp.wav"), tmp_path, StubSource(server.url), shards=True)  # type: ignore[attr-defined]
    assert [path.name for path in sorted((tmp_path / "shards").iterdir())] == ["000000.tar", "000001.tar"]


def test_the_report_counts_and_the_fingerprint_tells_sets_apart(server: object, tmp_path: Path) -> None:
    source = StubSource(server.url, {"gone": "Private video. Sign in if you've been granted access"})  # type: ignore[attr-defined]
    first = job(asked("ok/1/chirp.wav", "gone/1"), tmp_path / "a", source).availability
    again = job(asked("gone/1", "ok/1/chirp.wav"), tmp_path / "b", source).availability
    other = job(asked("ok/2/chirp.wav", "gone/1"), tmp_path / "c", source).availability
    assert first.fingerprint == again.fingerprint != other.fingerprint
    text = (tmp_path / "a" / "availability.md").read_text()
    assert "**1 of 2 segments**" in text
    assert first.fingerprint in text
    assert "| Speech | 1 | 2 | 50.0 % |" in text
    assert "| gone | private | 1 |" in text
