"""A local HTTP server that serves media well or badly: each path names the file and how it is to go wrong.

`/ok/chirp.webm` is served properly, with ranges; `/<fault>/chirp.webm` has one of FAULTS; `/<fault>@2/...` only for the
first two requests of that very path. `server.requests` counts them, `server.bytes_sent` the bytes of bodies.
"""

import re
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

FAULTS = {
    "ok": "nothing",
    "norange": "Range is ignored: 200 and the whole file",
    "slow": "500 kB a second",
    "paced": "8 MB a second, like a good line: so that what is sent was nearly all wanted",
    "stalled": "half of the body, then silence",
    "dripping": "a byte every 20 ms",
    "cut": "the connection is closed after half of the body",
    "wronglength": "Content-Range promises more than there is",
    "shifted": "another range than was asked for",
    "emptybody": "200 with nothing in it",
    "403": "",
    "404": "",
    "410": "",
    "429": "with Retry-After: 2",
    "500": "",
    "503": "",
}
SPEEDS = {"slow": (50_000, 0.1), "paced": (16_000, 0.002), "dripping": (1, 0.02)}
"""Bytes at a time, and the pause after them in seconds."""
TYPES = {"webm": "audio/webm", "m4a": "audio/mp4", "mp4": "audio/mp4", "ogg": "audio/ogg", "mp3": "audio/mpeg",
         "wav": "audio/wav", "flac": "audio/flac"}  # fmt: skip


class MediaServer(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, files: dict[str, bytes], retry_after: str = "2") -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files, self.retry_after = files, retry_after
        self.requests: Counter[str] = Counter()
        self.bytes_sent = 0
        self.lock = threading.Lock()
        self.closing = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are what this server is for."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement
    server: MediaServer

    def log_message(self, format: str, *args: Any) -> None: ...

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        found = re.fullmatch(r"/(\w+)(?:@(\d+))?/(?:[^/]*/)*([\w-]+\.(\w+))", self._name())
        with self.server.lock:
            self.server.requests[self._name()] += 1
            count = self.server.requests[self._name()]
        if not found or found[3] not in self.server.files:
            return self._status("404")
        fault = found[1] if not found[2] or count <= int(found[2]) else "ok"
        if fault.isdigit():
            return self._status(fault)
        self._media(self.server.files[found[3]], TYPES[found[4]], fault, body)

    def _name(self) -> str:
        return unquote(self.path.split("?")[0])

    def _status(self, status: str) -> None:
        self.send_response(int(status))
        if status == "429":
            self.send_header("Retry-After", self.server.retry_after)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _media(self, data: bytes, media_type: str, fault: str, body: bool) -> None:
        if fault == "emptybody":
            data = b""
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        start, end = 0, len(data)
        if asked and fault not in ("norange", "emptybody"):
            start, end = int(asked[1]), min(len(data), int(asked[2] or len(data)) + 1)
            if start >= len(data):
                return self._status("416")
            if fault == "shifted":
                start += 1
            self.send_response(206)
            size = len(data) + (1000 if fault == "wronglength" else 0)
            end_told = min(size, int(asked[2] or size) + 1)
            self.send_header("Content-Range", f"bytes {start}-{end_told - 1}/{size}")
            self.send_header("Content-Length", str(end_told - start))
        else:
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
        if fault not in ("norange", "emptybody"):
            self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Type", media_type)
        self.end_headers()
        if body:
            self._send(data[start:end], fault)

    def _send(self, data: bytes, fault: str) -> None:
        if fault in ("stalled", "cut"):
            data = data[: len(data) // 2]
        step, pause_s = SPEEDS.get(fault, (1 << 20, 0.0))
        for offset in range(0, len(data), step):
            with self.server.lock:  # counted first: a client may look as soon as it has the last byte
                self.server.bytes_sent += len(data[offset : offset + step])
            self.wfile.write(data[offset : offset + step])
            if pause_s and self.server.closing.wait(pause_s):
                break
        if fault == "stalled":
            self.server.closing.wait(60)
        if fault in ("stalled", "cut", "wronglength"):
            self.close_connection = True


@contextmanager
def serve(files: dict[str, bytes], **options: Any) -> Iterator[MediaServer]:
    server = MediaServer(files, **options)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.closing.set()
        server.shutdown()
        thread.join()
        time.sleep(0.01)
        server.server_close()
