"""What a failure means: a table of texts, and what to do about each. Pure.

YouTube and yt-dlp answer with sentences, so sentences are what the table matches: case-insensitively, with the curly
apostrophe made straight, the first row that fits. Our own checks name their row directly (`FetchError`).
"""

import email.utils
import errno
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from ingest.errors import FetchError


class Kind(StrEnum):
    """Whose fault it is, and so what follows."""

    PERMANENT = "permanent"  # the video's: remembered, not asked again
    RECOVERABLE = "recoverable"  # nobody knows: tried again later, a bounded number of times
    ENVIRONMENT = "environment"  # ours: every worker pauses, and no segment is blamed
    NEEDS_COOKIES = "needs-cookies"  # permanent for a guest: asked again when cookies are given


@dataclass(frozen=True, slots=True)
class Failure:
    """One row of the table.

    name: in the ledger and in reports.
    pattern: a regular expression over the normalised text; None for rows that only our own checks reach.
    wait_s: recoverable: before the second attempt, doubled for each further one; environment: the pause, where the
        text names none.
    attempts: recoverable: how many a segment gets.
    gone_when_spent: after the last attempt it counts as permanent, not as failed.
    elsewhere: recoverable: it lies with the video or the place, so another source is asked within the same attempt.
    in_a_row: environment: how many of these in a row, from different segments, prove that it is the environment;
        fewer count against the segment like a recoverable failure.
    remedy: what a person can do, one clause.
    """

    name: str
    pattern: str | None
    kind: Kind
    remedy: str
    wait_s: float = 60.0
    attempts: int = 4
    gone_when_spent: bool = False
    elsewhere: bool = False
    in_a_row: int = 1

    @property
    def asks_elsewhere(self) -> bool:
        """Whether another source may be asked at once: patience with this one would not help, or not soon."""
        return self.elsewhere or self.kind in (Kind.PERMANENT, Kind.NEEDS_COOKIES)


@dataclass(frozen=True, slots=True)
class Outcome:
    """A failure with its text, and the wait that the text (or a Retry-After header) asks for, if any."""

    failure: Failure
    text: str
    wait_s: float | None = None


NOT_IN_MIRROR = "not-in-mirror"
NODE_LOST = "node-lost"
MINUTE, HOUR, DAY = 60.0, 3600.0, 86400.0
_COOKIES = "sign in by --cookies or --cookies-from-browser"
_ELSEWHERE = "go on from another address: --proxy or --source-address"
_UPDATE = "update yt-dlp, and see `earshot doctor` for its JavaScript runtime"

