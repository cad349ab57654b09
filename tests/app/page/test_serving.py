"""What Streamlit is told, and whether people can read the page."""

import re
import socket
import tomllib
from pathlib import Path

import pytest

from app.page import layout
from app.page.serving import DARK, LIGHT, Serving, check, flags
from app.page.settings import PageSettings
from ingest.errors import UsageError

ROOT = Path(__file__).parents[3]
CSS = (ROOT / "app/page/page.css").read_text()


def luminance(colour: str) -> float:
    """Relative luminance of #rrggbb (WCAG 2.2)."""
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def tokens(dark: bool) -> dict[str, str]:
    return {name: pair[dark] for name, *pair in re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", CSS)}


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_everything_that_is_read_has_contrast(dark: bool) -> None:
    colours, theme = tokens(dark), DARK if dark else LIGHT
    assert len(colours) >= 9
    for ink in ("ink", "soft", "sea", "warn", "bad"):
        for ground in (colours["card"], theme["backgroundColor"]):
            assert contrast(colours[ink], ground) >= 4.5, (ink, ground)
    assert contrast(colours["ink"], colours["sea-soft"]) >= 4.5
    assert contrast(theme["backgroundColor"], theme["primaryColor"]) >= 4.5, "the Listen button"
    assert contrast(colours["on-sea"], theme["primaryColor"]) >= 4.5, "Streamlit's own buttons"
    assert contrast(colours["sea"], colours["track"]) >= 3, "bars on their track"
    assert colours["card"] == theme["secondaryBackgroundColor"]


def test_streamlit_knows_every_option() -> None:
    from streamlit.web.cli import main_run

    known = {option for parameter in main_run.params for option in parameter.opts}
    given = [flag.partition("=")[0] for flag in flags(Serving(cert=Path("c"), key=Path("k")))]
    assert set(given) <= known
    assert len(given) == len(set(given))


def test_nothing_is_sent_to_anybody() -> None:
    assert "--browser.gatherUsageStats=false" in flags(Serving())
    assert "--browser.serverAddress=localhost" in flags(Serving(address="0.0.0.0")), "Streamlit would ask who we are"


def test_hosts_that_start_streamlit_themselves_have_the_same_looks() -> None:
    config = tomllib.loads((ROOT / ".streamlit/config.toml").read_text())
    assert (config["theme"]["light"], config["theme"]["dark"]) == (LIGHT, DARK)


def test_a_port_in_use_is_said_before_anything_starts() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port: {port} is in use"):
            check(PageSettings(), Serving(port=port))


def test_every_file_of_the_page_is_packed() -> None:
    packed = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]["app.page"]
    kinds = {f"*{path.suffix}" for path in (ROOT / "app/page").iterdir() if path.is_file() and path.suffix != ".py"}
    assert kinds == set(packed)


def test_every_view_can_be_reached_by_its_address() -> None:
    assert [name.lower() for name in layout.VIEWS] == ["live", "clip", "teach", "models"]
