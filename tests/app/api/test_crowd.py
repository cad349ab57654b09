"""Many clients at once, clients that leave, and the end of the server: asked for, and not."""

import asyncio
import os
import signal
import socket
import time
from pathlib import Path

import httpx
import numpy as np
import pytest

from app.cli import main
from tests.app.api.conftest import Server, TrainedModel, start
from tests.app.api.test_limits import HEAD, flac
from tests.app.api.test_stream import STOP, cut, of, pcm, talk
from tests.ingest.sounds import write

pytestmark = pytest.mark.slow

CLIENTS = 50


def test_fifty_clients_get_the_answers_they_would_get_alone(server: Server, trained: TrainedModel) -> None:
    sounds = [sound.read_bytes() for sound in trained.sounds]
    alone = [server.post(sound).json() for sound in sounds]

    async def crowd() -> list[httpx.Response]:
        limits = httpx.Limits(max_connections=CLIENTS)
        async with httpx.AsyncClient(timeout=120, limits=limits) as client:
            address = f"{server.url}/v1/predictions"
            posts = (client.post(address, content=sounds[i % len(sounds)]) for i in range(CLIENTS))
            return list(await asyncio.gather(*posts))

    for i, answer in enumerate(asyncio.run(crowd())):
        assert answer.status_code == 200, answer.text
        assert answer.json() == alone[i % len(sounds)]
    assert server.wait_until(lambda health: health["requests"] == 0)


def test_a_short_sound_does_not_wait_for_a_long_one(server: Server, trained: TrainedModel, tmp_path: Path) -> None:
    """They take turns, window by window."""
    long = write(tmp_path / "long.wav", np.random.default_rng(0).normal(0, 0.1, 300 * 16_000), 16_000).read_bytes()
    short = trained.sounds[0].read_bytes()

    async def both() -> tuple[float, float]:
        async with httpx.AsyncClient(timeout=120) as client:
            begin = time.monotonic()

            async def timed(audio: bytes) -> float:
                answer = await client.post(f"{server.url}/v1/predictions", content=audio)
                assert answer.status_code == 200, answer.text
                return time.monotonic() - begin

            longs = [asyncio.create_task(timed(long)) for _ in range(os.cpu_count() or 2)]
            await asyncio.sleep(0.2)
            return await timed(short), min(await asyncio.gather(*longs))

    short_s, long_s = asyncio.run(both())
    assert short_s < 0.7 * long_s


def test_streams_and_uploads_side_by_side(server: Server, trained: TrainedModel) -> None:
    data, rate = pcm(trained.sounds[0])

    async def all_of_them() -> None:
        streams = [talk(server, {"sample_rate": rate}, [*cut(data * 3, 8_000), STOP]) for _ in range(8)]
        uploads = [asyncio.to_thread(server.post, trained.sounds[0].read_bytes()) for _ in range(8)]
        said = await asyncio.gather(*streams, *uploads)
        first = [window | {"age_s": 0} for window in of(said[0][0], "prediction")]  # type: ignore[index]
        for messages, code in said[:8]:  # type: ignore[misc]
            assert code == 1000
            assert [window | {"age_s": 0} for window in of(messages, "prediction")] == first
            assert messages[-1]["counters"]["skipped"] == 0
        assert all(answer.status_code == 200 for answer in said[8:])  # type: ignore[union-attr]

    asyncio.run(all_of_them())


def test_a_client_that_leaves_frees_its_place(server: Server) -> None:
    long = flac(550)  # well over a second of work
    for abruptly in (False, True):
        connections = []
        for _ in range(10):
            connection = socket.create_connection(("127.0.0.1", server.port))
            connection.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(long) + long)
            connections.append(connection)
        server.wait_until(lambda health: health["requests"] >= 1)
        for connection in connections:
            if abruptly:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, bytes([1, 0, 0, 0, 0, 0, 0, 0]))
            connection.close()
        server.wait_until(lambda health: health["requests"] == 0)


