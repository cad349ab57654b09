"""`earshot serve` under load: ten seconds of WAV at 1, 8 and 50 clients, against the same work in this process.

The floor is decoding, embedding and scoring the same bytes with as many threads as the server has, and no network. A
client is a thread with a connection of its own that sends its next request when it has its answer; on a small machine
the clients take their share of the cores too. Expected before measuring: 75 to 85 % of the floor's rate, as parsing and
answering a request of 320 kB takes some 3 ms of Python beside 12 to 15 ms in decoder, front end and engine.
"""

import http.client
import io
import json
import re
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import soundfile
from threadpoolctl import threadpool_limits

from app.live.engine import Engine, load_engine
from app.predicting import Predictor, predict_item
from bench.clips import shared_folder
from bench.result import LeftOutError, Result
from embeddings.weights import look_up
from ingest.audio.clip import AudioItem
from ingest.engines.local_engine import available_cores

CLIENTS = (1, 8, 50)
SECONDS = 6.0
GOAL = 0.7
SAMPLE_RATE = 16_000


def run() -> list[Result]:
    """Raises LeftOutError without YAMNet's weights and ESC-10."""
    shared = shared_folder()
    if shared is None or not look_up("yamnet.h5", shared / "models"):
        raise LeftOutError("needs EARSHOT_SHARED with YAMNet's weights and ESC-10")
    weights = shared / "models"
    results: list[Result] = []
    with TemporaryDirectory() as temporary, threadpool_limits(1, "blas"):
        folder = Path(temporary)
        model = _train(folder, shared / "esc10", weights)
        audio = _ten_seconds()
        (folder / "ten.wav").write_bytes(audio)
        engine = load_engine(model, weights_dir=weights)
        with _server(model, weights) as (process, port):
            empty_mb = _memory_mb(process.pid)
            for clients in CLIENTS:
                threads = min(clients, available_cores())
                bare, _ = _rate(lambda: _in_process(engine, folder / "ten.wav"), threads)
                rate, p95_ms = _rate(lambda: _post(port, audio), clients)
                goal = f"{GOAL:.0%} of the floor"
                note = f"{rate:.1f} a second against {bare:.1f}, p95 {p95_ms:.0f} ms"
                # As milliseconds of the machine for each request, so that less is better, as everywhere in the table.
                name = f"api: 10 s WAV, {clients} clients"
                results.append(Result(name, 1000 / rate, 1000 / bare, "ms", goal, rate >= GOAL * bare, note))
            full_mb = _memory_mb(process.pid)
    results.append(
        Result("api: memory after that", full_mb, empty_mb, "MB", "under 500 MB", full_mb < 500, "floor: before")
    )
    return results


def _train(folder: Path, sounds: Path, weights: Path) -> Path:
    for words in (
        ["ingest", "folder", sounds, "--out", folder / "clips"],
        ["embed", folder / "clips", "--encoder", "yamnet", "--weights", weights, "--out", folder / "emb"],
        ["train", folder / "emb", "--head", "svc", "--protocol", "none", "--out", folder / "model"],
    ):
        command = [sys.executable, "-m", "app.cli", *map(str, words)]
        subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=True)
    return folder / "model"


def _ten_seconds() -> bytes:
    file = io.BytesIO()
    noise = np.random.default_rng(0).normal(0, 0.1, 10 * SAMPLE_RATE)
    soundfile.write(file, noise, SAMPLE_RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


@contextmanager
def _server(model: Path, weights: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    command = [
        sys.executable,
        "-m",
        "app.cli",
        "serve",
        "--port",
        "0",
        "--model",
        str(model),
        "--weights",
        str(weights),
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:(\d+)", process.stdout.readline())
        assert found is not None
        try:
            yield process, int(found[1])
        finally:
            process.terminate()


def _rate(request: Callable[[], None], clients: int) -> tuple[float, float]:
    """Requests a second, and the time that 95 % of them did not exceed, in milliseconds."""
    request()
    begin = time.perf_counter()

    def client(_: int) -> list[float]:
        took: list[float] = []
        while (start := time.perf_counter()) < begin + SECONDS or len(took) < 2:
            request()
            took.append(time.perf_counter() - start)
        return took

    with ThreadPoolExecutor(clients) as pool:
        took = [seconds for one in pool.map(client, range(clients)) for seconds in one]
    return len(took) / (time.perf_counter() - begin), 1000 * statistics.quantiles(took, n=20)[-1]


def _in_process(engine: Engine, path: Path) -> None:
    # The head, a light one, may be shared: it is NumPy.
    result = predict_item(Predictor(engine.bundle, engine.encoder), AudioItem("", path, ""))
    assert len(result.predictions) == 1


def _post(port: int, audio: bytes) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/v1/predictions", audio)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    assert len(answer["windows"]) == 1, answer


def _memory_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) / 1000
