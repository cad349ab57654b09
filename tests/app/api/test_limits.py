"""What is too much, too slow or not allowed is refused with the right status, and leaves the place free."""

import io
import socket
import time
from collections.abc import Iterator

import httpx
import numpy as np
import pytest
import soundfile

from app.api.errors import ERRORS
from app.api.schema import ErrorOut
from app.api.settings import ApiSettings
from ingest.errors import UsageError
from tests.app.api.conftest import KEY, Server, TrainedModel

pytestmark = pytest.mark.slow


def refused(answer: httpx.Response, code: str) -> str:
    """The message of an error of this code."""
    assert answer.headers["content-type"] == "application/json"
    error = ErrorOut.model_validate_json(answer.content).error
    assert (answer.status_code, error.code) == (ERRORS[code].status, code), answer.text
    assert ": " in error.message and "; " in error.message  # what it is about, and a remedy
    return error.message


def flac(seconds: float, rate: int = 16_000, channels: int = 1) -> bytes:
    """Silence, which takes next to no bytes."""
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, channels, format="FLAC") as sound:
        for _ in range(round(seconds)):
            sound.write(np.zeros((rate, channels), np.int16))
    return file.getvalue()


def raw(server: Server) -> socket.socket:
    """A connection whose bytes are ours."""
    return socket.create_connection(("127.0.0.1", server.port), timeout=20)


def read_to_end(connection: socket.socket) -> bytes:
    """All that comes until the server closes."""
    return b"".join(iter(lambda: connection.recv(4096), b""))


HEAD = b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer correct-horse-battery\r\n"


def test_a_body_that_says_it_is_too_large_is_not_read(strict: Server) -> None:
    with raw(strict) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000001\r\n\r\n")
        answer = read_to_end(connection)  # before a byte of it was sent
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"too_large" in answer


def test_a_body_that_turns_out_too_large_is_cut_off(strict: Server) -> None:
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 200_000_000:
            sent += 100_000
            yield bytes(100_000)

    before = strict.memory_mb()
    begin = time.monotonic()
    try:
        refused(strict.post(endless(), headers=KEY), "too_large")  # type: ignore[arg-type]
    except httpx.TransportError:  # it went on sending beyond all patience, and was cut off
        assert time.monotonic() - begin < 10
    assert strict.memory_mb() < before + 20
    strict.wait_until(lambda health: health["requests"] == 0)


def test_a_form_has_the_same_limit(strict: Server) -> None:
    files = {"file": ("a.wav", bytes(1_000_001))}
    refused(httpx.post(f"{strict.url}/v1/predictions", files=files, headers=KEY, timeout=30), "too_large")


def test_too_much_audio_in_few_bytes(strict: Server) -> None:
    bomb = flac(3600)
    assert len(bomb) < 300_000
    begin = time.monotonic()
    message = refused(strict.post(bomb, headers=KEY), "too_long")
    assert "20 s" in message
    assert time.monotonic() - begin < 15  # not an hour's worth of scoring
    assert strict.post(flac(20), headers=KEY).status_code == 200  # as much as there may be


def test_without_a_key_or_with_a_wrong_one(strict: Server, trained: TrainedModel) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}, {"Authorization": "Basic correct-horse-battery"},
                    {"Authorization": "Bearer correct-horse-batter\xff".encode("latin-1")}):  # fmt: skip
        answer = strict.post(trained.sounds[0].read_bytes(), headers=headers)
        assert "Bearer" in refused(answer, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
        for path in ("/v1/models", "/metrics"):
            refused(strict.get(path, headers=headers), "unauthorized")
    assert strict.get("/healthz").status_code == 200
    assert strict.get("/v1/models", headers=KEY).status_code == 200


def test_pages_of_other_addresses_are_kept_out(strict: Server, server: Server) -> None:
    silence = flac(1)
    refused(strict.post(silence, headers={**KEY, "Origin": "https://evil.example"}), "origin")
    refused(strict.post(silence, headers={**KEY, "Origin": "null"}), "origin")
    refused(strict.post(silence, headers={**KEY, "Origin": "http://["}), "origin")  # which Python takes for no address
    refused(server.post(silence, headers={"Origin": "https://page.example"}), "origin")
    assert server.post(silence, headers={"Origin": server.url}).status_code == 200  # its own
    answer = strict.post(silence, headers={**KEY, "Origin": "https://page.example"})
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    asked = {"Origin": "https://page.example", "Access-Control-Request-Method": "POST",
             "Access-Control-Request-Headers": "authorization"}  # fmt: skip
    assert httpx.options(f"{strict.url}/v1/predictions", headers=asked).status_code == 200
    assert (
        "access-control-allow-origin" not in server.get("/healthz", headers={"Origin": "https://page.example"}).headers
    )


def test_a_slow_upload_is_ended_and_its_place_is_free(strict: Server) -> None:
    with raw(strict) as connection:
        connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\nRIFF")
        begin = time.monotonic()
        answer = read_to_end(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"timeout" in answer
        assert 1 < time.monotonic() - begin < 10
    strict.wait_until(lambda health: health["requests"] == 0)


def test_all_places_taken(server: Server) -> None:
    places = ApiSettings().max_requests
    slow = [raw(server) for _ in range(places)]
    try:
        for connection in slow:
            connection.sendall(HEAD + b"Content-Length: 1000\r\n\r\nRIFF")
        server.wait_until(lambda health: health["requests"] == places)
        answer = server.post(flac(1))
        refused(answer, "busy")
        assert int(answer.headers["retry-after"]) >= 1
    finally:
        for connection in slow:
            connection.close()
    server.wait_until(lambda health: health["requests"] == 0)
    assert server.post(flac(1)).status_code == 200


def test_a_head_that_never_ends(strict: Server) -> None:
    with raw(strict) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\n")
        begin = time.monotonic()
        for _ in range(40):
            if time.monotonic() - begin > 10:
                break
            time.sleep(0.25)
            try:
                connection.sendall(b"X: y\r\n")
            except OSError:
                break
        assert time.monotonic() - begin < 10


def test_a_huge_head(strict: Server) -> None:
    with raw(strict) as connection:
        connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + bytes(200_000).replace(b"\0", b"y"))
        answer = connection.recv(4096)
    assert answer.startswith(b"HTTP/1.1 400 ")


def test_more_connections_than_there_may_be(strict: Server) -> None:
    open_ = [raw(strict) for _ in range(45)]
    try:
        with raw(strict) as connection:
            assert connection.recv(4096).startswith(b"HTTP/1.1 503 ")
    finally:
        for connection in open_:
            connection.close()
    deadline = time.monotonic() + 10
    while True:
        try:
            assert strict.get("/healthz").status_code == 200
            break
        except (AssertionError, httpx.TransportError):
            assert time.monotonic() < deadline


@pytest.mark.parametrize(
    "settings",
    [{"max_mb": 0}, {"max_s": -1}, {"max_requests": 0}, {"keys": ("short",)}, {"origins": ("example.org",)},
     {"origins": ("https://example.org/page",)}],
)  # fmt: skip
def test_settings_out_of_range(settings: dict[str, object]) -> None:
    with pytest.raises(UsageError, match=r".+: must .+"):
        ApiSettings(**settings)  # type: ignore[arg-type]
