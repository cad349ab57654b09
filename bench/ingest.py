"""Ten seconds out of five minutes: bytes and seconds of `fetch_segment`, of yt-dlp's own sections and of whole files.

Same server, same file, same run, and all three in this process, so that nobody pays for Python's start. Each finds the
stream through yt-dlp. Expected before measuring: 300 to 400 kB and a tenth of a second for us; the floor of the bytes
is the share of ten seconds in the file, that of the time the same cut from a local disk.
"""

import shutil
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.result import Result
from ingest.audioset.segments import Segment
from ingest.youtube.cut import cut_audio
from ingest.youtube.fetch import FetchSettings, fetch_segment, save
from ingest.youtube.sources import YOUTUBE
from ingest.youtube.streams import YouTube, YouTubeSettings
from tests.ingest.media import chirp, encode
from tests.ingest.media_server import MediaServer, serve

VIDEO_S, BIT_RATE = 300.0, 178_000
STARTS_S = (17.0, 93.4, 150.0, 211.7, 280.0)
_VIDEO_ID = "paced/video.webm"


def run() -> list[Result]:
    """In a line each, bytes and seconds a segment; the others' figures stand in the notes."""
    data = encode(chirp(VIDEO_S, 48_000), 48_000, "webm", "libopus", bit_rate=BIT_RATE)
    with serve({"video.webm": data}) as server, TemporaryDirectory() as name:
        folder = Path(name)
        youtube = YouTube(YouTubeSettings(url_template=f"{server.url}/{{id}}"))
        youtube.find(_VIDEO_ID)  # imports yt-dlp
        ours = _measure(server, lambda segment: _ours(segment, folder, youtube))
        whole = _measure(server, lambda segment: _whole(segment, folder, youtube))
        others = {"whole file and cut": whole}
        finding = _measure(server, lambda segment: youtube.find(segment.youtube_id))
        if shutil.which("ffmpeg"):
            others["yt-dlp sections"] = _measure(server, lambda segment: _sections(segment, folder, youtube))
        local_s = _local_s(data, folder)
    notes = [
        "; ".join(
            f"{name}: {figures[index]:.{digits}f} {unit}"
            for name, figures in {**others, "of each, finding the stream": finding}.items()
        )
        for index, (digits, unit) in enumerate([(0, "kB"), (3, "s")])
    ]
    if "yt-dlp sections" not in others:
        notes[0] += "; no ffmpeg on the PATH, so yt-dlp's sections are left out"
    best = [min(figures[index] for figures in others.values()) for index in (0, 1)]
    share_kb = len(data) * 10 / VIDEO_S / 1000
    return [
        Result("ingest, bytes a segment", ours[0], share_kb, "kB", "the fewest", ours[0] < best[0], notes[0]),
        Result("ingest, time a segment", ours[1], local_s, "s", "the shortest", ours[1] < best[1], notes[1]),
    ]


def _measure(server: MediaServer, fetch: Callable[[Segment], object]) -> tuple[float, float]:
    """kB sent by the server and seconds, for one segment on average."""
    sent, began = server.bytes_sent, time.perf_counter()
    for start_s in STARTS_S:
        fetch(Segment(_VIDEO_ID, start_s, start_s + 10))
    seconds = time.perf_counter() - began
    return (server.bytes_sent - sent) / len(STARTS_S) / 1000, seconds / len(STARTS_S)


def _ours(segment: Segment, folder: Path, youtube: YouTube) -> None:
    result = fetch_segment(segment, folder, {YOUTUBE: youtube}, FetchSettings())
    assert result.file, result.outcome


def _whole(segment: Segment, folder: Path, youtube: YouTube) -> None:
    with TemporaryDirectory(dir=folder) as name:
        path = youtube.download(segment.youtube_id, Path(name), 60.0)
        with path.open("rb") as file:
            save(cut_audio(file, segment.start_s, segment.end_s), segment.key, folder, FetchSettings())


def _sections(segment: Segment, folder: Path, youtube: YouTube) -> None:
    import yt_dlp
    from yt_dlp.utils import download_range_func

    with TemporaryDirectory(dir=folder) as name:
        options: dict[str, Any] = {
            "quiet": True,
            "noprogress": True,
            "format": "bestaudio/best",
            "outtmpl": f"{name}/%(id)s.%(ext)s",
            "download_ranges": download_range_func(None, [(segment.start_s, segment.end_s)]),
            "force_keyframes_at_cuts": True,  # without it the cut is where a cluster begins
        }
        with yt_dlp.YoutubeDL(options) as ydl:
            ydl.extract_info(youtube.url(segment.youtube_id), download=True)
        assert any(Path(name).iterdir())


def _local_s(data: bytes, folder: Path) -> float:
    path = folder / "local.webm"
    path.write_bytes(data)
    began = time.perf_counter()
    for start_s in STARTS_S:
        with path.open("rb") as file:
            save(cut_audio(file, start_s, start_s + 10), f"local_{start_s}", folder, FetchSettings())
    return (time.perf_counter() - began) / len(STARTS_S)
