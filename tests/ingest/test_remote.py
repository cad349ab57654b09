"""A remote file read in pieces: right bytes, counted, and every way to go wrong named."""

import io
import socket
import socketserver
import threading
import time
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.errors import FetchError
from ingest.ledger.outcomes import Kind, classify
from ingest.youtube.remote import MediaStream, NotSeekableError, RemoteFile, _session
from tests.ingest.media_server import MediaServer, serve

DATA = np.random.default_rng(1).integers(0, 256, 300_000, dtype=np.uint8).tobytes()


@pytest.fixture(scope="module")
def server():  # type: ignore[no-untyped-def]
    with serve({"data.webm": DATA}) as running:
        yield running


def remote(server: MediaServer, fault: str, **options: float) -> RemoteFile:
    return RemoteFile(
        MediaStream(f"{server.url}/{fault}/data.webm"), **{"timeout_s": 0.5, "deadline_s": 5.0, **options}
    )


@settings(max_examples=30, deadline=None)
@given(
    moves=st.lists(
        st.tuples(st.sampled_from([io.SEEK_SET, io.SEEK_CUR, io.SEEK_END]), st.integers(-400_000, 400_000),
                  st.integers(0, 70_000)),
        max_size=8,
    )
)  # fmt: skip
def test_reads_like_a_file_on_disk(server: MediaServer, moves: list[tuple[int, int, int]]) -> None:
    local = io.BytesIO(DATA)
    with remote(server, "ok") as file:
        for whence, offset, count in moves:
            base = {io.SEEK_SET: 0, io.SEEK_CUR: local.tell(), io.SEEK_END: len(DATA)}[whence]
            local.seek(max(0, base + offset))
            assert file.seek(offset, whence) == local.tell() == file.tell()
            got = file.read(count)
            assert got == local.read(len(got))
            assert bool(got) == (count > 0 and local.tell() - len(got) < len(DATA))


def test_nothing_is_read_twice(server: MediaServer) -> None:
    with remote(server, "ok") as file:
        for position in (0, 100, 20_000, 5, 32_000):
            file.seek(position)
            file.read(100)
        assert file.bytes_read == 32 * 1024


@pytest.mark.parametrize(
    ("fault", "failure"),
    [
        ("403", "forbidden"),
        ("404", "not-found"),
        ("410", "not-found"),
        ("429", "too-many-requests"),
        ("500", "server-error"),
        ("503", "server-error"),
        ("cut", "truncated"),
        ("shifted", "truncated"),
        ("stalled", "stalled"),
        ("dripping", "stalled"),
    ],
)
def test_every_fault_has_its_name_and_is_kept_for_decoders_that_swallow_it(
    server: MediaServer, fault: str, failure: str
) -> None:
    with remote(server, fault, deadline_s=1.0) as file:
        with pytest.raises(Exception) as caught:
            file.read(1000)
        assert classify(caught.value).failure.name == failure
        assert file.failure is caught.value


def test_retry_after_is_heard(server: MediaServer) -> None:
    with remote(server, "429") as file, pytest.raises(Exception) as caught:
        file.read(10)
    assert classify(caught.value).wait_s == 2.0


@pytest.mark.parametrize("fault", ["norange", "emptybody"])
def test_a_server_without_ranges_is_for_the_other_way(server: MediaServer, fault: str) -> None:
    with remote(server, fault) as file, pytest.raises(NotSeekableError):
        file.read(10)


def test_a_size_that_is_too_large_shows_at_the_end(server: MediaServer) -> None:
    with remote(server, "wronglength") as file:
        file.seek(len(DATA) - 10)
        with pytest.raises(Exception) as caught:
            file.read(100)
    outcome = classify(caught.value)
    assert outcome.failure.name in ("truncated", "stalled", "connection"), (
        "whichever the hung-up connection shows first"
    )
    assert outcome.failure.kind is Kind.RECOVERABLE


def test_nobody_listens() -> None:
    with RemoteFile(MediaStream("http://127.0.0.1:9/x.webm"), timeout_s=1, deadline_s=2) as file:
        with pytest.raises(Exception) as caught:
            file.read(10)
        assert classify(caught.value).failure.name == "connection"


