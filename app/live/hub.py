"""Uses threads: all listeners of one process, with one pool of workers between them."""

import threading
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from threadpoolctl import threadpool_limits

from app.live.engine import Engine
from app.live.listening import Listening, Submit
from app.live.settings import LiveSettings
from app.live.states import CONNECTED, Transport
from ingest.engines.local_engine import available_cores
from ingest.errors import EarshotError


class BusyError(EarshotError):
    """There are as many listeners as this hub takes."""


class ListenerHub:
    """Opens, finds and ends listeners. All methods may be called from several threads at once.

    Each listener has at most one piece of work in the pool, and they take turns, so a busy one cannot starve others and
    the pool's queue is no longer than there are listeners.

    Args:
        engine: of listeners that bring none of their own.
        clock: seconds that never go back. wall: Unix time.
        submit: where work runs; the hub's own threads by default.
    """

    def __init__(
        self,
        engine: Engine,
        settings: LiveSettings | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        submit: Submit | None = None,
    ) -> None:
        self.engine, self.settings = engine, settings or LiveSettings()
        self._clock, self._wall = clock, wall
        self._lock = threading.Lock()
        self._listeners: dict[str, Listening] = {}
        self._closed = False
        self._pool: ThreadPoolExecutor | None = None
        self._blas: threadpool_limits | None = None
        if submit is None:
            self._pool = ThreadPoolExecutor(self.settings.workers or available_cores(), "earshot-live")
            # BLAS's own threads would only wait for each other: the products of a second of log-mel are small.
            self._blas = threadpool_limits(1, "blas")
        self._submit: Submit = submit or self._in_pool

    def open(
        self, id: str | None = None, *, transport: Transport = CONNECTED, engine: Engine | None = None
    ) -> Listening:
        """A listener of this id: a new one, or, when it is still listening, the same one for another connection.

        Raises:
            BusyError: there are `max_listeners` already.
        """
        with self._lock:
            self._sweep()
            listening = self._listeners.get(id) if id is not None else None
            if listening is not None and not listening.ended and (engine is None or engine is listening.engine):
                listening.reconnect(transport)
                return listening
            if listening is not None:
                listening.close("Another model was chosen.")
            elif len(self._listeners) >= self.settings.max_listeners or self._closed:
                raise BusyError(self._busy())
            listening = Listening(
                id if id is not None else uuid.uuid4().hex,
                engine or self.engine,
                self.settings,
                submit=self._submit,
                clock=self._clock,
                wall=self._wall,
                transport=transport,
            )
            self._listeners[listening.id] = listening
            return listening

    def get(self, id: str) -> Listening | None:
        """The listener of this id, if it has not ended."""
        with self._lock:
            self._sweep()
            return self._listeners.get(id)

    @property
    def listeners(self) -> tuple[Listening, ...]:
        """Those that have not ended, oldest first."""
        with self._lock:
            self._sweep()
            return tuple(self._listeners.values())

    def close(self) -> None:
        """End all listeners and wait for the workers, which takes no longer than a window."""
        with self._lock:
            self._closed = True
            listeners = list(self._listeners.values())
            self._listeners.clear()
        for listening in listeners:
            listening.close("The server is shutting down.")
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        if self._blas is not None:
            self._blas.restore_original_limits()
            self._blas = None

    def __enter__(self) -> "ListenerHub":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _in_pool(self, work: Callable[[], None]) -> None:
        assert self._pool is not None
        try:
            self._pool.submit(work)
        except RuntimeError:  # the pool has been shut down: its listeners have ended
            return

    def _busy(self) -> str:
        if self._closed:
            return "live: this server is shutting down; come back later"
        open_, most = len(self._listeners), self.settings.max_listeners
        return f"live: {open_} listeners are open and max_listeners is {most}; close one, or come back later"

    def _sweep(self) -> None:
        """Let go of listeners that have ended, and end those whose client went without a word."""
        for id, listening in list(self._listeners.items()):
            if not listening.ended and listening.quiet_s > self.settings.idle_s:
                listening.close(f"No audio for {self.settings.idle_s:g} s.")
            if listening.ended:
                del self._listeners[id]
