"""Uses the network: runs the application until it is told to stop.

uvicorn does the work. Added to it is what it leaves open to clients that mean no good: connections without number,
requests whose head never ends, and messages in pieces without number.
"""

import asyncio
import json
import logging
import signal
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import CloseCode

from app.api.app import create_app
from app.api.errors import ApiError
from app.api.models import Models
from app.api.settings import ApiSettings
from ingest.errors import EarshotError

MAX_MESSAGE_BYTES = 1 << 20
"""Of a WebSocket: eleven seconds of 48 kHz mono."""
MAX_PIECES = 256
"""Frames that one message may come in."""
DRAIN_S = 30
"""After SIGTERM, requests have so long to be answered."""


def open_port(host: str, port: int) -> socket.socket:
    """Take a port, 0 for any free one.

    Raises:
        EarshotError: it is taken, or not to be had.
    """
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=2_048)
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise EarshotError(f"--host {host} --port {port}: {reason.lower()}; choose another one") from error


def serve(
    models: Models,
    settings: ApiSettings,
    listener: socket.socket,
    *,
    client: Path | None = None,
    log_requests: bool = False,
    announce: Callable[[], None] = lambda: None,
) -> None:
    """Answer requests until SIGINT or SIGTERM, then finish those that are there.

    Args:
        announce: called once signals are heeded and clients may come.
    """
    if log_requests:
        _log_to_stderr("uvicorn.access")
    config = uvicorn.Config(
        create_app(models, settings, client=client),
        http=_http_protocol(settings),
        ws=_WebSocket,
        ws_max_size=MAX_MESSAGE_BYTES,
        ws_per_message_deflate=False,  # audio does not shrink, and what does not unpack cannot burst
        lifespan="on",
        log_config=None,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    server = uvicorn.Server(config)

    def stop(*_: object) -> None:
        server.should_exit = True

    # uvicorn heeds signals while it runs, and afterwards raises them again for whoever was here before it: for us, who
    # heed those that come sooner.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, stop)
    announce()
    asyncio.run(server.serve(sockets=[listener]))


def _log_to_stderr(name: str) -> None:
    logger, handler = logging.getLogger(name), logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False  # the command's own handler would say it again


def _http_protocol(settings: ApiSettings) -> type[H11Protocol]:
    class Http(H11Protocol):
        """A connection must bring a whole request head within `head_s`, and again after each answer.

        That ends, too, who goes on sending a body after it was refused.
        """

        _too_late: asyncio.TimerHandle | None = None

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            if len(self.connections) > settings.max_connections:
                transport.write(_refuse_connection(settings))
                transport.close()
                return
            self._start_timer()

        def on_response_complete(self) -> None:
            super().on_response_complete()
            self._start_timer()

        def connection_lost(self, exc: Exception | None) -> None:
            self._stop_timer()
            super().connection_lost(exc)

        def handle_websocket_upgrade(self, event: Any) -> None:
            self._stop_timer()
            super().handle_websocket_upgrade(event)

        def _start_timer(self) -> None:
            self._stop_timer()
            self._too_late = self.loop.call_later(settings.head_s, self._close_if_idle)

        def _stop_timer(self) -> None:
            if self._too_late is not None:
                self._too_late.cancel()

        def _close_if_idle(self) -> None:
            if (self.cycle is None or self.cycle.response_complete) and not self.transport.is_closing():
                self.transport.close()

    return Http


class _WebSocket(WebSocketsSansIOProtocol):
    """The size of a message is limited by uvicorn; here, in how many pieces it may come, as empty ones have no size."""

    def handle_cont(self, event: Any) -> None:
        if len(self.frames) < MAX_PIECES:
            super().handle_cont(event)
        elif not self.close_sent:
            self.frames = []
            self.conn.fail(CloseCode.MESSAGE_TOO_BIG, f"more than {MAX_PIECES} pieces")
            self.handle_parser_exception()


def _refuse_connection(settings: ApiSettings) -> bytes:
    error = ApiError("busy", f"connections: all {settings.max_connections} places are taken; come back later")
    body = json.dumps(error.to_json()).encode()
    head = (
        f"HTTP/1.1 {error.row.status} Service Unavailable\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\nRetry-After: 5\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
