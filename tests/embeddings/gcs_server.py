"""A local server of what Arrow asks of Google Cloud Storage's JSON API: objects that appear whole, kept in memory.

An upload is a session that takes its bytes in order; the object is there, as a new generation, when the last of them
has come. Listings come in pages of `PAGE` names, so that whoever lists must turn pages. What Arrow does not ask for is
not known here, and refused; so is everything in a bucket `refused-STATUS`, with that status.

It is a process of its own: pyarrow opens an object of Google's while it holds the interpreter's lock, and so would wait
for ever for a server in its own process.
"""

import base64
import json
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock, Thread
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

PAGE = 3
QUANTUM = 256 * 1024
"""Bytes of which every piece of an upload but the last is a multiple: others are refused."""


@dataclass(frozen=True)
class _Object:
    name: str
    data: bytes
    generation: int

    @property
    def crc32c(self) -> str:
        """As there; the client compares it with what it sent or got."""
        return base64.b64encode(google_crc32c.Checksum(self.data).digest()).decode()

    def told(self, bucket: str) -> dict[str, str]:
        made = datetime.fromtimestamp(self.generation / 1e6, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        about = {"kind": "storage#object", "bucket": bucket, "name": self.name, "timeCreated": made, "updated": made}
        return about | {"generation": str(self.generation), "size": str(len(self.data)), "crc32c": self.crc32c}


class GcsServer(ThreadingHTTPServer):
    """buckets: name -> objects by their names. uploads: id -> bucket, name and what has come."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.buckets: dict[str, dict[str, _Object]] = {}
        self.uploads: dict[str, tuple[str, str, bytearray]] = {}
        self.lock = Lock()
        self._generation = 0

    def put(self, bucket: str, name: str, data: bytes) -> _Object:
        with self.lock:  # microseconds, as there, and never twice the same
            self._generation = max(self._generation + 1, time.time_ns() // 1000)
            made = self.buckets[bucket][name] = _Object(name, data, self._generation)
        return made

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Arrow hangs up on what it no longer wants to read; all else is seen by the client."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: GcsServer

    def _route(self) -> None:
        parts = urlsplit(self.path)
        self.query = {key: values[-1] for key, values in parse_qs(parts.query, keep_blank_values=True).items()}
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if refused := re.search(r"/b/refused-(\d+)/", parts.path):
            return self._refuse(int(refused[1]))
        for method, pattern, do in _ROUTES:
            if method == self.command and (found := re.fullmatch(pattern, parts.path)):
                names = [unquote(name) for name in found.groups()]
                there = not names or names[0] in self.server.buckets
                return do(self, *names) if there else self._refuse(404)
        return self._refuse(400)

    do_GET = do_POST = do_PUT = do_DELETE = _route  # noqa: N815 - the names that http.server calls

    def _make_bucket(self) -> None:
        name = json.loads(self.body)["name"]
        self.server.buckets.setdefault(name, {})
        self._answer({"kind": "storage#bucket", "name": name})

    def _list(self, bucket: str) -> None:
        """Below `prefix`; with a delimiter, what lies deeper is left out, and what ends in it unless asked for."""
        prefix, delimiter = self.query.get("prefix", ""), self.query.get("delimiter", "")
        trailing = self.query.get("includeTrailingDelimiter") == "true"
        with self.server.lock:
            objects = [made for name, made in self.server.buckets[bucket].items() if name.startswith(prefix)]
        found = []
        for made in sorted(objects, key=lambda made: made.name):
            _, cut, deeper = made.name[len(prefix) :].partition(delimiter) if delimiter else ("", "", "")
            if not cut or (trailing and not deeper):
                found.append(made.told(bucket))
        start = int(self.query.get("pageToken") or 0)
        more = {"nextPageToken": str(start + PAGE)} if start + PAGE < len(found) else {}
        self._answer({"items": found[start : start + PAGE]} | more)

    def _get(self, bucket: str, name: str) -> None:
        made = self.server.buckets[bucket].get(name)
        if made is None or self.query.get("generation", str(made.generation)) != str(made.generation):
            return self._refuse(404)
        if self.query.get("alt") != "media":
            return self._answer(made.told(bucket))
        headers = {"x-goog-hash": f"crc32c={made.crc32c}"}
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked is None:
            return self._reply(200, made.data, headers)
        size, start = len(made.data), int(asked[1])
        if start >= size:
            return self._refuse(416)
        end = min(int(asked[2]) + 1, size) if asked[2] else size
        return self._reply(206, made.data[start:end], headers | {"Content-Range": f"bytes {start}-{end - 1}/{size}"})

    def _delete(self, bucket: str, name: str) -> None:
        with self.server.lock:
            gone = self.server.buckets[bucket].pop(name, None)
        self._reply(204, b"") if gone else self._refuse(404)

    def _begin(self, bucket: str) -> None:
        if self.query.get("uploadType") != "resumable":
            return self._refuse(400)
        upload = secrets.token_hex(8)
        self.server.uploads[upload] = (bucket, self.query["name"], bytearray())
        where = f"http://{self.headers['Host']}{urlsplit(self.path).path}?uploadType=resumable&upload_id={upload}"
        return self._reply(200, b"", {"Location": where})

    def _go_on(self, _: str) -> None:
        """A piece, `bytes FIRST-LAST/TOTAL`, or `bytes */TOTAL`; a TOTAL of `*` says that more will come."""
        known = self.server.uploads.get(self.query.get("upload_id", ""))
        told = re.fullmatch(r"bytes (?:\*|(\d+)-(\d+))/(\*|\d+)", self.headers.get("Content-Range", ""))
        if known is None or told is None:
            return self._refuse(404 if known is None else 400)
        (bucket, name, data), whole = known, told[3] != "*"
        if told[1] and int(told[1]) != len(data):
            return self._refuse(503)  # the client then asks how far it came
        if (whole and len(data) + len(self.body) != int(told[3])) or (not whole and len(self.body) % QUANTUM):
            return self._refuse(400)
        data += self.body
        if not whole:
            return self._reply(308, b"", {"Range": f"bytes=0-{len(data) - 1}"} if data else {})
        del self.server.uploads[self.query["upload_id"]]
        return self._answer(self.server.put(bucket, name, bytes(data)).told(bucket))

    def _refuse(self, status: int) -> None:
        message = self.responses[status][0]
        self._answer({"error": {"code": status, "message": message, "errors": [{"message": message}]}}, status)

    def _answer(self, content: dict[str, Any], status: int = 200) -> None:
        self._reply(status, json.dumps(content).encode(), {"Content-Type": "application/json"})

    def _reply(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


_ROUTES = (
    ("POST", r"/storage/v1/b", _Handler._make_bucket),
    ("GET", r"/storage/v1/b/([^/]+)/o", _Handler._list),
    ("GET", r"/storage/v1/b/([^/]+)/o/([^/]+)", _Handler._get),
    ("DELETE", r"/storage/v1/b/([^/]+)/o/([^/]+)", _Handler._delete),
    ("POST", r"/upload/storage/v1/b/([^/]+)/o", _Handler._begin),
    ("PUT", r"/upload/storage/v1/b/([^/]+)/o", _Handler._go_on),
)
"""Method, path, what answers."""


@contextmanager
def serving() -> Iterator[str]:
    """The address, `host:port`, of a server that serves until the block ends."""
    command = [sys.executable, "-m", "tests.embeddings.gcs_server"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdin and server.stdout
        try:
            yield server.stdout.readline().strip()
        finally:
            server.stdin.close()  # which is how it hears that it is to end, also of a test run that was killed


def main() -> None:
    with GcsServer() as server:
        print(f"127.0.0.1:{server.server_port}", flush=True)
        Thread(target=server.serve_forever, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
