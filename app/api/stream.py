"""Reads and writes a WebSocket: audio in, predictions, events and states out.

The client's first message is `start` (JSON); then come the bytes of its audio in binary messages of any size; then
`stop`, or it just leaves. We answer `started`, then `state`, `prediction` and `event` as they come about, then `ended`.
"""

import asyncio
import json
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any

from pydantic import ValidationError
from starlette.websockets import WebSocket, WebSocketDisconnect

from app.api.errors import ApiError
from app.api.guard import bearer, check_key
from app.api.media import Source, make_source
from app.api.metrics import Metrics
from app.api.models import Models
from app.api.schema import Start
from app.api.settings import ApiSettings
from app.live.events import Event
from app.live.hub import BusyError, ListenerHub
from app.live.listening import Listening
from app.live.snapshot import Snapshot
from app.live.states import State

MAX_TEXT = 4_096
LOOK_S = 0.5
"""How often the state is looked at when nothing is scored."""


class _GoneError(Exception):
    """The client has left, so there is nobody to tell."""


async def run_stream(
    socket: WebSocket, *, models: Models, hub: ListenerHub, settings: ApiSettings, metrics: Metrics
) -> str:
    """Serve one accepted WebSocket to its end; "ok", or the code of the error that ended it."""
    try:
        await _serve(socket, models, hub, settings, metrics)
    except ApiError as error:
        with suppress(WebSocketDisconnect, RuntimeError):
            await _send(socket, "error", error.to_json())
            await socket.close(error.row.close, error.code)
        return error.code
    except (_GoneError, WebSocketDisconnect):
        return "gone"
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.close(1000)
    return "ok"


async def _serve(socket: WebSocket, models: Models, hub: ListenerHub, settings: ApiSettings, metrics: Metrics) -> None:
    try:
        async with asyncio.timeout(settings.head_s):
            start = _parse_start(await _receive(socket))
    except TimeoutError as error:
        raise ApiError("timeout", f"start: must come within {settings.head_s:g} s; send it first") from error
    check_key(start.key if start.key is not None else bearer(socket.headers), settings)
    model = models.get(start.model)
    try:
        listening = hub.open(engine=model.engine)
    except BusyError as error:
        raise ApiError("busy", f"streams: all {settings.max_streams} places are taken; come back later") from error
    source = make_source(start.format, listening, sample_rate=start.sample_rate, channels=start.channels)
    try:
        description = model.to_json()
        started = {name: description[name] for name in ("classes", "mode", "window_s", "step_s")}
        await _send(socket, "started", {"model": model.name, **started})
        await _until_first_ends(
            _write(socket, listening, settings, start.top), _read(socket, source, listening), source.watch()
        )
    finally:
        source.close()
        listening.close("The client has left.")
        counters = listening.snapshot().counters
        metrics.windows.labels(model.name, "stream").inc(counters.windows)
        metrics.audio.labels(model.name, "stream").inc(counters.audio_s)
        metrics.dropped.inc(counters.dropped_s)


async def _until_first_ends(*work: Coroutine[Any, Any, None]) -> None:
    """Do all of it at once, until one part is done or fails; the rest is given up."""
    tasks = [asyncio.ensure_future(part) for part in work]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _read(socket: WebSocket, source: Source, listening: Listening) -> None:
    while True:
        message = await _receive(socket)
        if isinstance(message, bytes):
            await source.feed(message)
        elif _parse(message).get("type") == "stop":
            await source.finish()
            listening.finish()
            break
        else:
            raise ApiError("bad_request", 'message: must be audio (binary) or {"type": "stop"}; send nothing else')
    while True:  # nothing more is wanted; that the client leaves must be seen all the same
        await _receive(socket)


async def _write(socket: WebSocket, listening: Listening, settings: ApiSettings, top: int | None) -> None:
    windows, told_state = 0, ("", False)
    told: dict[int, bool] = {}
    async for snapshot in listening.snapshots(LOOK_S):
        state = snapshot.status.state.value, snapshot.stale
        if state != told_state:
            told_state = state
            await _send(socket, "state", _state(snapshot))
        fresh = min(snapshot.counters.windows - windows, len(snapshot.history))
        windows = snapshot.counters.windows
        for i in range(len(snapshot.history) - fresh, len(snapshot.history)):
            age = {"age_s": round(snapshot.now - snapshot.came_at[i], 2)}
            await _send(socket, "prediction", snapshot.history[i].to_json(top) | age)
        for event in _news(snapshot.events, told):
            await _send(socket, "event", event.to_json())
        if snapshot.status.state is State.NO_AUDIO and listening.quiet_s > settings.idle_s:
            listening.close(f"No audio for {settings.idle_s:g} s.")
        if snapshot.status.state is State.ENDED:
            ended = {"message": snapshot.status.message, "counters": snapshot.counters.to_json()}
            await _send(socket, "ended", ended)


def _news(events: Sequence[Event], told: dict[int, bool]) -> list[Event]:
    """Events that began or ended since they were last told; `told` remembers which, and forgets what is past."""
    news = [event for event in events if told.get(event.number) is not event.open]
    told.clear()
    told.update({event.number: event.open for event in events})
    return news


def _state(snapshot: Snapshot) -> dict[str, Any]:
    return {
        **snapshot.status.to_json(),
        "filled_s": round(snapshot.filled_s, 2),
        "window_s": snapshot.window_s,
        "level_dbfs": round(snapshot.level_dbfs, 1),
        "age_s": None if snapshot.age_s is None else round(snapshot.age_s, 2),
        "stale": snapshot.stale,
    }


async def _send(socket: WebSocket, kind: str, body: dict[str, Any]) -> None:
    await socket.send_text(json.dumps({"type": kind, **body}))


async def _receive(socket: WebSocket) -> bytes | str:
    message = await socket.receive()
    if message["type"] == "websocket.disconnect":
        raise _GoneError
    data: bytes | str | None = message.get("bytes")
    return data if data is not None else message["text"]


def _parse(text: str) -> dict[str, Any]:
    if len(text) > MAX_TEXT:
        raise ApiError("too_large", f"message: must be at most {MAX_TEXT} characters; send audio as binary messages")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict):
        raise ApiError("bad_request", "message: is no JSON object; send audio as binary messages")
    return said


def _parse_start(message: bytes | str) -> Start:
    if isinstance(message, bytes):
        raise ApiError("bad_request", 'start: must come before the audio; send {"type": "start"} first')
    try:
        return Start.model_validate(_parse(message))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise ApiError("bad_request", f"start: {where}: {first['msg']}; see docs/api.md") from error
