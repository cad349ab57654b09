"""Touches the network: a video id becomes the address of its audio stream, through yt-dlp's Python API.

yt-dlp is asked once and never retries on its own: what follows a failure is decided elsewhere (`ledger.outcomes`,
`youtube.pace`). It is imported when first used.
"""

import io
import json
import re
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

from ingest.errors import FetchError, UsageError
from ingest.youtube.address import Address
from ingest.youtube.remote import MediaStream

WATCH_URL = "https://www.youtube.com/watch?v={id}"
_FORMATS = "bestaudio[protocol~='^https?$']/bestaudio/best[protocol~='^https?$']/best"
"""A plain file that ranges can be read from, if there is one; audio alone before audio with video."""
_JS_RUNTIMES = ("deno", "node", "bun", "quickjs")
"""Whichever is installed: without one, YouTube's challenges go unsolved. yt-dlp by itself takes deno only."""
_BROWSER = re.compile(
    r"(?P<browser>[^+:]+)(?:\+(?P<keyring>[^:]+))?(?::(?!:)(?P<profile>.+?))?(?:::(?P<container>.+))?"
)


class Source(Protocol):
    """Where audio comes from; called from many threads."""

    def find(self, video_id: str) -> MediaStream:
        """The address of the audio. Raises what `ingest.ledger.outcomes.classify` understands."""
        ...

    def download(self, video_id: str, folder: Path, deadline_s: float) -> Path:
        """The whole audio as a file in `folder`, for what cannot be read in pieces."""
        ...


@dataclass(frozen=True, slots=True)
class YouTubeSettings:
    """How to ask. Saved nowhere: it may hold secrets.

    cookies: a file in Netscape's format. cookies_from_browser: BROWSER[+KEYRING][:PROFILE][::CONTAINER], as in yt-dlp.
    proxy: "" for none at all, None for the system's. options_file: JSON, an object of `YoutubeDL` parameters; it wins,
    but over the proxy. url_template: `{id}` stands for the id.
    """

    cookies: Path | None = None
    cookies_from_browser: str | None = None
    proxy: str | None = None
    source_address: str | None = None
    options_file: Path | None = None
    url_template: str = WATCH_URL
    timeout_s: float = 30.0


class YouTube:
    """yt-dlp as a `Source`, asking from one address. It may be sent to another process: files are read here and now."""

    def __init__(self, settings: YouTubeSettings) -> None:
        self._settings = settings
        self._options = ytdlp_options(settings)
        self._cookies = _read_cookies(settings.cookies) if settings.cookies else None
        self._idle: deque[Any] = deque()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_idle": deque()}

    def at(self, address: Address) -> "YouTube":
        """The same, asking from `address`."""
        if address.proxy is None and address.source_address is None:
            return self
        there = copy(self)
        there._options = self._options | {
            name: value
            for name, value in (("proxy", address.proxy), ("source_address", address.source_address))
            if value is not None
        }
        there._idle = deque()
        return there

    def find(self, video_id: str) -> MediaStream:
        with self._downloader() as ydl:
            info = ydl.extract_info(self.url(video_id), download=False)
            if not info or not info.get("url"):
                raise FetchError("no-audio", f"{video_id}: yt-dlp found no stream there")
            cookies = ydl.cookiejar.get_cookie_header(info["url"])
        headers = {str(name): str(value) for name, value in (info.get("http_headers") or {}).items()}
        if cookies:
            headers["Cookie"] = cookies
        return MediaStream(
            info["url"],
            headers,
            duration_s=info.get("duration"),
            proxy=self._options.get("proxy"),
            source_address=self._options.get("source_address"),
            seekable=info.get("protocol") in ("http", "https"),
        )

    def download(self, video_id: str, folder: Path, deadline_s: float) -> Path:
        end_at = time.monotonic() + deadline_s

        def watch(_: Any) -> None:
            if time.monotonic() > end_at:
                raise FetchError("stalled", f"the download was not done after {deadline_s:g} s")

        into = {"outtmpl": {"default": str(folder / "whole.%(ext)s")}, "progress_hooks": [watch]}
        with self._open(into) as ydl:
            ydl.extract_info(self.url(video_id), download=True)
        files = [path for path in folder.iterdir() if path.suffix not in (".part", ".ytdl")]
        if not files or not files[0].stat().st_size:
            raise FetchError("empty", "the downloaded file is empty")
        return files[0]

    def url(self, video_id: str) -> str:
        return self._settings.url_template.replace("{id}", quote(video_id, safe=""))

    @contextmanager
    def _downloader(self) -> Iterator[Any]:
        """A `YoutubeDL` for this thread alone, as they are not made to be shared; as many as are used at once."""
        try:
            ydl = self._idle.pop()
        except IndexError:
            ydl = self._open({})
        try:
            yield ydl
        finally:
            self._idle.append(ydl)

    def _open(self, more: dict[str, Any]) -> Any:
        import yt_dlp

        options = {**self._options, **more}
        if self._cookies is not None:  # as text in memory: yt-dlp would write to a file, from every thread
            options["cookiefile"] = io.StringIO(self._cookies)
        return yt_dlp.YoutubeDL(options)


