"""Uses threads and a clock: one listener. Chunks come in from any thread; windows are scored in the hub's workers.

Who calls what: `push` and `snapshot` from anywhere, an event loop too: they hold a lock for microseconds and never wait
for work. `_work` runs in one worker at a time. What blocks says so.
"""

import logging
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING

from app.live.activity import ActivityGrid
from app.live.chunks import Chunk
from app.live.engine import Engine
from app.live.heard import Heard
from app.live.inbox import JOIN_S, Arrival, Inbox, join
from app.live.recording import KeptAudio, to_segment
from app.live.run import Look, Run
from app.live.settings import LiveSettings
from app.live.snapshot import LEVEL_S, Snapshot, levels, make_pictures
from app.live.states import CONNECTED, Facts, State, Transport, status_of
from app.live.stream import Window
from app.live.watch import Watcher, Watchers
from classifiers.prediction import Prediction
from ingest.audio.clip import Waveform

if TYPE_CHECKING:
    from pydub import AudioSegment

log = logging.getLogger("earshot.live")

Submit = Callable[[Callable[[], None]], None]
"""Runs a piece of work soon, in a thread of its own choosing."""


class Listening:
    """One listener: a session with one source of audio, which may break off and come back.

    Made by `ListenerHub.open`. Seconds of the session count from its first audio.
    """

    def __init__(
        self,
        id: str,
        engine: Engine,
        settings: LiveSettings,
        *,
        submit: Submit,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
        transport: Transport = CONNECTED,
    ) -> None:
        self.id, self.engine, self.settings = id, engine, settings
        self._submit, self._clock, self._wall = submit, clock, wall
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._watchers = Watchers(self._lock)
        self._transport, self._transport_at = transport, clock()
        self._inbox = Inbox(settings.queue_s, settings.stall_s)
        self._heard = Heard(engine, settings)
        self._scheduled, self._finishing = False, False
        self._ended: str | None = None
        self._first_at: float | None = None
        self._started_at: float | None = None
        self._missing_s = 0.0
        self._run: Run | None = None
        self._kept_lock = threading.Lock()
        self._kept = KeptAudio(engine.grid.sample_rate, settings.keep_s)

    # --- audio in

    def push(self, chunk: Chunk) -> None:
        """Take the next audio. Never blocks; when the queue is full, the oldest audio in it is dropped and counted.

        After the end, what still comes is let go.
        """
        if not len(chunk):
            return
        now = self._clock()
        with self._lock:
            if self._ended is not None or self._finishing:
                return
            if self._first_at is None:
                self._first_at, self._started_at = now, self._wall()
            self._heard.audio_s += chunk.duration_s
            if dropped_s := self._inbox.push(chunk, now):
                self._heard.lose(now, dropped_s=dropped_s)
            submit = self._wants_work()
        if submit:
            self._submit(self._work)

    @property
    def room_s(self) -> float:
        """How much audio the queue takes before it drops some: a source that is not live waits for room."""
        with self._lock:
            return self.settings.queue_s - self._inbox.waiting_s

    @property
    def transport(self) -> Transport:
        """What is known of the way the audio comes; set it whenever that changes."""
        return self._transport

    @transport.setter
    def transport(self, transport: Transport) -> None:
        with self._lock:
            if transport != self._transport:
                self._transport, self._transport_at = transport, self._clock()
                self._notify()

    def reconnect(self, transport: Transport | None = None) -> None:
        """Another connection takes over: its audio does not follow on what came before, so windows start afresh.

        The session goes on: history, events and kept audio stay.
        """
        with self._lock:
            self._inbox.restart()
            self._transport, self._transport_at = transport or self._transport, self._clock()
            self._notify()

    def finish(self) -> None:
        """The source has ended: score what is due and, if there was no window, what there is; then end."""
        with self._lock:
            if self._ended is not None or self._finishing:
                return
            self._finishing = True
            submit = self._wants_work()
        if submit:
            self._submit(self._work)

    def close(self, reason: str = "") -> None:
        """End at once; what waits in the queue is let go. History, events and kept audio stay readable."""
        with self._lock:
            self._end(reason)

    # --- what was heard

    @property
    def ended(self) -> bool:
        return self._ended is not None

    @property
    def quiet_s(self) -> float:
        """Since audio last came, or since the connection was made."""
        with self._lock:
            last = self._inbox.last_at
            return self._clock() - (self._transport_at if last is None else last)

    def snapshot(self, *, pictures: bool = False, activity: bool = False) -> Snapshot:
        """How it is doing. Quick, but for pictures: a millisecond or two."""
        run, now = self._run, self._clock()
        window_s = self.engine.bundle.spec.window_s
        look = None if run is None else run.look(window_s if pictures else LEVEL_S)
        sample_rate = self.engine.grid.sample_rate
        drawn = make_pictures(look, sample_rate) if pictures and look is not None else None
        level_dbfs, peak_dbfs = levels(look, sample_rate)
        with self._lock:
            facts, heard = self._facts(look, now, window_s), self._heard
            return Snapshot(
                id=self.id,
                status=status_of(facts, stall_s=self.settings.stall_s, muted_s=self.settings.muted_s),
                started_at=self._started_at,
                filled_s=facts.filled_s,
                window_s=window_s,
                level_dbfs=level_dbfs,
                peak_dbfs=peak_dbfs,
                prediction=heard.latest,
                stale=self._is_stale(now),
                history=tuple(heard.history),
                came_at=tuple(heard.came_at),
                now=now,
                events=heard.tracker.events(),
                counters=heard.counters(self._inbox.waiting_s),
                pictures=drawn,
                activity=heard.activity.grid() if activity else None,
            )

    def activity(self) -> ActivityGrid:
        """Class by minute, of the last day at most."""
        with self._lock:
            return self._heard.activity.grid()

    def audio(self, start_s: float, end_s: float) -> "AudioSegment | None":
        """What is kept of a time of the session, mono at the encoder's rate; None when nothing of it is kept."""
        with self._kept_lock:
            chunk = self._kept.read(start_s, end_s)
        return None if chunk is None else to_segment(chunk)

    def predictions(self, timeout_s: float | None = None) -> Iterator[Prediction]:
        """Predictions from now on, as they are made; until the end, or until none came for `timeout_s`. Blocks.

        Who is so slow that `settings.history` windows pass gets the newest ones.
        """
        return self._predictions(self._made, timeout_s)

    def follow(self) -> AsyncIterator[Prediction]:
        """The same for an event loop, without a time limit."""
        return self._follow(self._made)

    async def snapshots(self, every_s: float = 0.5, *, pictures: bool = False) -> AsyncIterator[Snapshot]:
        """A snapshot at once, then one whenever a window was scored, the state changed, or the latest prediction went
        stale; the last one says ENDED.

        Args:
            every_s: how often the state is looked at; it may change because nothing happens.
            pictures: with each snapshot, of which there is one every `every_s` then.
        """
        shown: tuple[int, State, bool] | None = None
        with Watcher(self._watchers) as watcher:
            while shown is None or shown[1] is not State.ENDED:
                snapshot = self.snapshot(pictures=pictures)
                seen = snapshot.counters.windows, snapshot.status.state, snapshot.stale
                if pictures or seen != shown:
                    shown = seen
                    yield snapshot
                await watcher.wait(every_s)

    def wait_ended(self, timeout_s: float | None = None) -> bool:
        """Block until it has ended; whether it has."""
        with self._changed:
            return self._changed.wait_for(lambda: self._ended is not None, timeout_s)

    # --- in a worker

    def _work(self) -> None:
        try:
            self._turn()
        except Exception as error:  # a listener that breaks must say so, and not take the worker along
            log.exception("%s: a window could not be scored", self.id)
            with self._lock:
                self._end(f"Scoring failed ({type(error).__name__}: {error}); start again, and report it.")

    def _turn(self) -> None:
        """Take what waits and score what is due; then make room for the next listener."""
        with self._lock:
            arrivals, finishing = self._inbox.take(), self._finishing
        due: list[tuple[Window, float]] = []
        run = self._run
        for arrival in join(arrivals):
            if run is None or arrival.afresh or run.sample_rate != arrival.chunk.sample_rate:
                self._score(run, due)
                run, due = self._begin_run(arrival), []
            start_s = run.end_s
            self._keep(start_s, run.feed(arrival.chunk))
            due += [(window, arrival.at) for window in run.take_due()]
        if finishing and run is not None:
            start_s, now = run.end_s, self._clock()
            self._keep(start_s, run.finish())
            due += [(window, now) for window in (*run.take_due(), *run.take_rest())]
        self._score(run, due)
        with self._lock:
            self._scheduled = False
            self._missing_s = run.missing_s if run is not None else 0.0
            if finishing:
                self._end("The audio has ended.")
            if self._ended is not None:
                self._run = None
            again = self._wants_work()
        if again:
            self._submit(self._work)

    def _begin_run(self, arrival: Arrival) -> Run:
        before, base_s = self._run, arrival.lost_s
        if before is not None:
            base_s += before.end_s
            if not arrival.lost_s and self._first_at is not None:  # it broke off: the session's clock went on
                base_s = max(base_s, arrival.at - self._first_at - arrival.chunk.duration_s)
        run = Run(self.engine, self.settings, arrival.chunk.sample_rate, base_s)
        with self._lock:
            self._heard.begin_run()
            if self._ended is None:
                self._run = run
        return run

    def _keep(self, start_s: float, waveform: Waveform) -> None:
        with self._kept_lock:
            self._kept.push(start_s, waveform)

    def _score(self, run: Run | None, due: list[tuple[Window, float]]) -> None:
        """Score windows that became due at these times; all, or the newest when they are too many."""
        if run is None:
            return
        if len(due) > self.settings.skip_after:
            unheard_s = run.unheard_s(due[0][0], due[-1][0])
            with self._lock:
                self._heard.lose(self._clock(), skipped=len(due) - 1, dropped_s=unheard_s)
            due = due[-1:]
        for window, due_at in due:
            if self._ended is not None:
                return
            begun = self._clock()
            scored = run.score(window, self.id)
            done = self._clock()
            with self._lock:
                if self._ended is None:
                    self._heard.add(scored, came_at=due_at, begun=begun, done=done)
                    self._notify()

    # --- under the lock

    def _facts(self, look: Look | None, now: float, window_s: float) -> Facts:
        last_at, waiting_s = self._inbox.last_at, self._inbox.waiting_s
        skipped, dropped_s = self._heard.lost_lately(now)
        return Facts(
            transport=self._transport,
            waited_s=now - self._transport_at,
            quiet_s=None if last_at is None else now - last_at,
            filled_s=0.0 if look is None or self._inbox.afresh else min(window_s, look.filled_s + waiting_s),
            window_s=window_s,
            silent_s=0.0 if look is None else look.silent_s,
            skipped=skipped,
            dropped_s=dropped_s,
            ended=self._ended,
        )

    def _is_stale(self, now: float) -> bool:
        """Whether the latest prediction is not of now, if there is one."""
        came_at = self._heard.came_at
        broken = self._heard.before_gap or self._inbox.afresh or self._ended is not None
        return bool(came_at) and (broken or now - came_at[-1] > self.settings.fresh_s)

    def _wants_work(self) -> bool:
        """Whether to submit; it then counts as scheduled."""
        enough = self._inbox.waiting_s >= min(JOIN_S, self._missing_s)
        if self._scheduled or self._ended is not None or not (self._finishing or (self._inbox and enough)):
            return False
        self._scheduled = True
        return True

    def _end(self, reason: str) -> None:
        if self._ended is not None:
            return
        self._ended = reason
        self._inbox.take()
        self._heard.tracker.finish()
        self._run = None
        self._notify()

    def _notify(self) -> None:
        self._changed.notify_all()
        self._watchers.wake()

    @property
    def _made(self) -> int:
        return self._heard.windows

    # --- handing out

    def _predictions(self, seen: int, timeout_s: float | None) -> Iterator[Prediction]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._made > seen or self._ended is not None, timeout_s)  # noqa: B023
                fresh, seen = self._heard.since(seen), self._made
            if not fresh:
                return
            yield from fresh

    async def _follow(self, seen: int) -> AsyncIterator[Prediction]:
        with Watcher(self._watchers) as watcher:
            while True:
                with self._lock:
                    fresh, seen, ended = self._heard.since(seen), self._made, self._ended is not None
                for prediction in fresh:
                    yield prediction
                if not fresh:
                    if ended:
                        return
                    await watcher.wait()