FAILURES = (
    # What YouTube says, in the order in which the texts must be tried.
    Failure("bot-check", r"confirm you're not a bot", Kind.ENVIRONMENT, f"wait, or {_COOKIES}", HOUR),
    Failure("captcha", r"requiring a captcha challenge", Kind.ENVIRONMENT, f"wait, or {_COOKIES}", HOUR),
    Failure("rate-limit", r"rate-limited by youtube", Kind.ENVIRONMENT, "lower --rate, or wait", HOUR),
    Failure("too-many-requests", r"http error 429|too many requests", Kind.ENVIRONMENT, "lower --rate", 5 * MINUTE),
    Failure("forbidden", r"http error 403", Kind.RECOVERABLE, _UPDATE, 2 * MINUTE),
    Failure("empty", r"the downloaded file is empty", Kind.RECOVERABLE, _UPDATE, 2 * MINUTE),
    Failure("age", r"confirm your age", Kind.NEEDS_COOKIES, _COOKIES),
    Failure("private", r"private video|video is private", Kind.PERMANENT, "none"),
    Failure("members-only", r"join this channel|available to this channel's members", Kind.PERMANENT, "none"),
    Failure(
        "country",
        r"not made this video available in your country|blocked it in your country",
        Kind.RECOVERABLE,
        _ELSEWHERE,
        DAY,
        attempts=2,
        elsewhere=True,
    ),
    Failure("copyright", r"no longer available due to a copyright claim", Kind.PERMANENT, "none"),
    Failure(
        "account-gone",
        r"account associated with this video has been terminated|uploader has closed their youtube account",
        Kind.PERMANENT,
        "none",
    ),
    Failure("removed", r"has been removed by the uploader|removed for violating", Kind.PERMANENT, "none"),
    Failure(
        "format",
        r"requested format is not available|drm protected|only images are available",
        Kind.ENVIRONMENT,
        _UPDATE,
        10 * MINUTE,
        in_a_row=3,
    ),
    # What yt-dlp, the network and the disk say.
    Failure(
        "outdated",
        r"signature extraction failed|challenge solving failed|failed to extract any player response|unable to extract",
        Kind.ENVIRONMENT,
        _UPDATE,
        10 * MINUTE,
        in_a_row=3,
    ),
    Failure(
        "cookies",
        r"cookies are no longer valid|could not find .*cookies database|failed to decrypt|not look like a netscape",
        Kind.ENVIRONMENT,
        "export the cookies anew",
        10 * MINUTE,
    ),
    Failure(
        "disk-full", r"no space left on device|disk quota exceeded", Kind.ENVIRONMENT, "make room on the disk", MINUTE
    ),
    Failure(
        "no-network",
        r"failed to resolve|name resolution|name or service not known|nodename nor servname|getaddrinfo failed"
        r"|network is (unreachable|down)|no route to host",
        Kind.ENVIRONMENT,
        "look after the network",
        MINUTE,
    ),
    Failure(
        "proxy",
        r"unable to connect to proxy|proxyerror|407 proxy|socks.*(error|failed)",
        Kind.ENVIRONMENT,
        "look after --proxy",
        MINUTE,
    ),
    Failure("server-error", r"http error 5\d\d", Kind.RECOVERABLE, "wait", MINUTE),
    Failure(
        "not-found",
        r"http error (404|410)",
        Kind.RECOVERABLE,
        "none",
        MINUTE,
        attempts=2,
        gone_when_spent=True,
        elsewhere=True,
    ),
    Failure("bad-id", r"incomplete youtube id|is not a valid url|unsupported url", Kind.PERMANENT, "mend the list"),
    Failure(
        "upcoming",
        r"premieres in|live event will begin|is_upcoming",
        Kind.RECOVERABLE,
        "wait",
        DAY,
        attempts=2,
        elsewhere=True,
    ),
    Failure(
        "connection",
        r"timed out|timeout|connection (reset|refused|aborted|broken)|remote end closed|incomplete ?read"
        r"|more expected|bytes read|ssl",
        Kind.RECOVERABLE,
        "look after the network",
        MINUTE,
    ),
    # Last of the texts: it stands in front of many of the others.
    Failure(
        "unavailable",
        r"video unavailable",
        Kind.RECOVERABLE,
        "none",
        HOUR,
        attempts=2,
        gone_when_spent=True,
        elsewhere=True,
    ),
    # What our own checks find.
    Failure("stalled", None, Kind.RECOVERABLE, "look after the network", MINUTE),
    Failure("truncated", None, Kind.RECOVERABLE, "wait", MINUTE),
    Failure("undecodable", None, Kind.RECOVERABLE, "none", MINUTE, attempts=2, gone_when_spent=True, elsewhere=True),
    Failure("no-audio", None, Kind.PERMANENT, "none"),
    Failure("silent", None, Kind.PERMANENT, "none"),
    Failure("too-short", None, Kind.PERMANENT, "none"),
    Failure(NOT_IN_MIRROR, None, Kind.PERMANENT, "add youtube to --source: then these are asked for again"),
    # What becomes of requests on a cluster. That a machine is lost is nobody's fault; that every one is, the cluster's.
    Failure(
        NODE_LOST,
        None,
        Kind.ENVIRONMENT,
        "look after the cluster: `ray status`, and its memory",
        MINUTE / 2,
        in_a_row=10,
    ),
    Failure("unknown", None, Kind.RECOVERABLE, "report the text with `earshot ingest status --json`", 2 * MINUTE, 3),
)
"""Every way to fail, in the order in which the texts are tried."""

