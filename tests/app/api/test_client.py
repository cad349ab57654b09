"""The JavaScript client in a real browser, whose microphone plays a file. Chromium does not come with the project."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.app.api.conftest import ROOT, Server, TrainedModel, start
from tests.app.api.test_crowd import command

pytestmark = [pytest.mark.slow, pytest.mark.alone]
CLIENT = ROOT / "docs" / "client"


@pytest.fixture(scope="module")
def sound(trained: TrainedModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the microphone plays, over and over: 48 kHz mono, 16 bits, as Chromium wants it.

    Rain: it sounds the same at whatever moment listening begins.
    """
    samples, rate = soundfile.read(trained.sounds[8], dtype="float32")
    at_48 = np.interp(np.arange(0, len(samples), rate / 48_000), np.arange(len(samples)), samples)
    path = tmp_path_factory.mktemp("client") / "microphone.wav"
    soundfile.write(path, 0.9 * at_48 / abs(at_48).max(), 48_000, subtype="PCM_16")
    return path


@pytest.fixture(scope="module")
def page_server(trained: TrainedModel) -> Iterator[Server]:
    server = start(command(trained, "--client"), EARSHOT_KEY="correct-horse-battery")
    yield server
    assert server.stop() == 0


@pytest.fixture(scope="module")
def browser(sound: Path) -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if chromium is None:
        pytest.skip("needs Chromium")
    flags = ["--no-sandbox", "--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream",
             f"--use-file-for-fake-audio-capture={sound}", "--disable-background-networking"]  # fmt: skip
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def page(browser: Any, page_server: Server) -> Iterator[Any]:
    context = browser.new_context()
    page = context.new_page()
    page.errors = []
    page.on("pageerror", lambda error: page.errors.append(str(error)))
    page.goto(f"{page_server.url}/client/")
    page.fill("#key", "correct-horse-battery")
    page.dispatch_event("#key", "change")
    page.wait_for_selector("#model option", state="attached")
    yield page
    assert page.errors == []
    context.close()


def expected(server: Server, sound: Path) -> str:
    key = {"Authorization": "Bearer correct-horse-battery"}
    return str(server.post(sound.read_bytes(), headers=key).json()["windows"][0]["answer"])


def test_a_file_is_sent_and_answered(page: Any, page_server: Server, sound: Path) -> None:
    page.set_input_files("#file", sound)
    page.wait_for_function("document.querySelector('#answer').textContent !== ''")
    assert page.text_content("#answer") == expected(page_server, sound)
    assert page.locator("#scores meter").count() == 4


def test_the_microphone_is_heard(page: Any, page_server: Server, sound: Path) -> None:
    """The page as it is: MediaRecorder's WebM, ten seconds and more of it."""
    page.click("#start")
    page.wait_for_function("document.querySelector('#answer').textContent !== ''", timeout=60_000)
    assert page.text_content("#answer") == expected(page_server, sound)
    page.wait_for_selector("#events li", timeout=30_000)
    page.click("#stop")
    page.wait_for_function("document.querySelector('#state').textContent.includes('ended')", timeout=30_000)
    page_server.wait_until(lambda health: health["streams"] == 0)


def test_pcm16_for_browsers_that_record_no_webm(page: Any, page_server: Server, sound: Path) -> None:
    said = page.evaluate(
        """async () => {
            const { Earshot } = await import("./earshot.js");
            const earshot = new Earshot(new URL("..", location.href), { key: "correct-horse-battery" });
            const states = [], windows = [];
            const message = await new Promise(async (onEnd, onError) => {
                const listening = await earshot.listen({
                    format: "pcm16", top: 1, onEnd, onError,
                    onState: (state) => states.push(state.state),
                    onPrediction: (said) => { windows.push(said); if (windows.length === 2) listening.stop(); },
                });
            });
            return { states, windows, message };
        }"""
    )
    assert said["windows"][0]["answer"] == expected(page_server, sound)
    assert "filling" in said["states"] and "listening" in said["states"]
    assert said["message"] == "The audio has ended."


def test_a_wrong_key_is_said_in_plain_words(page: Any) -> None:
    page.fill("#key", "wrong")
    page.click("#start")
    page.wait_for_function("document.querySelector('#state').classList.contains('bad')")
    assert "key" in str(page.text_content("#state"))


def test_the_client_stays_small() -> None:
    for file in CLIENT.iterdir():
        assert len(file.read_text().splitlines()) < 250, file.name
        assert "http://" not in file.read_text() and "//cdn" not in file.read_text(), "it loads nothing from elsewhere"
