"""Uses the network: runs Streamlit in this process with the page's looks and rules."""

import importlib
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.page.models import find_models
from app.page.settings import PageSettings, ice_servers
from ingest.errors import EarshotError, UsageError

SCRIPT = Path(__file__).with_name("script.py")
MOST_UPLOAD_MB = 400
WARM = ("pandas", "aiortc")
"""Imported by Streamlit's components and streamlit-webrtc when the first browser comes: two seconds of waiting.
streamlit-webrtc itself wants Streamlit to run first."""

LIGHT = {
    "primaryColor": "#0b6e69",
    "backgroundColor": "#f6f5f1",
    "secondaryBackgroundColor": "#ffffff",
    "textColor": "#1c2730",
    "borderColor": "#dcdad2",
    "linkColor": "#0b6e69",
}
DARK = {
    "primaryColor": "#45c4b4",
    "backgroundColor": "#0f161b",
    "secondaryBackgroundColor": "#182229",
    "textColor": "#e7edef",
    "borderColor": "#2b3a43",
    "linkColor": "#5fd3c4",
}


@dataclass(frozen=True, slots=True)
class Serving:
    """Where the page is to be had. browser: open one."""

    address: str = "localhost"
    port: int = 8501
    cert: Path | None = None
    key: Path | None = None
    browser: bool = False

    @property
    def host(self) -> str:
        """The name under which a browser on this machine reaches it."""
        return "localhost" if self.address in ("0.0.0.0", "::", "localhost", "127.0.0.1") else self.address

    @property
    def url(self) -> str:
        return f"{'https' if self.cert else 'http'}://{self.host}:{self.port}"


def flags(serving: Serving) -> list[str]:
    """Streamlit's options: quiet, private, no watching of files, both themes."""
    options: dict[str, Any] = {
        "server.address": serving.address,
        "server.port": serving.port,
        "server.headless": not serving.browser,
        "server.fileWatcherType": "none",
        "server.maxUploadSize": MOST_UPLOAD_MB,
        "browser.gatherUsageStats": False,
        "browser.serverAddress": serving.host,  # or Streamlit asks a server on the internet for our address
        "logger.hideWelcomeMessage": True,
        "client.toolbarMode": "viewer",
        "client.showErrorDetails": "none",
        "logger.level": "warning",
        "theme.baseRadius": "large",
    }
    if serving.cert and serving.key:
        options |= {"server.sslCertFile": serving.cert, "server.sslKeyFile": serving.key}
    options |= {f"theme.light.{name}": value for name, value in LIGHT.items()}
    options |= {f"theme.dark.{name}": value for name, value in DARK.items()}
    return [f"--{name}={_text(value)}" for name, value in options.items()]


def _text(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def check(settings: PageSettings, serving: Serving) -> None:
    """Raise UsageError for what would only show once a browser comes."""
    for model in find_models(settings, searched=())[: len(settings.models)]:
        if model.missing:
            raise UsageError(f"--model: {model.folder}: {model.missing}")
    if bool(serving.cert) != bool(serving.key):
        raise UsageError("--cert: HTTPS needs the certificate and its key; give --cert and --key")
    for option, file in (("--cert", serving.cert), ("--key", serving.key)):
        if file and not file.is_file():
            raise UsageError(f"{option}: there is no file {file}; check the path")
    ice_servers()
    if _taken(serving.port):
        raise UsageError(f"--port: {serving.port} is in use on this machine; choose another one")


def _taken(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def warm_up(settings: PageSettings) -> None:
    """Load what the first browser would have to wait for; what fails will say so on the page."""
    from app.page.engines import shared_engines

    chosen = next((model for model in find_models(settings) if not model.missing), None)
    if chosen is not None:
        try:
            engines = shared_engines(settings)
            engines.hub(engines.engine(chosen.folder))
        except EarshotError:
            pass
    for name in WARM:
        importlib.import_module(name)


def serve(settings: PageSettings, serving: Serving) -> int:
    """Run until Ctrl-C; the exit code.

    Raises:
        UsageError: see `check`.
    """
    import click

    check(settings, serving)
    threading.Thread(target=warm_up, args=(settings,), name="earshot-warm-up", daemon=True).start()
    click.echo(f"Earshot listens at {serving.url}  (Ctrl-C ends it)")
    from streamlit.web.cli import main

    words = ["run", str(SCRIPT), *flags(serving), "--", settings.to_text()]
    return int(main(args=words, prog_name="streamlit", standalone_mode=False) or 0)
