"""Uses threads: the way of one browser's sound into a listener and, when asked for, into a recording.

aiortc's event loop calls `take` for each frame of 20 ms; the page calls the rest from its script thread.
"""

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from app.live.chunks import from_av
from app.live.engine import Engine
from app.live.hub import BusyError, ListenerHub
from app.live.listening import Listening
from app.live.recording import Recorder
from app.page.microphone import Microphone

if TYPE_CHECKING:
    from pydub import AudioSegment


class Intake:
    """Opens a listener with the first frame, and another one when that has ended or the model has changed."""

    def __init__(self, hub: ListenerHub, id: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._hub, self._id, self._clock = hub, id, clock
        self._lock = threading.Lock()
        self._engine: Engine = hub.engine
        self._microphone, self._turn = Microphone(), False
        self._since = clock()
        self._last_at: float | None = None
        self._listening: Listening | None = None
        self._recorder: Recorder | None = None
        self._busy = ""

    # --- from the event loop

    def take(self, frame: Any) -> None:
        """One `av.AudioFrame`. Never blocks for work."""
        chunk = from_av(frame)
        with self._lock:
            if not self._microphone.on:  # the last frames of a connection that is being closed
                return
            self._last_at = self._clock()
            recorder, listening = self._recorder, self._listening
            if recorder is not None:
                recorder.push(chunk)
            if listening is None or listening.ended or listening.engine is not self._engine:
                listening = self._listening = self._open()
        if listening is not None:
            listening.push(chunk)

    def _open(self) -> Listening | None:
        try:
            opened = self._hub.open(
                self._id, transport=self._microphone.transport(turn=self._turn, flowing=True), engine=self._engine
            )
        except BusyError as error:
            self._busy = str(error)
            return None
        self._busy = ""
        return opened

    # --- from the page

    def set_microphone(self, microphone: Microphone, *, turn: bool) -> None:
        """What the button and the browser said last."""
        with self._lock:
            if microphone.on and not self._microphone.on:
                self._since, self._last_at = self._clock(), None
                if self._listening is not None and not self._listening.ended:
                    self._listening.reconnect()
            self._microphone, self._turn = microphone, turn
            if not microphone.on:
                self._recorder = None

    def set_engine(self, engine: Engine) -> None:
        """From the next frame on, this model listens."""
        with self._lock:
            if engine is not self._engine:
                self._engine, self._listening = engine, None

    @property
    def microphone(self) -> Microphone:
        return self._microphone

    @property
    def listening(self) -> Listening | None:
        """The listener of this session, which may have ended; None before the first sound."""
        return self._listening

    @property
    def busy(self) -> str:
        """Why no listener could be opened, "" when none was refused."""
        return self._busy

    @property
    def flowing(self) -> bool:
        """Whether sound came over this connection."""
        with self._lock:
            return self._microphone.on and self._last_at is not None

    @property
    def waited_s(self) -> float:
        """Since the microphone was granted."""
        return self._clock() - self._since

    def record(self, seconds: float) -> None:
        """Begin a recording of what comes from now on."""
        with self._lock:
            self._recorder = Recorder(seconds)

    @property
    def recording(self) -> Recorder | None:
        return self._recorder

    def take_recording(self) -> "AudioSegment | None":
        """What was recorded, once it is complete; only once."""
        with self._lock:
            if self._recorder is None or not self._recorder.done:
                return None
            recorder, self._recorder = self._recorder, None
        return recorder.segment()

    def close(self) -> None:
        """The session is over."""
        with self._lock:
            listening, self._listening = self._listening, None
            self._microphone = Microphone()
        if listening is not None:
            listening.close("The page was closed.")
