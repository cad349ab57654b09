"""Stand-ins for runs: a source that needs no yt-dlp, a clock that jumps, and a job with both."""

from collections.abc import Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any
from urllib.parse import quote
from urllib.request import urlopen

from ingest.audioset.segments import Segment
from ingest.ledger.ledger import Ledger
from ingest.youtube.fetch import FetchResult, FetchSettings
from ingest.youtube.job import JobResult, JobSettings, run_job
from ingest.youtube.pace import PaceSettings
from ingest.youtube.remote import MediaStream
from ingest.youtube.run import Clock, RunSettings


class StubSource:
    """Ids are paths of the media server, or raise one of `texts` with yt-dlp's real words: `bot/1`, `private/2` ..."""

    def __init__(self, url: str, texts: Mapping[str, str] | None = None) -> None:
        self.url, self.texts = url, dict(texts or {})

    def find(self, video_id: str) -> MediaStream:
        text = self.texts.get(video_id.partition("/")[0])
        if text:
            raise RuntimeError(f"ERROR: [youtube] {video_id}: {text}")
        return MediaStream(f"{self.url}/{quote(video_id, safe='/')}", proxy="")

    def download(self, video_id: str, folder: Path, deadline_s: float) -> Path:
        path = folder / "whole.bin"
        with urlopen(f"{self.url}/{quote(video_id, safe='/')}", timeout=deadline_s) as answer:
            path.write_bytes(answer.read())
        if not path.stat().st_size:
            raise RuntimeError("ERROR: The downloaded file is empty")
        return path


class JumpingClock(Clock):
    """Where nobody is at work, the time that would be waited for has passed at once."""

    def __init__(self) -> None:
        self._jumped = 0.0

    def now(self) -> float:
        return super().now() + self._jumped

    def wait(self, futures: Iterable["Future[FetchResult]"], seconds: float) -> set["Future[FetchResult]"]:
        if pending := list(futures):
            return super().wait(pending, min(seconds, 10.0))
        self._jumped += seconds
        return set()


def job(
    segments: Iterable[Segment],
    out: Path,
    source: Any,
    *,
    fetch: FetchSettings | None = None,
    pace: Mapping[str, float] | None = None,
    clock: Clock | None = None,
    **options: Any,
) -> JobResult:
    """A run as fast as it goes, with waits that take no time. source: in YouTube's place; or all of them, by name."""
    settings = JobSettings(
        name="test",
        fetch=fetch or FetchSettings(timeout_s=0.5, deadline_s=3.0),
        run=RunSettings(
            PaceSettings(**{"workers": 4, "rate_per_hour": float("inf"), **(pace or {})}),  # type: ignore[arg-type]
            linger_s=1e9,
            tick_s=1e9,
            seed=1,
        ),
        **{key: options.pop(key) for key in ("recheck", "with_cookies", "shards", "publish") if key in options},
    )
    sources = source if isinstance(source, dict) else {"youtube": source}
    return run_job(segments, out, sources, settings, clock=clock or JumpingClock(), **options)


def end_state(out: Path) -> tuple[list[tuple[object, ...]], list[str]]:
    """What two runs must agree on: the rows and the files."""
    with Ledger.read(out) as ledger:
        rows: list[tuple[object, ...]] = [
            (row.segment.key, row.state, row.failure, row.path, row.sha256, row.duration_s) for row in ledger.rows()
        ]
    files = sorted(str(path.relative_to(out)) for path in (out / "audio").rglob("*") if path.is_file())
    return rows, files
