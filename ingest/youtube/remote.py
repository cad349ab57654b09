"""Touches the network: a remote file that is read in pieces, as if it lay on the disk.

The decoder asks for bytes here and there; each request fetches one stretch (HTTP Range) and the stretches are kept, so
that nothing is read twice. What libav's own reader hides stays visible: the status, the server's wish to be left alone,
a body that ends early, a connection that crawls, and how many bytes it all took.
"""

import io
import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ingest.counted import counted
from ingest.errors import FetchError
from ingest.ledger.outcomes import parse_retry_after

FIRST_READ = 32 * 1024  # the header and, in most files, the index
_KEPT_STRETCHES = 16
_PIECE = 64 * 1024


class NotSeekableError(FetchError):
    """The server sends the whole file whatever is asked of it."""


@dataclass(frozen=True, slots=True)
class MediaStream:
    """Where the audio of one video can be read.

    duration_s: of the video, as its site states it (often whole seconds); None when unknown.
    seekable: an HTTP address of one file; False for playlists of fragments.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    duration_s: float | None = None
    proxy: str | None = None
    source_address: str | None = None
    seekable: bool = True


class RemoteFile(io.RawIOBase):
    """Read-only, seekable; for one thread. `read_ahead` may be set to what the next reads will need.

    Args:
        timeout_s: for a connection and for each wait for bytes.
        deadline_s: for everything together, from now on; so that a server that drips cannot hold a worker.
        stop: set from another thread to end reading soon.
    Raises (when read):
        NotSeekableError: the server does not do ranges.
        FetchError: by the table of outcomes; also kept in `failure`, as decoders swallow what their source raises.
    """

    def __init__(
        self, stream: MediaStream, *, timeout_s: float, deadline_s: float, stop: threading.Event | None = None
    ) -> None:
        super().__init__()
        self.read_ahead = FIRST_READ
        self.bytes_read = 0
        self.failure: Exception | None = None
        self._url, self._timeout_s, self._stop = stream.url, timeout_s, stop
        self._end_at = time.monotonic() + deadline_s
        self._deadline_s = deadline_s
        self._session = _session(stream)
        self._stretches: OrderedDict[int, bytes] = OrderedDict()
        self._position = 0
        self._size: int | None = None

    @property
    def size(self) -> int:
        """In bytes; asks the server when nothing has been read yet."""
        if self._size is None:
            self._stretch_at(0)
        return self._size or 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position}.get(whence)
        self._position = max(0, offset + (self.size if base is None else base))
        return self._position

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; fewer at the end of a stretch, none at the end of the file."""
        try:
            if self._position >= self.size:
                return b""
            start, stretch = self._stretch_at(self._position)
        except Exception as error:
            self.failure = error
            raise
        offset = self._position - start
        piece = stretch[offset : offset + size if size >= 0 else None]
        self._position += len(piece)
        return piece

    def close(self) -> None:
        if not self.closed:
            self._session.close()
        super().close()

    def _stretch_at(self, position: int) -> tuple[int, bytes]:
        for start, stretch in self._stretches.items():
            if start <= position < start + len(stretch):
                self._stretches.move_to_end(start)
                return start, stretch
        stretch = self._request(position, self.read_ahead)
        self._stretches[position] = stretch
        if len(self._stretches) > _KEPT_STRETCHES:
            self._stretches.popitem(last=False)
        return position, stretch

    def _request(self, start: int, length: int) -> bytes:
        """`length` bytes from `start` on, fewer only at the end of the file."""
        import requests
        import urllib3

        self._check_time()
        headers = {"Range": f"bytes={start}-{start + length - 1}"}
        try:
            with self._session.get(self._url, headers=headers, timeout=self._timeout_s, stream=True) as response:
                self._url = response.url  # after redirects
                promised = self._check_head(response, start, length)
                return self._body(response, promised)
        except (requests.RequestException, urllib3.exceptions.HTTPError, OSError) as error:
            raise _translate(error) from error

    def _check_head(self, response: Any, start: int, length: int) -> int:
        """How many bytes the answer promises. Raises unless it is the stretch we asked for."""
        if response.status_code == 200:
            raise NotSeekableError("", "the server does not do ranges")
        if response.status_code != 206:
            wait_s = parse_retry_after(response.headers.get("Retry-After"))
            raise FetchError("", f"HTTP Error {response.status_code}: {response.reason}", wait_s)
        found = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", response.headers.get("Content-Range", ""))
        if not found:
            raise NotSeekableError("", "the server does not say which range it sends")
        first, last, size = map(int, found.groups())
        if first != start or last != min(start + length, size) - 1 or (self._size or size) != size:
            raise FetchError("truncated", f"asked for {counted(length, 'byte')} from {start}, was offered {found[0]}")
        self._size = size
        return last - first + 1

    def _body(self, response: Any, promised: int) -> bytes:
        pieces = bytearray()
        while len(pieces) < promised:
            piece = response.raw.read1(min(_PIECE, promised - len(pieces)))
            if not piece:
                raise FetchError("truncated", f"the connection ended after {len(pieces)} of {promised} bytes")
            pieces += piece
            self.bytes_read += len(piece)
            self._check_time()
        return bytes(pieces)

    def _check_time(self) -> None:
        if self._stop and self._stop.is_set():
            raise InterruptedError("stopped while reading")
        if time.monotonic() > self._end_at:
            raise FetchError("stalled", f"not done after {self._deadline_s:g} s and {counted(self.bytes_read, 'byte')}")


def _session(stream: MediaStream) -> Any:
    import requests
    from requests.adapters import HTTPAdapter

    session = requests.Session()
    session.headers.update({**stream.headers, "Accept-Encoding": "identity"})
    if stream.proxy is not None:
        session.proxies = {"http": stream.proxy, "https": stream.proxy}
        session.trust_env = False  # the environment's proxy would win over this one, and over none at all ...
        bundle = os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE")
        session.verify = bundle or True  # ... but whom to trust stays as it is
    address = (stream.source_address, 0) if stream.source_address else None

    class Adapter(HTTPAdapter):
        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs, source_address=address)

        def proxy_manager_for(self, proxy: Any, **kwargs: Any) -> Any:
            return super().proxy_manager_for(proxy, **kwargs, source_address=address)

    for scheme in ("http://", "https://"):
        session.mount(scheme, Adapter())
    return session


def _translate(error: Exception) -> Exception:
    """A network error of requests or urllib3 as ours, most specific first."""
    import requests
    import urllib3

    if isinstance(error, InterruptedError):
        return error
    text = f"{type(error).__name__}: {error}"
    if isinstance(error, requests.exceptions.ProxyError):
        return FetchError("proxy", text)
    if isinstance(error, requests.Timeout | urllib3.exceptions.TimeoutError):
        return FetchError("stalled", text)
    if isinstance(error, urllib3.exceptions.ProtocolError):
        return FetchError("truncated", text)
    return FetchError("", text)
