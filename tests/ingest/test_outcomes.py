"""Every failure text that is known, in the words it really comes in, falls under its row."""

import errno
import pickle
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.errors import DownloadError, EarshotError, FetchError, TruncatedAudioError, UsageError
from ingest.ledger.outcomes import BY_NAME, FAILURES, Kind, classify, parse_retry_after, plain

P, R, E, C = Kind.PERMANENT, Kind.RECOVERABLE, Kind.ENVIRONMENT, Kind.NEEDS_COOKIES
HINT = "Use --cookies-from-browser or --cookies for the authentication. See https://github.com/yt-dlp/yt-dlp/wiki/FAQ"
BUG = "; please report this issue on  https://github.com/yt-dlp/yt-dlp/issues?q= , filling out the appropriate issue "
BUG += "template. Confirm you are on the latest version using  yt-dlp -U"
TEXTS = [
    (f"Sign in to confirm you\N{RIGHT SINGLE QUOTATION MARK}re not a bot. {HINT}", "bot-check", E),
    (f"Sign in to confirm you're not a bot. {HINT}", "bot-check", E),
    ("Video unavailable. YouTube is requiring a captcha challenge before playback", "captcha", E),
    (
        "Video unavailable. This content isn't available, try again later. The current session has been rate-limited "
        "by YouTube for up to an hour. It is recommended to use `-t sleep` to add a delay between video requests",
        "rate-limit",
        E,
    ),
    ("Your account has been rate-limited by YouTube for up to an hour", "rate-limit", E),
    ("Unable to download webpage: HTTP Error 429: Too Many Requests (caused by <HTTPError 429: Too Many Requests>)",
     "too-many-requests", E),
    ("unable to download video data: HTTP Error 403: Forbidden", "forbidden", R),
    ("The downloaded file is empty", "empty", R),
    (f"Sign in to confirm your age. This video may be inappropriate for some users. {HINT}", "age", C),
    (f"Private video. Sign in if you've been granted access to this video. {HINT}", "private", P),
    ("Join this channel to get access to members-only content like this video.", "members-only", P),
    ("This video is available to this channel's members on level: Gold (or any higher level).", "members-only", P),
    ("This video is available to this channel\N{RIGHT SINGLE QUOTATION MARK}s members", "members-only", P),
    ("The uploader has not made this video available in your country\nYou might want to use a VPN or a proxy server "
     "(with --proxy) to workaround.", "country", R),
    ("Video unavailable. This video contains content from SME, who has blocked it in your country on copyright grounds",
     "country", R),
    ("Video unavailable. This video is no longer available due to a copyright claim by Viacom", "copyright", P),
    ("Video unavailable. This video is no longer available because the YouTube account associated with this video has "
     "been terminated.", "account-gone", P),
    ("Video unavailable. This video is no longer available because the uploader has closed their YouTube account.",
     "account-gone", P),
    ("Video unavailable. This video has been removed by the uploader", "removed", P),
    ("This video has been removed for violating YouTube's Terms of Service", "removed", P),
    ("Requested format is not available. Use --list-formats for a list of available formats", "format", E),
    ("This video is DRM protected", "format", E),
    ("Video unavailable", "unavailable", R),
    ("Video unavailable. This video is unavailable", "unavailable", R),
    ("Signature extraction failed: Some formats may be missing" + BUG, "outdated", E),
    ("Failed to extract any player response" + BUG, "outdated", E),
    ("The provided YouTube account cookies are no longer valid.", "cookies", E),
    ("Unable to download webpage: <urllib3.connection.HTTPSConnection object at 0x7f>: Failed to resolve "
     "'www.youtube.com' ([Errno -3] Temporary failure in name resolution) (caused by TransportError)", "no-network", E),
    ("[Errno 101] Network is unreachable", "no-network", E),
    ("Unable to connect to proxy", "proxy", E),
    ("[Errno 28] No space left on device: 'x.flac'", "disk-full", E),
    ("HTTP Error 503: Service Unavailable", "server-error", R),
    ("Unable to download webpage: HTTP Error 404: Not Found (caused by <HTTPError 404: Not Found>)", "not-found", R),
    ("HTTP Error 410: Gone", "not-found", R),
    ("Unable to download webpage: The read operation timed out", "connection", R),
    ("12345 bytes read, 6789 more expected", "connection", R),
    ("Incomplete YouTube ID abc. URL https://www.youtube.com/watch?v=abc looks truncated.", "bad-id", P),
    ("Premieres in 3 hours", "upcoming", R),
    ("something that nobody has seen yet", "unknown", R),
]  # fmt: skip


@pytest.mark.parametrize("dress", ["{}", "ERROR: [youtube] dQw4w9WgXcQ: {}", "\x1b[0;31mERROR:\x1b[0m [youtube] x: {}"])
@pytest.mark.parametrize(("text", "name", "kind"), TEXTS, ids=[text[:50] for text, _, _ in TEXTS])
def test_every_known_text_falls_under_its_row(text: str, name: str, kind: Kind, dress: str) -> None:
    outcome = classify(dress.format(text))
    assert (outcome.failure.name, outcome.failure.kind) == (name, kind)
    assert "\n" not in outcome.text
    assert "ERROR:" not in outcome.text
    assert classify(dress.format(text).upper()).failure.name == name


def test_every_row_with_a_pattern_is_tested_here() -> None:
    assert {failure.name for failure in FAILURES if failure.pattern} <= {name for _, name, _ in TEXTS}


def test_names_are_unique_and_every_environment_row_says_what_to_do() -> None:
    assert len(BY_NAME) == len(FAILURES)
    assert all(failure.remedy != "none" for failure in FAILURES if failure.kind is Kind.ENVIRONMENT)


@pytest.mark.parametrize("ours", ["yt_dlp.utils"])
def test_through_ytdlps_own_exceptions(ours: str) -> None:
    """As yt-dlp raises them: wrapped twice, with the cause deep inside."""
    import importlib
    import sys

    utils = importlib.import_module(ours)
    for text, name, _ in TEXTS:
        try:
            try:
                raise utils.ExtractorError(text, expected=True, video_id="dQw4w9WgXcQ", ie="youtube")
            except utils.ExtractorError as inner:
                raise utils.DownloadError(f"ERROR: {inner}", sys.exc_info()) from None
        except utils.DownloadError as error:
            assert classify(error).failure.name == name


def test_our_own_words_beat_ytdlps_wrapping() -> None:
    try:
        try:
            raise FetchError("stalled", "the download was not done after 5 s")
        except FetchError as inner:
            raise RuntimeError("ERROR: something else") from inner
    except RuntimeError as error:
        assert classify(error).failure.name == "stalled"


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "disk-full"),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), "disk-full"),
        (OSError(errno.ENETUNREACH, "Network is unreachable"), "no-network"),
        (ConnectionResetError("Connection reset by peer"), "connection"),
        (TimeoutError(), "connection"),
        (ValueError("what?"), "unknown"),
        (KeyError(), "unknown"),
    ],
)
def test_exceptions_without_ytdlp(error: Exception, name: str) -> None:
    outcome = classify(error)
    assert outcome.failure.name == name
    assert outcome.text


@pytest.mark.parametrize(
    ("text", "wait_s"),
    [
        ("The current session has been rate-limited by YouTube for up to an hour", 3600.0),
        ("HTTP Error 429: Too Many Requests. Try again in 20 minutes", 1200.0),
        ("HTTP Error 429: Too Many Requests", None),
        ("Premieres in 3 hours", None),
    ],
)
def test_waits_are_read_from_the_text_of_environment_failures(text: str, wait_s: float | None) -> None:
    assert classify(text).wait_s == wait_s


@pytest.mark.parametrize(
    ("value", "seconds"),
    [("120", 120.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 60.0), ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0), ("soon", None),
     ("", None), (None, None)],
)  # fmt: skip
def test_retry_after_is_a_number_or_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, now=1445412420.0) == seconds


def test_retry_after_is_found_inside_ytdlps_exception() -> None:
    import io

    from yt_dlp.networking import Response
    from yt_dlp.networking.exceptions import HTTPError
    from yt_dlp.utils import ExtractorError

    answer = Response(io.BytesIO(), "http://x", {"Retry-After": "77"}, status=429, reason="Too Many Requests")
    outcome = classify(ExtractorError("Unable to download webpage", cause=HTTPError(answer)))
    assert (outcome.failure.name, outcome.wait_s) == ("too-many-requests", 77.0)


@given(st.text())
def test_no_text_is_too_much(text: str) -> None:
    assert classify(text).failure.name in BY_NAME
    assert "\n" not in plain(text)


@pytest.mark.parametrize(
    "error",
    [
        UsageError("x"),
        FetchError("stalled", "nothing came", 3.0),
        DownloadError(Path("a/b"), "http://x", "it was cut"),
        TruncatedAudioError("a.wav", "is short", "mend it"),
    ],
)
def test_an_error_comes_out_of_another_process_as_it_went_in(error: EarshotError) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error)
    assert (str(again), again.args, again.__dict__) == (str(error), error.args, error.__dict__)