def command(trained: TrainedModel, *more: str) -> list[str]:
    weights = ["--weights", str(trained.weights)] if trained.weights else []
    return ["app.cli", "serve", "--model", str(trained.folder), "--port", "0", *weights, *more]


def test_the_command_starts_quickly_without_tensorflow_and_takes_a_key(trained: TrainedModel) -> None:
    if trained.weights is None:
        pytest.skip("needs YAMNet's weights: librosa alone takes longer to import")
    server = start(command(trained), PYTHONPROFILEIMPORTTIME="1", EARSHOT_KEY="0123456789abcdef")
    assert server.get("/v1/models").status_code == 401
    answer = server.get("/v1/models", headers={"Authorization": "Bearer 0123456789abcdef"})
    assert answer.json()["default"] == "model"
    assert server.stop() == 0
    imported = {line.rpartition("|")[2].strip() for line in server.errors if line.startswith("import time:")}
    assert "fastapi" in imported
    assert not imported & {"tensorflow", "keras", "sklearn", "librosa"}
    # What is held here is what the command costs, not what else keeps the machine busy.
    assert server.started_s < 3 or os.getloadavg()[0] > (os.cpu_count() or 1), server.started_s


def test_killed_and_started_again(trained: TrainedModel, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [word if word != "0" else str(port) for word in command(trained)]
    first = start(words, TMPDIR=str(tmp_path))
    expected = first.post(trained.sounds[0].read_bytes()).json()
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(b"POST /v1/predictions HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\nRIFF")
        first.wait_until(lambda health: health["requests"] == 1)
        assert first.stop(signal.SIGKILL) == -signal.SIGKILL
    second = start(words, TMPDIR=str(tmp_path))
    try:
        assert second.url == first.url
        assert second.post(trained.sounds[0].read_bytes()).json() == expected
    finally:
        assert second.stop() == 0


def test_sigterm_answers_what_is_there_and_lets_nobody_in(trained: TrainedModel, tmp_path: Path) -> None:
    server = start(command(trained), TMPDIR=str(tmp_path))
    data, rate = pcm(trained.sounds[0])

    async def during() -> None:
        upload = asyncio.create_task(asyncio.to_thread(server.post, flac(500)))
        stream = asyncio.create_task(talk(server, {"sample_rate": rate}, [data]))
        await asyncio.to_thread(server.wait_until, lambda health: health["requests"] == 1 and health["streams"] == 1)
        server.process.send_signal(signal.SIGTERM)
        answer = await upload
        assert answer.status_code == 200, answer.text
        assert len(answer.json()["windows"]) == 50
        assert (await stream)[1] == 1012  # "service restart": come again

    asyncio.run(during())
    assert server.stop(None) == 0
    with pytest.raises(httpx.ConnectError):
        server.get("/healthz")
    assert not list(tmp_path.iterdir()), "uploads were left behind"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--model", "/no/such/model"], "/no/such/model"),
        (["--model", "{model}", "--model", "model={model}"], "'model'"),
        (["--model", "{model}", "--key", "/no/such/key"], "--key"),
        (["--model", "a b={model}"], "'a b'"),
        (["--model", "{model}", "--allow-origin", "example.org"], "--allow-origin"),
        (["--model", "{model}", "--max-s", "-5"], "--max-s"),
        (["--model", "{model}", "--port", "{taken}"], "--port"),
    ],
)
def test_mistakes_are_one_line(
    trained: TrainedModel, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(SystemExit) as left:
        places = {"model": str(trained.folder), "taken": str(taken.getsockname()[1])}
        weights = ["--weights", str(trained.weights)] if trained.weights else []
        main(["serve", *(word.format(**places) for word in words), *weights])
    assert left.value.code in (1, 2)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("earshot: ") and captured.err.count("\n") == 1
    assert says in captured.err