BY_NAME = {failure.name: failure for failure in FAILURES}
_PATTERNS = [(re.compile(failure.pattern), failure) for failure in FAILURES if failure.pattern]
_ERRNO = {errno.ENOSPC: "disk-full", errno.EDQUOT: "disk-full", errno.EROFS: "disk-full"}
_ERRNO |= {errno.ENETUNREACH: "no-network", errno.ENETDOWN: "no-network", errno.EHOSTUNREACH: "no-network"}
_UNITS = {"second": 1.0, "minute": MINUTE, "hour": HOUR, "day": DAY}
_TERMINAL_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


def classify(problem: str | BaseException) -> Outcome:
    """The row that `problem` falls under. Whatever no row knows is `unknown`, never an exception."""
    chain = [] if isinstance(problem, str) else list(_causes(problem))
    text = plain(str(problem)) or type(problem).__name__
    retry_after_s = next((wait for error in chain if (wait := _retry_after(error)) is not None), None)
    failure = next((row for error in chain if (row := _named_row(error))), None) or match(text)
    if failure is None:  # the outermost words say nothing: look at what lies beneath
        texts = (plain(f"{type(error).__name__} {error}") for error in chain)
        failure = next((row for words in texts if (row := match(words))), BY_NAME["unknown"])
    wait_s = retry_after_s if retry_after_s is not None else _wait_in(text, failure)
    return Outcome(failure, text, wait_s)


def match(text: str) -> Failure | None:
    """The first row whose pattern is in `text`."""
    normal = text.replace("\N{RIGHT SINGLE QUOTATION MARK}", "'").lower()
    return next((failure for pattern, failure in _PATTERNS if pattern.search(normal)), None)


def plain(text: str) -> str:
    """`text` on one line, without colours, the names and passwords of proxies, yt-dlp's ERROR: and its request to
    report bugs."""
    text = _TERMINAL_COLOUR.sub("", text).removeprefix("ERROR:").strip()
    text = re.sub(r"(?<=://)[^/\s@]+@", "", text)
    text = re.sub(r"[;.,]? *please report this issue on .*", "", text, flags=re.DOTALL)
    return " ".join(text.split())


def parse_retry_after(value: str | None, now: float | None = None) -> float | None:
    """Seconds to wait by a Retry-After header (a number or an HTTP date); None without one that can be read."""
    if not value:
        return None
    if value.strip().isdigit():
        return float(value)
    try:
        due = email.utils.parsedate_to_datetime(value).timestamp()
    except ValueError:
        return None
    return max(0.0, due - (time.time() if now is None else now))


def _wait_in(text: str, failure: Failure) -> float | None:
    """The wait that an environment failure's own words name: 'for up to an hour', 'in 10 minutes'."""
    if failure.kind is not Kind.ENVIRONMENT:
        return None
    found = re.search(r"\b(an?|\d+) (second|minute|hour|day)s?\b", text.lower())
    if not found:
        return None
    return (float(found[1]) if found[1].isdigit() else 1.0) * _UNITS[found[2]]


def _causes(error: BaseException) -> Iterator[BaseException]:
    """`error` and what lies beneath it, through Python's links and yt-dlp's own (`exc_info`, `cause`)."""
    seen: set[int] = set()
    queue: list[BaseException | None] = [error]
    while queue:
        current = queue.pop(0)
        if current is None or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        exc_info = getattr(current, "exc_info", None) or (None, None, None)
        queue += [exc_info[1], getattr(current, "cause", None), current.__cause__, current.__context__]


def _named_row(error: BaseException) -> Failure | None:
    if isinstance(error, FetchError):
        return BY_NAME[error.failure] if error.failure else match(error.text)
    if isinstance(error, OSError) and error.errno is not None:
        return BY_NAME.get(_ERRNO.get(error.errno, ""))
    return None


def _retry_after(error: BaseException) -> float | None:
    if isinstance(error, FetchError):
        return error.retry_after_s
    headers = getattr(getattr(error, "response", None), "headers", None)
    return parse_retry_after(headers.get("Retry-After")) if headers else None
