"""Uses threads: bytes of a stream, as they come, become chunks of audio.

PCM is cut into whole samples. A container (what a browser's MediaRecorder writes) is taken apart by FFmpeg's libraries
in a thread of its own, which waits for bytes. Both hold little: who sends faster than we listen has to wait.
"""

import asyncio
import threading
import time
from typing import Any, Protocol

from app.api.errors import ApiError
from app.live.chunks import Chunk, from_av, from_pcm16
from app.live.listening import Listening
from ingest.errors import EarshotError

PIECE_S = 0.5
AHEAD_S = 2.0
"""Audio that comes so much sooner than it can have sounded is no live source, and waits its turn."""
WAIT_S, WATCH_S = 0.02, 0.25
BUFFER_BYTES = 256 << 10
"""Of a container, that wait to be taken apart."""

CONTAINERS = {"webm": "matroska", "ogg": "ogg"}
"""Format of a stream -> FFmpeg's name of it."""


class Pace:
    """Tells when a listener may have more audio.

    A live source is never held back: when the machine cannot keep up, the listener drops its oldest audio and says so.
    A source that is faster than real time, such as a file, is: it is scored whole, as fast as the machine allows.
    """

    def __init__(self, listening: Listening) -> None:
        self._listening = listening
        self._begun: float | None = None
        self._pushed_s = 0.0

    @property
    def ready(self) -> bool:
        """Whether the next piece may be pushed now."""
        if self._begun is None:
            return True
        ahead = self._pushed_s - (time.monotonic() - self._begun) > AHEAD_S
        return not ahead or self._listening.ended or self._queued_s < PIECE_S

    def push(self, piece: Chunk) -> None:
        if self._begun is None:
            self._begun = time.monotonic()
        self._pushed_s += piece.duration_s
        self._listening.push(piece)

    @property
    def _queued_s(self) -> float:
        return self._listening.settings.queue_s - self._listening.room_s


class Source(Protocol):
    """Takes the bytes of one stream. For an event loop."""

    async def feed(self, data: bytes) -> None:
        """Take bytes; returns when more may come. Raises ApiError when they are no audio of the format."""
        ...

    async def finish(self) -> None:
        """There is no more: what was held back is pushed. Raises as `feed` does."""
        ...

    async def watch(self) -> None:
        """Raises what went wrong between two calls of `feed`; returns never."""
        ...

    def close(self) -> None:
        """Let go of it all, at once."""
        ...


def make_source(format: str, listening: Listening, *, sample_rate: int, channels: int) -> Source:
    """The source of a stream's format."""
    if format in CONTAINERS:
        return ContainerSource(CONTAINERS[format], listening)
    return Pcm16Source(listening, sample_rate, channels)


class Pcm16Source:
    """Little-endian 16-bit samples, channels interleaved; messages may end within a sample."""

    def __init__(self, listening: Listening, sample_rate: int, channels: int) -> None:
        self._pace, self._sample_rate, self._channels = Pace(listening), sample_rate, channels
        self._rest = b""

    async def feed(self, data: bytes) -> None:
        data = self._rest + data
        whole = len(data) - len(data) % (2 * self._channels)
        self._rest = data[whole:]
        for piece in from_pcm16(data[:whole], self._sample_rate, self._channels).split(PIECE_S):
            while not self._pace.ready:
                await asyncio.sleep(WAIT_S)
            self._pace.push(piece)

    async def finish(self) -> None:
        return

    async def watch(self) -> None:
        await asyncio.Event().wait()

    def close(self) -> None:
        return


class ContainerSource:
    """A container that is still being written, such as WebM with Opus.

    Args:
        container: FFmpeg's name of it. No other one is tried, and nothing but the bytes given is ever read.
    """

    def __init__(self, container: str, listening: Listening) -> None:
        self._container, self._listening, self._pace = container, listening, Pace(listening)
        self._buffer = bytearray()
        self._changed = threading.Condition()
        self._ended, self._closed = False, False
        self._error: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="earshot-container", daemon=True)
        self._thread.start()

    async def feed(self, data: bytes) -> None:
        with self._changed:
            self._buffer += data
            self._changed.notify_all()
        while len(self._buffer) > BUFFER_BYTES and self._thread.is_alive():
            await asyncio.sleep(WAIT_S)
        self._complain()

    async def finish(self) -> None:
        with self._changed:
            self._ended = True
            self._changed.notify_all()
        while self._thread.is_alive():
            await asyncio.sleep(WAIT_S)
        self._complain()

    async def watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            self._complain()

    def close(self) -> None:
        with self._changed:
            self._ended = self._closed = True
            self._buffer.clear()
            self._changed.notify_all()

    def read(self, size: int) -> bytes:
        """Called by FFmpeg in our thread: waits for a byte at least; b"" at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._buffer or self._ended)
            data = bytes(self._buffer[:size])
            del self._buffer[:size]
            return data

    def _complain(self) -> None:
        if self._error is not None:
            raise ApiError(
                "not_audio", "audio: is not what `format` says, or is damaged; send a container from its first byte on"
            ) from self._error

    def _run(self) -> None:
        import av

        try:
            # Without a limit FFmpeg would wait for megabytes before it tells what is in there.
            options = {"probesize": "4096", "format_whitelist": self._container, "protocol_whitelist": ""}
            with av.open(self, format=self._container, options=options, metadata_errors="ignore") as container:
                for frame in self._frames(container):
                    self._push(from_av(frame))
        except (av.FFmpegError, EarshotError, ValueError, LookupError) as error:
            if not self._closed:
                self._error = error
        finally:
            with self._changed:
                self._buffer.clear()

    def _frames(self, container: Any) -> Any:
        if not container.streams.audio:
            raise LookupError("no audio stream")
        for packet in container.demux(container.streams.audio[0]):
            if self._closed:
                return
            yield from packet.decode()

    def _push(self, chunk: Chunk) -> None:
        for piece in chunk.split(PIECE_S):
            while not (self._pace.ready or self._closed):
                time.sleep(WAIT_S)
            self._pace.push(piece)
