"""The WebSocket: audio in, predictions, events and states out, whatever the client does."""

import asyncio
import io
import json
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import websockets
from websockets.asyncio.client import connect

from app.api.schema import PredictionMessage, StateMessage
from app.api.settings import ApiSettings
from app.api.stream import _write
from app.live.engine import load_engine
from classifiers.bundle import load_bundle
from ingest.audio.windows import read_clip
from tests.app.api.conftest import KEY, Server, TrainedModel
from tests.app.live.doubles import Bench, noise
from tests.ingest.sounds import write, write_av

pytestmark = pytest.mark.slow

Messages = list[dict[str, Any]]
STOP = '{"type": "stop"}'


async def talk(
    server: Server, start: dict[str, Any] | None, pieces: Iterable[bytes | str], **options: Any
) -> tuple[Messages, int | None]:
    """Send all this; what came back, and the close code."""
    received: Messages = []
    async with connect(server.stream_url, open_timeout=30, **options) as connection:

        async def send() -> None:
            with suppress(websockets.ConnectionClosed):
                if start is not None:
                    await connection.send(json.dumps({"type": "start", **start}))
                for piece in pieces:
                    await connection.send(piece)

        sending = asyncio.create_task(send())
        with suppress(websockets.ConnectionClosed):
            while True:
                received.append(json.loads(await asyncio.wait_for(connection.recv(), 60)))
        await sending
        return received, connection.close_code


def run(server: Server, start: dict[str, Any] | None, pieces: Iterable[bytes | str], **options: Any) -> Any:
    return asyncio.run(talk(server, start, pieces, **options))


