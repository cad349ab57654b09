"""Uses an event loop: wakes coroutines from any thread."""

import asyncio
import threading


class Watchers:
    """The coroutines that wait for news of one listener.

    Args:
        lock: the listener's; held by whoever calls `wake`.
    """

    def __init__(self, lock: threading.Lock) -> None:
        self.lock = lock
        self.all: set[Watcher] = set()

    def wake(self) -> None:
        """From any thread, under the lock."""
        for watcher in list(self.all):
            try:
                watcher.loop.call_soon_threadsafe(watcher.event.set)
            except RuntimeError:  # its loop has been closed: nobody waits any more
                self.all.discard(watcher)


class Watcher:
    """One waiting coroutine, made in its event loop, as a context manager."""

    def __init__(self, watchers: Watchers) -> None:
        self._watchers = watchers
        self.loop, self.event = asyncio.get_running_loop(), asyncio.Event()

    def __enter__(self) -> "Watcher":
        with self._watchers.lock:
            self._watchers.all.add(self)
        return self

    def __exit__(self, *_: object) -> None:
        with self._watchers.lock:
            self._watchers.all.discard(self)

    async def wait(self, timeout_s: float | None = None) -> None:
        """Until there is news, or for `timeout_s`."""
        try:
            await asyncio.wait_for(self.event.wait(), timeout_s)
        except TimeoutError:
            return
        finally:
            self.event.clear()