def ytdlp_options(settings: YouTubeSettings) -> dict[str, Any]:
    """The parameters of `YoutubeDL`, but for cookies of a file.

    Raises:
        UsageError: the options file is not what it should be, or the URL template lacks `{id}`.
    """
    if "{id}" not in settings.url_template:
        raise UsageError(f"--url-template must hold {{id}}, got {settings.url_template!r}; put it where the id goes")
    options: dict[str, Any] = {
        "format": _FORMATS,
        "socket_timeout": settings.timeout_s,
        "retries": 0,
        "extractor_retries": 0,
        "fragment_retries": 2,
        "file_access_retries": 0,
        "noplaylist": True,
        "ignoreerrors": False,
        "fixup": "never",
        "js_runtimes": {name: {} for name in _JS_RUNTIMES},
        "updatetime": False,
        "noprogress": True,
        "quiet": True,
        "color": "never",
        "logger": _Silence(),
    }
    if settings.cookies_from_browser:
        options["cookiesfrombrowser"] = parse_browser(settings.cookies_from_browser)
    if settings.source_address:
        options["source_address"] = settings.source_address
    options |= _read_options(settings.options_file) if settings.options_file else {}
    return {**options, **({"proxy": settings.proxy} if settings.proxy is not None else {})}


def parse_browser(text: str) -> tuple[str, str | None, str | None, str | None]:
    """`BROWSER[+KEYRING][:PROFILE][::CONTAINER]` as yt-dlp's tuple (browser, profile, keyring, container).

    Raises:
        UsageError: it has no such form.
    """
    found = _BROWSER.fullmatch(text)
    if not found:
        raise UsageError(
            f"--cookies-from-browser must be BROWSER[+KEYRING][:PROFILE][::CONTAINER], got {text!r}; try `firefox`"
        )
    keyring = found["keyring"].upper() if found["keyring"] else None
    return found["browser"].lower(), found["profile"], keyring, found["container"]


def _read_cookies(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise UsageError(f"--cookies: {path} cannot be read ({error}); export the cookies from a browser") from error


def _read_options(path: Path) -> dict[str, Any]:
    try:
        options = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--ytdlp-options: {path} is not a readable JSON file ({error}); mend it") from error
    if not isinstance(options, dict):
        raise UsageError(
            f"--ytdlp-options: {path} must hold one JSON object of YoutubeDL parameters, got {type(options).__name__}; "
            'write e.g. {"js_runtimes": {"node": {}}}'
        )
    return options


class _Silence:
    """yt-dlp's logger: what matters comes as exceptions."""

    def debug(self, message: str) -> None: ...

    def info(self, message: str) -> None: ...

    def warning(self, message: str) -> None: ...

    def error(self, message: str) -> None: ...