def of(messages: Messages, kind: str) -> Messages:
    return [message for message in messages if message["type"] == kind]


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@pytest.fixture(scope="module")
def mixed(trained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """25 s: two sounds of each of two classes, and some of the third; 44.1 kHz or 22.05 kHz."""
    sounds = [soundfile.read(trained.sounds[i], dtype="float32") for i in (0, 1, 8, 9, 16)]
    path = tmp_path_factory.mktemp("stream") / "mixed.wav"
    return write(path, np.concatenate([samples for samples, _ in sounds]), sounds[0][1])


def pcm(path: Path) -> tuple[bytes, int]:
    samples, rate = soundfile.read(path, dtype="int16")
    return samples.astype("<i2").tobytes(), rate


def test_pcm_gives_the_scores_of_the_same_windows_of_a_file(server: Server, trained: TrainedModel, mixed: Path) -> None:
    data, rate = pcm(mixed)
    messages, code = run(server, {"format": "pcm16", "sample_rate": rate}, [*cut(data, 9_001), STOP])
    assert code == 1000
    assert messages[0]["type"] == "started" and messages[0]["model"] == "first"
    ended = messages[-1]
    assert ended["type"] == "ended"
    assert ended["counters"]["skipped"] == 0 and ended["counters"]["dropped_s"] == 0
    predictions = of(messages, "prediction")
    assert len(predictions) == ended["counters"]["windows"] >= 15
    engine = load_engine(trained.folder, weights_dir=trained.weights)
    spec = load_bundle(trained.folder).spec
    waveform = read_clip(mixed, sample_rate=spec.sample_rate).waveform
    for said in predictions[::5]:
        begin = round(said["start_s"] * spec.sample_rate)
        window = waveform[begin : begin + round(spec.window_s * spec.sample_rate)]
        truth = engine.predict_waveform(window).to_json()
        assert said["scores"] == pytest.approx(truth["scores"], abs=1e-5)
        assert (said["start_s"], said["end_s"]) == pytest.approx((begin / spec.sample_rate, said["start_s"] + 10))


def test_states_and_events_tell_a_story(server: Server, mixed: Path) -> None:
    data, rate = pcm(mixed)
    messages, _ = run(server, {"sample_rate": rate, "top": 1}, [*cut(data, 30_000), STOP])
    states = [message["state"] for message in of(messages, "state")]
    assert states[0] in ("connecting", "filling") and states[-1] == "ended"
    assert "listening" in states
    assert all(len(message["scores"]) == 1 for message in of(messages, "prediction"))
    opened, closed = ([e["number"] for e in of(messages, "event") if e["open"] is is_open] for is_open in (True, False))
    assert closed and sorted(closed) == sorted(set(closed)) and set(opened) <= set(closed)  # each ends, once
    heard = {message["answer"] for message in of(messages, "prediction")}
    assert {message["class"] for message in of(messages, "event")} <= heard


@pytest.mark.parametrize("format", ["webm", "ogg"])
def test_what_a_recorder_in_a_browser_writes(server: Server, mixed: Path, tmp_path: Path, format: str) -> None:
    samples, rate = soundfile.read(mixed, dtype="float32")
    at_48 = np.interp(np.arange(0, len(samples), rate / 48_000), np.arange(len(samples)), samples).astype(np.float32)
    live = {"live": "1"} if format == "webm" else {}
    data = write_av(tmp_path / f"a.{format}", at_48, "libopus", **live).read_bytes()
    messages, code = run(server, {"format": format}, [*cut(data, 2_000), STOP])
    assert code == 1000, messages[-1]
    truth, _ = run(server, {"sample_rate": rate}, [*cut(pcm(mixed)[0], 20_000), STOP])
    assert messages[-1]["counters"]["audio_s"] == pytest.approx(25, abs=0.5)
    pairs = zip(of(messages, "prediction"), of(truth, "prediction"), strict=False)
    same = [ours["answer"] == theirs["answer"] for ours, theirs in pairs]
    assert len(same) >= 15 and np.mean(same) > 0.7


def test_a_stale_prediction_is_told_to_be_stale() -> None:
    """On a clock of our own: ten seconds of sound, then nothing, until the state says that the answer is not of now."""

    class Socket:
        def __init__(self) -> None:
            self.sent: Messages = []

        async def send_text(self, text: str) -> None:
            self.sent.append(json.loads(text))

    async def listen() -> Messages:
        bench, socket = Bench(), Socket()
        listening = bench.hub.open()
        writing = asyncio.create_task(_write(socket, listening, ApiSettings(), None))  # type: ignore[arg-type]
        bench.play(listening, noise(10))
        while not of(socket.sent, "prediction"):
            await asyncio.sleep(0)
        bench.clock.now += 6
        while not any(message["stale"] for message in of(socket.sent, "state")):
            await asyncio.sleep(0.01)
        listening.close("over")
        await writing
        return socket.sent

    messages = asyncio.run(listen())
    (said,) = of(messages, "prediction")
    assert said["age_s"] == pytest.approx(10 - 9.615, abs=0.1)
    assert [(m["state"], m["stale"]) for m in of(messages, "state")] == [
        ("listening", False), ("no_audio", True), ("ended", True),
    ]  # fmt: skip
    assert [m["age_s"] for m in of(messages, "state")][:2] == pytest.approx([said["age_s"], said["age_s"] + 6])
    for message in of(messages, "state"):
        StateMessage.model_validate(message)
    PredictionMessage.model_validate(said)


def test_half_a_window_is_scored_at_the_end(server: Server, trained: TrainedModel) -> None:
    data, rate = pcm(trained.sounds[0])
    messages, _ = run(server, {"sample_rate": rate}, [data, STOP])
    (prediction,) = of(messages, "prediction")
    assert prediction["end_s"] == pytest.approx(5.0, abs=0.1)
    expected = server.post(trained.sounds[0].read_bytes()).json()["windows"][0]
    assert prediction["scores"] == pytest.approx(expected["scores"], abs=2e-3)


@pytest.mark.parametrize(
    ("start", "pieces", "code", "close"),
    [
        (None, [b"audio first"], "bad_request", 1008),
        (None, ["no json"], "bad_request", 1008),
        (None, ["[" * 4_000], "bad_request", 1008),
        (None, [STOP], "bad_request", 1008),
        ({"format": "m3u8"}, [], "bad_request", 1008),
        ({"sample_rate": 1}, [], "bad_request", 1008),
        ({"channels": 10_000}, [], "bad_request", 1008),
        ({"path": "/etc/passwd"}, [], "bad_request", 1008),
        ({"model": "../first"}, [], "unknown_model", 1008),
        ({}, ["hello"], "bad_request", 1008),
        ({}, ['{"type": "start"}'], "bad_request", 1008),
        ({}, ["x" * 5_000], "too_large", 1009),
        ({"format": "webm"}, [np.random.default_rng(0).bytes(20_000)], "not_audio", 1003),
        ({"format": "ogg"}, [b"no ogg " * 2_000, STOP], "not_audio", 1003),
        ({"format": "webm"}, [b"#EXTM3U\n/etc/passwd\n" * 300, STOP], "not_audio", 1003),
        ({"format": "ogg"}, [b"OggS", STOP], "not_audio", 1003),
    ],
)
def test_messages_that_are_none(
    server: Server, start: dict[str, Any] | None, pieces: list[bytes | str], code: str, close: int
) -> None:
    messages, closed = run(server, start, pieces)
    assert (messages[-1]["type"], messages[-1]["error"]["code"], closed) == ("error", code, close)
    assert "; " in messages[-1]["error"]["message"]
    server.wait_until(lambda health: health["streams"] == 0)


@pytest.mark.parametrize("piece", ["x" * 2_000_000, bytes(2_000_000)])
def test_huge_messages_end_the_stream(server: Server, piece: bytes | str) -> None:
    before = server.memory_mb()
    _, closed = run(server, {}, [piece])
    assert closed == 1009
    server.wait_until(lambda health: health["streams"] == 0)
    assert server.memory_mb() < before + 50


def test_a_message_in_pieces_without_end(server: Server) -> None:
    """Empty continuation frames have no size, so that a limit on size never ends them."""
    with upgraded(server) as connection:
        connection.sendall(b"\x02\x80\0\0\0\0")  # binary, not the last piece, no bytes
        before = server.memory_mb()
        with pytest.raises(OSError):
            for _ in range(2_000):
                connection.sendall(b"\x00\x80\0\0\0\0" * 10_000)
        assert server.memory_mb() < before + 20
    assert server.get("/healthz").status_code == 200


def test_endless_audio_faster_than_it_can_be_scored(server: Server) -> None:
    """It is held back, so that memory stays as it is and others are served."""

    async def flood() -> tuple[float, float]:
        async with connect(server.stream_url) as connection:
            await connection.send('{"type": "start", "sample_rate": 48000}')
            rng = np.random.default_rng(0)
            noise = rng.normal(0, 3_000, 240_000).astype("<i2").tobytes()
            before, end, sent_s = server.memory_mb(), time.monotonic() + 4, 0.0

            async def read() -> None:
                async for _ in connection:
                    pass

            reading = asyncio.create_task(read())
            while time.monotonic() < end:
                with suppress(TimeoutError):
                    await asyncio.wait_for(connection.send(noise), 0.5)
                    sent_s += 5.0
            health = await asyncio.to_thread(server.get, "/healthz")
            assert health.json()["streams"] == 1
            reading.cancel()
            return server.memory_mb() - before, sent_s

    grown, sent_s = asyncio.run(flood())
    assert grown < 60
    assert sent_s < 4_000  # and not a gigabyte, as fast as the network can
    server.wait_until(lambda health: health["streams"] == 0)


def test_a_client_that_leaves_frees_its_place_at_once(strict: Server) -> None:
    start = json.dumps({"type": "start", "key": "correct-horse-battery"}).encode()
    for _ in range(3):  # more than there are places
        connections = [upgraded(strict) for _ in range(2)]
        for connection in connections:
            connection.sendall(b"\x81" + bytes([0x80 | len(start)]) + b"\0\0\0\0" + start)
        strict.wait_until(lambda health: health["streams"] == 2)
        messages, closed = run(strict, {}, [], additional_headers=KEY)
        assert (messages[0]["error"]["code"], closed) == ("busy", 1013)
        for connection in connections:  # without a word
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
            connection.close()
        strict.wait_until(lambda health: health["streams"] == 0)


def test_who_sends_nothing_is_let_go(strict: Server) -> None:
    begin = time.monotonic()
    messages, closed = run(strict, None, [])
    assert (messages[-1]["error"]["code"], closed) == ("timeout", 1008)
    messages, closed = run(strict, {"key": "correct-horse-battery"}, [])
    assert (messages[-1]["type"], closed) == ("ended", 1000)
    assert "No audio" in messages[-1]["message"]
    assert time.monotonic() - begin < 20


def test_keys_and_origins(strict: Server) -> None:
    for start in ({}, {"key": "wrong"}):
        messages, closed = run(strict, start, [])
        assert (messages[0]["error"]["code"], closed) == ("unauthorized", 1008)
    assert run(strict, {"key": "correct-horse-battery"}, [STOP])[1] == 1000
    assert run(strict, {}, [STOP], additional_headers=KEY)[1] == 1000
    assert run(strict, {}, [STOP], additional_headers=KEY, origin="https://page.example")[1] == 1000
    with pytest.raises(websockets.InvalidStatus) as refusal:
        run(strict, {}, [STOP], additional_headers=KEY, origin="https://evil.example")
    assert refusal.value.response.status_code == 403
    assert json.loads(refusal.value.response.body)["error"]["code"] == "origin"


def upgraded(server: Server) -> socket.socket:
    """A WebSocket whose bytes are ours."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=20)
    connection.sendall(
        b"GET /v1/stream HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    answer = io.BytesIO()
    while b"\r\n\r\n" not in answer.getvalue():
        answer.write(connection.recv(1))
    assert answer.getvalue().startswith(b"HTTP/1.1 101 ")
    return connection
