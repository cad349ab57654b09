"""The page in a real browser: from the command until it can listen, its memory and its work while one browser listens.

Floors. Of the start: the server's own time of the processor in it, as if nothing else had to be waited for. Of memory
and work: the same page while nobody listens. The browser is open already. The model is YAMNet read off directly.
"""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.clips import shared_folder
from bench.result import LeftOutError, Result

LISTEN_S = 15.0
TICKS = 100
"""A second of /proc's processor times, on Linux."""


if TYPE_CHECKING:
    from playwright.sync_api import Page


def run() -> list[Result]:
    """Raises LeftOutError without Chromium, a network interface or the shared material."""
    from playwright.sync_api import sync_playwright

    from tests.app.page import browsing

    if why_not := browsing.why_not():
        raise LeftOutError(why_not)
    shared = shared_folder()
    if shared is None:
        raise LeftOutError("EARSHOT_SHARED names no folder")
    weights, clips = shared / "models", sorted((shared / "esc10").rglob("*.ogg"))[:4]
    with TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        words = ["models", "native", "--classes", "city10", "--out", str(folder / "model"), "--weights", str(weights)]
        subprocess.run([sys.executable, "-m", "app.cli", *words], check=True, capture_output=True)
        with browsing.browse(playwright, browsing.microphone(folder / "sound.wav", *clips)) as browser:
            begun = time.monotonic()
            with browsing.serve(folder, "--model", str(folder / "model"), "--weights", str(weights)) as server:
                page = browsing.open_page(browser, server)
                page.locator(".hero").wait_for()
                start_s, own_s = time.monotonic() - begun, _worked_s(server.process.pid)
                idle_mb, idle = server.resident_mb(), _share(server.process.pid, page)
                page.get_by_role("button", name="Listen").click()
                page.locator('.hero[data-state="listening"]').wait_for()
                share, megabytes = _share(server.process.pid, page), server.resident_mb()
    return [
        Result("page: command to ready to listen", start_s, own_s, "s", "under 5 s", start_s < 5, "YAMNet alone"),
        Result("page: memory, one listens", megabytes, idle_mb, "MB", "under 500 MB", megabytes < 500),
        Result(
            "page: share of a core, one listens", share, idle, "cores", "under half", share < 0.5, "WebRTC and drawing"
        ),
    ]


def _share(pid: int, page: "Page") -> float:
    before = _worked_s(pid)
    page.wait_for_timeout(1000 * LISTEN_S)
    return (_worked_s(pid) - before) / LISTEN_S


def _worked_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS
