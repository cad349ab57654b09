"""A small model, and servers in processes of their own."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from app.cli import main

ROOT = Path(__file__).parents[3]
START_S = 120
"""Generous: librosa compiles for a while the first time, and machines are busy."""


@dataclass(frozen=True)
class TrainedModel:
    """A bundle, where the weights of its encoder are, and some sounds of its classes."""

    folder: Path
    weights: Path | None
    sounds: list[Path]


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> TrainedModel:
    """Three classes of ESC-10 on YAMNet; without the shared data, three generated ones on the handcrafted encoder."""
    folder = tmp_path_factory.mktemp("api")
    shared = Path(os.environ.get("EARSHOT_SHARED") or "/nowhere")
    weights = shared / "models" if (shared / "models" / "yamnet.h5").is_file() else None
    if weights and (shared / "esc10").is_dir():
        for name in ("001 - Dog bark", "002 - Rain", "009 - Rooster"):
            for file in sorted((shared / "esc10" / name).iterdir())[:8]:
                copy = folder / "sounds" / name / file.name
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
    else:
        _generate(folder / "sounds")
    encoder = ["yamnet", "--weights", weights] if weights else ["handcrafted"]
    for words in (
        ["ingest", "folder", folder / "sounds", "--out", folder / "clips"],
        ["embed", folder / "clips", "--encoder", *encoder, "--out", folder / "emb"],
        ["train", folder / "emb", "--head", "svc", "--protocol", "none", "--out", folder / "model"],
    ):
        with pytest.raises(SystemExit) as left:
            main([str(word) for word in words])
        assert not left.value.code
    sounds = sorted(file for file in (folder / "sounds").rglob("*") if file.is_file())
    return TrainedModel(folder / "model", weights, sounds)


def _generate(folder: Path) -> None:
    rng = np.random.default_rng(0)
    t = np.arange(5 * 22_050) / 22_050
    for i in range(8):
        noise = rng.normal(0, 0.1, len(t))
        clicks = np.where(np.arange(len(t)) % (4_000 + 100 * i) < 20, 0.8, 0.0)
        for name, sound in (
            ("Tone", 0.5 * np.sin(2 * np.pi * (400 + 30 * i) * t)),
            ("Noise", noise),
            ("Clicks", clicks),
        ):
            (folder / name).mkdir(parents=True, exist_ok=True)
            soundfile.write(folder / name / f"{i}.wav", sound + rng.normal(0, 0.001, len(t)), 22_050)


@dataclass
class Server:
    """A running server. url: without a slash at the end."""

    process: subprocess.Popen[str]
    url: str
    started_s: float
    errors: list[str] = field(default_factory=list)
    reader: threading.Thread = field(init=False)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @property
    def stream_url(self) -> str:
        return self.url.replace("http://", "ws://") + "/v1/stream"

    def post(self, audio: bytes, **options: Any) -> httpx.Response:
        return httpx.post(f"{self.url}/v1/predictions", content=audio, timeout=60, **options)

    def get(self, path: str, **options: Any) -> httpx.Response:
        return httpx.get(f"{self.url}{path}", timeout=60, **options)

    def wait_until(self, holds: Callable[[dict[str, Any]], bool], seconds: float = 20) -> dict[str, Any]:
        """Wait for what /healthz says to be so."""
        end = time.monotonic() + seconds
        while not holds(health := self.get("/healthz").json()):
            assert time.monotonic() < end, health
            time.sleep(0.05)
        return health

    def memory_mb(self) -> float:
        """Resident memory, where the system tells."""
        status = Path(f"/proc/{self.process.pid}/status")
        if not status.exists():
            pytest.skip("needs /proc")
        found = re.search(r"VmRSS:\s+(\d+) kB", status.read_text())
        assert found is not None
        return int(found[1]) / 1000

    def stop(self, number: int | None = signal.SIGTERM, seconds: float = 40) -> int:
        """Its exit code. With no number it has been told to end already: another signal would end it at once."""
        if number is not None and self.process.poll() is None:
            self.process.send_signal(number)
        try:
            return self.process.wait(seconds)
        finally:
            self.process.kill()
            self.reader.join()
            assert self.process.stdout is not None and self.process.stderr is not None
            self.process.stdout.close()
            self.process.stderr.close()


def start(command: list[str], **environment: str) -> Server:
    """Start a server and wait until it says that it serves."""
    begin = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    server = Server(process, "", 0.0)
    assert process.stderr is not None and process.stdout is not None
    stderr = process.stderr
    server.reader = threading.Thread(target=lambda: server.errors.extend(stderr), daemon=True)
    server.reader.start()
    guard = threading.Timer(START_S, process.kill)
    guard.start()
    line = process.stdout.readline()
    guard.cancel()
    found = re.search(r"(http://\S+?:\d+)\s", line)
    assert found is not None, (line, server.errors)
    server.url, server.started_s = found[1], time.monotonic() - begin
    return server


@pytest.fixture(scope="session")
def serve(trained: TrainedModel) -> Iterator[Callable[..., Server]]:
    """Start servers with settings of a test's own; they end with the session."""
    servers: list[Server] = []

    def start_one(models: list[str] | None = None, **settings: Any) -> Server:
        wanted = {
            "models": models or [f"first={trained.folder}"],
            "weights": str(trained.weights) if trained.weights else None,
            "settings": settings,
        }
        servers.append(start(["tests.app.api.driver", json.dumps(wanted)]))
        return servers[-1]

    yield start_one
    for server in servers:
        with suppress(subprocess.TimeoutExpired):
            server.stop()


@pytest.fixture(scope="session")
def server(serve: Callable[..., Server], trained: TrainedModel) -> Server:
    """One with the usual limits and two names for the model, for tests that leave it as it was."""
    return serve([f"first={trained.folder}", f"second={trained.folder}"])


@pytest.fixture(scope="session")
def strict(serve: Callable[..., Server]) -> Server:
    """One with narrow limits."""
    return serve(max_mb=1.0, max_s=20.0, max_streams=2, max_connections=40, read_s=2.5, head_s=2.5,
                 idle_s=1.0, keys=["correct-horse-battery"], origins=["https://page.example"])  # fmt: skip


KEY = {"Authorization": "Bearer correct-horse-battery"}
