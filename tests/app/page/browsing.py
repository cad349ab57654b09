"""A real browser, a real microphone (a file that loops), a real server."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from playwright.sync_api import Browser, ConsoleMessage, Page, Playwright

from ingest.audio.windows import read_clip

ROOT = Path(__file__).parents[3]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
PATIENCE_MS = 60_000
"""For what takes a second on a machine that has nothing else to do."""

FLAGS = (
    "--no-sandbox",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
)


def why_not() -> str:
    """What keeps these tests from running here, "" when nothing does."""
    if chromium() is None:
        return "needs Chromium on the PATH"
    if all(name == "lo" for _, name in socket.if_nameindex()) or not _has_address():
        return "WebRTC needs a network interface other than loopback"
    return ""


def chromium() -> str | None:
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def _has_address() -> bool:
    """Whether a route leads out: nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))
        except OSError:
            return False
        return not probe.getsockname()[0].startswith("127.")


@dataclass(frozen=True, slots=True)
class Server:
    """`earshot app`, running. started_s: from the command until it answered."""

    process: subprocess.Popen[bytes]
    port: int
    keep: Path
    log: Path
    started_s: float

    @property
    def url(self) -> str:
        return f"http://localhost:{self.port}"

    def resident_mb(self) -> float:
        lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))

    def loaded(self) -> str:
        """The libraries in its memory."""
        return Path(f"/proc/{self.process.pid}/maps").read_text()


@contextmanager
def serve(folder: Path, *options: str) -> Iterator[Server]:
    """Run `earshot app` in `folder` until the block ends."""
    port, keep = _free_port(), folder / "kept"
    words = ["app.cli", "app", "--port", str(port), "--keep", str(keep), *options]
    with _running(words, folder, port, {"PYTHONPATH": str(ROOT)}) as server:
        yield server


@contextmanager
def serve_script(folder: Path) -> Iterator[Server]:
    """Let Streamlit run the page's script in `folder`, as hosts do, until the block ends."""
    port = _free_port()
    words = ["streamlit", "run", str(ROOT / "app/page/script.py"), "--server.headless=true", f"--server.port={port}"]
    with _running(words, folder, port, {}) as server:
        yield server


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


@contextmanager
def _running(words: list[str], folder: Path, port: int, environment: dict[str, str]) -> Iterator[Server]:
    log = folder / "server.log"
    begun = time.monotonic()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", *words],
            cwd=folder,
            env={**os.environ, **environment},
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    try:
        _wait_until_it_answers(process, port, log)
        yield Server(process, port, folder / "kept", log, time.monotonic() - begun)
    finally:
        process.terminate()
        process.wait(30)


def _wait_until_it_answers(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(900):
        assert process.poll() is None, log.read_text()
        try:
            with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health", timeout=1):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise AssertionError(f"the page did not come up: {log.read_text()}")


def microphone(path: Path, *clips: Path) -> Path:
    """A file for the browser's microphone, which plays it again and again; digital silence without clips."""
    sounds = [read_clip(clip, sample_rate=48_000).waveform for clip in clips] or [np.zeros(480_000, np.float32)]
    soundfile.write(path, np.concatenate(sounds), 48_000, subtype="PCM_16")
    return path


@contextmanager
def browse(playwright: Playwright, sound: Path | None) -> Iterator[Browser]:
    """A browser whose microphone plays `sound`; without one, a browser that refuses the microphone."""
    how = [f"--use-file-for-fake-audio-capture={sound}", "--use-fake-ui-for-media-stream"]
    if sound is None:
        how = ["--deny-permission-prompts"]
    browser = playwright.chromium.launch(executable_path=chromium(), args=[*FLAGS, *how])
    try:
        yield browser
    finally:
        browser.close()


def open_page(browser: Browser, server: Server, view: str = "live") -> Page:
    """A new visitor."""
    page = browser.new_context(viewport={"width": 1280, "height": 1000}).new_page()
    page.set_default_timeout(PATIENCE_MS)
    page.on("console", _tell)
    page.goto(f"{server.url}/?view={view}")
    page.get_by_role("button", name="Listen").wait_for()
    return page


def _tell(said: ConsoleMessage) -> None:
    """What the browser says of itself: pytest shows it when a test fails."""
    print(time.strftime("%X"), said.type, said.text[:200], file=sys.stderr)


def hears(page: Page, class_name: str) -> int:
    """Wait until the page answers with this class; how many windows had been scored by then."""
    found = page.wait_for_function(
        """name => {
          const answer = document.querySelector(".hero.answer .answer")?.textContent;
          const windows = document.querySelector("[data-line]")?.textContent.match(/(\\d+) windows/);
          return answer === name && windows ? Number(windows[1]) : 0;
        }""",
        arg=class_name,
    )
    return int(found.json_value())


def go(page: Page, view: str) -> None:
    page.get_by_role("radio", name=view).click()
