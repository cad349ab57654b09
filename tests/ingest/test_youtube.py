"""yt-dlp itself, against a local server through its generic extractor; and the options it is given."""

import json
import pickle
import threading
from pathlib import Path

import pytest

from ingest.audioset.segments import Segment
from ingest.errors import UsageError
from ingest.ledger.outcomes import classify
from ingest.youtube.address import HERE, Address
from ingest.youtube.fetch import FetchSettings, fetch_segment
from ingest.youtube.streams import YouTube, YouTubeSettings, parse_browser, ytdlp_options
from tests.ingest.media import chirp_file
from tests.ingest.media_server import MediaServer, serve


@pytest.fixture(scope="module")
def server():  # type: ignore[no-untyped-def]
    files = {"a.webm": chirp_file("opus.webm"), "b.m4a": chirp_file("aac-moov-last.m4a"), "a.mp4": b""}
    with serve(files) as running:
        yield running


def source(server: MediaServer, **options: object) -> YouTube:
    return YouTube(YouTubeSettings(url_template=f"{server.url}/{{id}}", timeout_s=1.0, **options))  # type: ignore[arg-type]


@pytest.mark.parametrize("video_id", ["ok/a.webm", "ok/b.m4a", "norange/a.webm", "slow/b.m4a"])
def test_from_an_id_to_a_file(server: MediaServer, tmp_path: Path, video_id: str) -> None:
    result = fetch_segment(
        Segment(video_id, 12.0, 22.0), tmp_path, {"youtube": source(server)}, FetchSettings(timeout_s=2.0)
    )
    assert result.outcome is None
    assert result.file
    assert result.file.duration_s == 10.0
    whole = len(server.files[video_id.partition("/")[2]])
    assert (result.bytes_read == whole) == ("norange" in video_id)
    assert not list((tmp_path / ".scratch").glob("*"))


@pytest.mark.parametrize(
    ("video_id", "failure"),
    [
        ("404/a.webm", "not-found"),
        ("403/a.webm", "forbidden"),
        ("429/a.webm", "too-many-requests"),
        ("503/a.webm", "server-error"),
        ("stalled/a.webm", "stalled"),
        ("cut/a.webm", "truncated"),
    ],
)
def test_what_goes_wrong_inside_ytdlp_has_the_same_names(
    server: MediaServer, tmp_path: Path, video_id: str, failure: str
) -> None:
    settings = FetchSettings(timeout_s=0.5, deadline_s=2.0)
    result = fetch_segment(Segment(video_id, 12.0, 22.0), tmp_path, {"youtube": source(server)}, settings)
    assert result.outcome
    assert result.outcome.failure.name == failure
    assert result.outcome.wait_s == (2.0 if failure == "too-many-requests" else None)


def test_nobody_there_is_the_network(tmp_path: Path) -> None:
    for address, failure in (("http://127.0.0.1:9", "connection"), ("http://no-such-host.invalid", "no-network")):
        youtube = YouTube(YouTubeSettings(url_template=address + "/{id}.webm", proxy="", timeout_s=1.0))
        with pytest.raises(Exception) as caught:
            youtube.find("x")
        assert classify(caught.value).failure.name == failure


def test_many_threads_find_at_once(server: MediaServer) -> None:
    youtube, found = source(server), []
    threads = [threading.Thread(target=lambda: found.append(youtube.find("ok/a.webm").url)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [f"{server.url}/ok%2Fa.webm"] * 6


def test_it_asks_from_the_address_it_is_given() -> None:
    youtube = YouTube(YouTubeSettings())
    assert youtube.at(HERE) is youtube
    at = youtube.at(Address("a", proxy="http://a", source_address="127.0.0.9"))
    assert (at._options["proxy"], at._options["source_address"]) == ("http://a", "127.0.0.9")


def test_it_may_be_sent_to_another_process_with_its_cookies(server: MediaServer, tmp_path: Path) -> None:
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t4102444800\tname\tvalue\n")
    youtube = source(server, cookies=cookies)
    youtube.find("ok/a.webm")
    cookies.unlink()
    sent = pickle.loads(pickle.dumps(youtube))
    assert sent.find("ok/a.webm") == youtube.find("ok/a.webm")
    assert sent.find("ok/a.webm").headers["Cookie"] == "name=value"


def test_source_address_and_cookies_reach_the_stream(server: MediaServer, tmp_path: Path) -> None:
    cookies = tmp_path / "cookies.txt"
    text = "# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t4102444800\tname\tvalue\n"
    cookies.write_text(text)
    youtube = source(server, cookies=cookies, source_address="127.0.0.1")
    streams = [youtube.find("ok/a.webm") for _ in range(2)]
    assert {stream.headers.get("Cookie") for stream in streams} == {"name=value"}
    assert streams[0].source_address == "127.0.0.1"
    assert cookies.read_text() == text


def test_the_watch_page_is_asked_by_default() -> None:
    assert YouTube(YouTubeSettings()).url("-abc_DEF123") == "https://www.youtube.com/watch?v=-abc_DEF123"


def test_ids_are_quoted_into_the_address() -> None:
    assert YouTube(YouTubeSettings(url_template="http://x/{id}")).url("a b&c/../d") == "http://x/a%20b%26c%2F..%2Fd"


def test_an_options_file_wins(tmp_path: Path) -> None:
    path = tmp_path / "options.json"
    path.write_text(json.dumps({"js_runtimes": {"node": {}}, "socket_timeout": 5}))
    options = ytdlp_options(YouTubeSettings(options_file=path))
    assert options["js_runtimes"] == {"node": {}}
    assert options["socket_timeout"] == 5
    assert options["retries"] == 0


@pytest.mark.parametrize(
    ("text", "parsed"),
    [
        ("firefox", ("firefox", None, None, None)),
        ("Chrome+gnomekeyring:Profile 1", ("chrome", "Profile 1", "GNOMEKEYRING", None)),
        ("firefox:default::work", ("firefox", "default", None, "work")),
        ("firefox::work", ("firefox", None, None, "work")),
    ],
)
def test_browsers_are_named_as_in_ytdlp(text: str, parsed: tuple[str | None, ...]) -> None:
    assert parse_browser(text) == parsed


def test_mistakes_are_one_line_with_the_option(tmp_path: Path) -> None:
    bad = tmp_path / "bad.json"
    bad.write_text("[1]")
    torn = tmp_path / "torn.json"
    torn.write_text("{")
    cases = [
        (YouTubeSettings(url_template="http://x/"), "--url-template"),
        (YouTubeSettings(cookies=tmp_path / "none"), "--cookies"),
        (YouTubeSettings(cookies_from_browser="+"), "--cookies-from-browser"),
        (YouTubeSettings(options_file=bad), "--ytdlp-options"),
        (YouTubeSettings(options_file=torn), "--ytdlp-options"),
    ]
    for settings, option in cases:
        with pytest.raises(UsageError, match=option) as caught:
            YouTube(settings)
        assert "\n" not in str(caught.value)
