"""Uses locks: what all sessions of the page share: one hub, and each model loaded once."""

import threading
from functools import cache
from pathlib import Path

from app.live.engine import Engine, load_engine
from app.live.hub import ListenerHub
from app.live.settings import LiveSettings
from app.page.settings import PageSettings

IDLE_S = 60.0
"""A listener whose browser has gone is ended after so long."""


class Engines:
    """Loads models when they are first asked for. All methods may be called from several threads at once."""

    def __init__(self, settings: PageSettings) -> None:
        self.settings = settings
        self._lock = threading.Lock()
        self._engines: dict[Path, Engine] = {}
        self._hub: ListenerHub | None = None

    def engine(self, folder: Path) -> Engine:
        """The model in this folder, loaded.

        Raises:
            EarshotError: it cannot be loaded; see `load_engine`.
        """
        with self._lock:
            place = folder.resolve()
            if place not in self._engines:
                said = self.settings
                self._engines[place] = load_engine(folder, weights_dir=said.weights_dir, precision=said.precision)
            return self._engines[place]

    def hub(self, engine: Engine) -> ListenerHub:
        """The hub of this process; `engine` is its default."""
        with self._lock:
            if self._hub is None:
                live = LiveSettings(max_listeners=self.settings.max_listeners, idle_s=IDLE_S)
                self._hub = ListenerHub(engine, live)
            return self._hub


@cache
def shared_engines(settings: PageSettings) -> Engines:
    """The same for every session of one process."""
    return Engines(settings)
