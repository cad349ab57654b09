"""A local HTTP server over a dict of files that does ranges, or refuses to, and can break off in the middle."""

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class FileServer(ThreadingHTTPServer):
    """files: path -> bytes. Set `ranges`, `status`, or `break_after` (bytes of one body) to make it misbehave."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.ranges, self.status, self.break_after = True, 200, None
        self.asked: list[tuple[str, str | None]] = []
        self.bytes_sent = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FileServer

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        content = server.files.get(self.path.partition("?")[0].removeprefix("/"))
        if server.status != 200 or content is None:
            self.send_error(server.status if content is not None else 404)
            return
        first, last = 0, len(content) - 1
        if wanted and server.ranges:
            found = re.fullmatch(r"bytes=(\d+)-(\d*)", wanted)
            first, last = int(found[1]), min(last, int(found[2] or last))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        else:
            self.send_response(200)
        body = content[first : last + 1]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if server.break_after is not None:
            body = body[: server.break_after]
            self.close_connection = True
        if self.command == "GET":
            server.bytes_sent += len(body)  # counted first: a client may look as soon as it has the last byte
            self.wfile.write(body)

    do_HEAD = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: object) -> None: ...


@contextmanager
def serving(files: dict[str, bytes]) -> Iterator[FileServer]:
    """Serves until the block ends."""
    with FileServer(files) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
