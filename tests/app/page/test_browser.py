"""The page in a real browser: it hears what the microphone plays, and says so when it cannot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from ingest.audio.windows import read_clip
from ingest.datasets import choose_dataset
from tests.app.page.browsing import (
    PATIENCE_MS,
    ROOT,
    Server,
    browse,
    go,
    hears,
    microphone,
    open_page,
    serve,
    serve_script,
    why_not,
)

if WHY_NOT := why_not():
    pytest.skip(WHY_NOT, allow_module_level=True)

from playwright.sync_api import Page, Playwright, expect, sync_playwright

pytestmark = [pytest.mark.slow, pytest.mark.alone]
expect.set_options(timeout=PATIENCE_MS)

FIFTEEN_SECONDS = 6
"""Windows scored by then: the first ends after 9.6 s, and each further one 0.96 s later."""
MOST_MB = 500


def clips_of(shared: Path, name: str) -> list[Path]:
    """Two clips that the model has not seen."""
    (folder,) = (shared / "esc10").glob(f"* - {name}")
    return sorted(folder.glob("*.ogg"))[-2:]


@pytest.fixture(scope="module")
def playwright() -> Iterator[Playwright]:
    with sync_playwright() as running:
        yield running


@pytest.fixture(scope="module")
def server(model: Path, shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("page")
    with serve(folder, "--model", str(model), "--weights", str(shared / "models")) as running:
        yield running
        log = running.log.read_text()
        assert f'File "{ROOT / "app"}' not in log, (
            log
        )  # Streamlit's own tracebacks, when a browser vanishes, are its own


@pytest.fixture(scope="module")
def rooster(
    playwright: Playwright, server: Server, shared: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Page]:
    """A page that listens to a rooster."""
    sound = microphone(tmp_path_factory.mktemp("sounds") / "rooster.wav", *clips_of(shared, "Rooster"))
    with browse(playwright, sound) as browser:
        page = open_page(browser, server)
        page.get_by_role("button", name="Listen").click()
        yield page


def test_a_real_clip_gives_its_class_within_fifteen_seconds(rooster: Page, server: Server) -> None:
    assert hears(rooster, "Rooster") <= FIFTEEN_SECONDS
    expect(rooster.locator(".bars li.on")).to_contain_text("Rooster")
    expect(rooster.locator(".hero").first).to_have_attribute("data-state", "listening")
    assert "tensorflow" not in server.loaded()
    assert server.resident_mb() < MOST_MB


def test_what_was_heard_can_be_played(rooster: Page) -> None:
    play = rooster.get_by_role("button", name="Play Rooster").first
    play.click()
    expect(play).to_have_attribute("aria-pressed", "true")
    assert rooster.evaluate("[...document.querySelectorAll('.cards audio')].some(a => !a.paused && a.duration > 1)")
    play.click()
    expect(play).to_have_attribute("aria-pressed", "false")
    expect(rooster.locator("table.grid")).to_contain_text("Rooster")
    expect(rooster.locator(".lanes")).to_contain_text("Rooster")


def test_two_browsers_keep_apart(
    rooster: Page, playwright: Playwright, server: Server, shared: Path, tmp_path: Path
) -> None:
    with browse(playwright, microphone(tmp_path / "sea.wav", *clips_of(shared, "Sea waves"))) as browser:
        sea = open_page(browser, server)
        sea.get_by_role("button", name="Listen").focus()
        sea.keyboard.press("Enter")
        hears(sea, "Sea waves")
        expect(sea.locator(".cards")).not_to_contain_text("Rooster")
        hears(rooster, "Rooster")
        expect(rooster.locator(".cards")).not_to_contain_text("Sea waves")


def test_wav_mode_records_keeps_classifies_and_plays(rooster: Page, server: Server) -> None:
    rooster.get_by_role("radio", name="Ten seconds (wav)").click()
    rooster.get_by_role("button", name="Record ten seconds").click()
    expect(rooster.locator("[data-clip] .answer")).to_have_text("Rooster")
    (kept,) = (server.keep / "recordings").glob("*.wav")
    assert read_clip(kept).duration_s == pytest.approx(10, abs=0.05)
    rooster.wait_for_function("document.querySelector('.st-key-clip-player audio')?.duration > 9.9")
    rooster.get_by_role("radio", name="Stream").click()


def test_teaching_writes_what_ingest_reads(rooster: Page, server: Server) -> None:
    hears(rooster, "Rooster")  # the view shows what had been heard when it was opened
    go(rooster, "Teach")
    rooster.get_by_role("button", name="Right: Rooster").click()
    rooster.locator("[data-kept]").wait_for()
    rooster.get_by_role("button", name="Wrong").click()
    rooster.get_by_role("combobox", name="What was it?").click()
    rooster.get_by_role("option", name="none of these").click()
    rooster.get_by_role("button", name="Keep it").click()
    expect(rooster.locator(".counts")).to_contain_text("none of these")
    taught = choose_dataset(server.keep / "taught").items(server.keep / "taught")
    assert sorted(item.mids for item in taught) == [("Rooster",), ("none of these",)]
    assert all(read_clip(item.path).duration_s > 9 for item in taught)
    command = rooster.locator("code").last.inner_text()
    assert f"earshot ingest folder {server.keep / 'taught'} " in command
    go(rooster, "Live")
    hears(rooster, "Rooster")  # listening went on meanwhile


def test_a_clip_is_answered_and_jumps_to_its_moments(rooster: Page, shared: Path, tmp_path: Path) -> None:
    street = microphone(tmp_path / "street.wav", *clips_of(shared, "Sea waves"), *clips_of(shared, "Rooster"))
    go(rooster, "Clip")
    rooster.locator("input[type=file]").set_input_files(street)
    expect(rooster.locator("[data-clip] .answer")).to_contain_text("Sea waves")
    windows = rooster.locator(".windows button")
    expect(windows).to_have_count(2)
    windows.nth(1).click()
    rooster.wait_for_function("document.querySelector('.st-key-clip-player audio').currentTime >= 10")
    with rooster.expect_download() as saved:
        rooster.get_by_role("button", name="CSV").click()
    rows = Path(saved.value.path()).read_text().splitlines()
    assert rows[0].startswith("path,start_s,end_s,answer,known,")
    assert len(rows) == 3


def test_a_file_that_is_no_sound_is_refused_in_words(playwright: Playwright, server: Server, tmp_path: Path) -> None:
    (tmp_path / "notes.wav").write_text("no sound at all")
    with browse(playwright, None) as browser:
        page = open_page(browser, server, "clip")
        page.locator("input[type=file]").set_input_files(tmp_path / "notes.wav")
        expect(page.get_by_role("alert").filter(has_text="notes.wav")).to_be_visible()


def test_the_model_shows_its_card(rooster: Page) -> None:
    go(rooster, "Models")
    expect(rooster.locator(".st-key-card")).to_contain_text("svc on yamnet")


def test_silence_is_muted_and_never_an_answer(playwright: Playwright, server: Server, tmp_path: Path) -> None:
    with browse(playwright, microphone(tmp_path / "silence.wav")) as browser:
        page = open_page(browser, server)
        page.get_by_role("button", name="Listen").click()
        expect(page.locator(".hero").first).to_have_attribute("data-state", "muted")
        expect(page.locator(".hero .answer").first).to_have_text("Muted")
        expect(page.locator(".hero .remedy").first).to_contain_text("Unmute the microphone")
        expect(page.locator(".bars li.on")).to_have_count(0)
        page.get_by_role("button", name="Stop").click()
        expect(page.locator(".hero .answer").first).to_have_text("Not listening")


def test_the_keyboard_that_starts_stops_too(rooster: Page, server: Server) -> None:
    page = open_page(rooster.context.browser, server)  # type: ignore[arg-type]
    page.get_by_role("button", name="Listen").focus()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Stop").wait_for()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Listen").wait_for()
    page.context.close()


def test_a_refused_microphone_says_what_to_do(playwright: Playwright, server: Server) -> None:
    with browse(playwright, None) as browser:
        page = open_page(browser, server)
        page.get_by_role("button", name="Listen").click()
        expect(page.locator(".hero .detail").first).to_contain_text("not allowed to use the microphone")
        expect(page.locator(".hero .remedy").first).to_contain_text("Allow it for this page")


def test_a_host_that_runs_the_script_without_a_model_says_how_to_make_one(
    playwright: Playwright, tmp_path: Path
) -> None:
    with serve_script(tmp_path) as server, browse(playwright, None) as browser:
        page = browser.new_page()
        page.goto(server.url)
        expect(page.locator(".hero")).to_contain_text("earshot train", timeout=90_000)