def test_a_name_that_does_not_resolve_is_the_network() -> None:
    with RemoteFile(MediaStream("http://no-such-host.invalid/x.webm", proxy=""), timeout_s=2, deadline_s=9) as file:
        with pytest.raises(Exception) as caught:
            file.read(10)
        assert classify(caught.value).failure.name == "no-network"


class _Socks5(socketserver.StreamRequestHandler):
    """As much of RFC 1928 as it takes: no password, CONNECT to an IPv4 address or a name; then bytes both ways."""

    def handle(self) -> None:
        self.rfile.read(self.rfile.read(2)[1])
        self.wfile.write(b"\x05\x00")
        kind = self.rfile.read(4)[3]
        host = socket.inet_ntoa(self.rfile.read(4)) if kind == 1 else self.rfile.read(self.rfile.read(1)[0]).decode()
        there = (host, int.from_bytes(self.rfile.read(2), "big"))
        self.server.asked.append(there)  # type: ignore[attr-defined]
        with socket.create_connection(there) as target:
            self.wfile.write(b"\x05\x00\x00\x01" + bytes(6))
            back = threading.Thread(target=lambda: pump(target, self.connection))
            back.start()
            pump(self.connection, target)
            target.shutdown(socket.SHUT_RDWR)
            back.join()


def pump(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while some := source.recv(1 << 16):
            target.sendall(some)


def test_a_socks_proxy_is_asked_for_the_audio_too(server: MediaServer) -> None:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), _Socks5) as proxy:
        proxy.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        for scheme in ("socks5", "socks5h"):
            stream = MediaStream(f"{server.url}/ok/data.webm", proxy=f"{scheme}://127.0.0.1:{proxy.server_address[1]}")
            with RemoteFile(stream, timeout_s=1, deadline_s=5) as file:
                assert file.read(1000) == DATA[:1000]
        proxy.shutdown()
    assert proxy.asked == [server.server_address] * 2  # type: ignore[attr-defined]


@pytest.mark.parametrize("scheme", ["http", "socks4", "socks5", "socks5h"])
def test_a_dead_proxy_is_the_proxy(server: MediaServer, scheme: str) -> None:
    stream = MediaStream(f"{server.url}/ok/data.webm", proxy=f"{scheme}://127.0.0.1:9")
    with RemoteFile(stream, timeout_s=1, deadline_s=2) as file:
        with pytest.raises(Exception) as caught:
            file.read(10)
        assert classify(caught.value).failure.name == "proxy"


def test_no_proxy_at_all_is_none_of_the_environments_either(
    server: MediaServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with RemoteFile(MediaStream(f"{server.url}/ok/data.webm", proxy=""), timeout_s=2, deadline_s=9) as file:
        assert file.read(10)
    with (
        RemoteFile(MediaStream(f"{server.url}/ok/data.webm"), timeout_s=2, deadline_s=9) as file,
        pytest.raises(FetchError, match="proxy"),
    ):
        file.read(10)


@pytest.mark.parametrize("proxy", [None, "", "http://127.0.0.1:9"])
def test_whom_to_trust_is_the_environments_with_a_proxy_too(proxy: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/etc/mine.pem")
    session = _session(MediaStream("https://127.0.0.1/", proxy=proxy))
    assert session.merge_environment_settings("https://127.0.0.1/", {}, None, None, None)["verify"] == "/etc/mine.pem"


def test_source_address_is_used(server: MediaServer) -> None:
    stream = MediaStream(f"{server.url}/ok/data.webm", source_address="127.0.0.7", proxy="")
    with RemoteFile(stream, timeout_s=1, deadline_s=2) as file:
        assert file.read(4) == DATA[:4]


def test_stop_ends_a_slow_read_soon(server: MediaServer) -> None:
    stop = threading.Event()
    threading.Timer(0.2, stop.set).start()
    began = time.monotonic()
    stream = MediaStream(f"{server.url}/dripping/data.webm")
    with RemoteFile(stream, timeout_s=5, deadline_s=60, stop=stop) as file, pytest.raises(InterruptedError):
        file.read(1000)
    assert time.monotonic() - began < 2
