"""The application: its addresses, and what is shared between requests. Touches the disk for uploads."""

import asyncio
import math
import tempfile
import time
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Annotated, Any, TypeVar

from fastapi import FastAPI, Query, Request, Response, WebSocket
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.responses import JSONResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from app.api.errors import ApiError
from app.api.guard import bearer, check_key, check_origin
from app.api.metrics import Metrics
from app.api.models import Model, Models
from app.api.schema import (
    PREDICTIONS_EXAMPLE,
    UPLOAD_BODY,
    HealthOut,
    ModelsOut,
    PredictionsOut,
    responses,
    stream_schemas,
)
from app.api.scoring import Scoring
from app.api.settings import ApiSettings
from app.api.stream import run_stream
from app.api.upload import receive_upload
from app.api.workers import Workers
from app.live.hub import ListenerHub
from app.live.settings import LiveSettings
from ingest.errors import EarshotError

T = TypeVar("T")

DESCRIPTION = """What is in a recording, ten seconds at a time.

Upload audio to `POST /v1/predictions`, or open the WebSocket `/v1/stream` and listen live (see docs/api.md). Of its
messages the schemas hold `Start`, `StateMessage` and `PredictionMessage`. When a state says `stale`, what was last
predicted is not of now.
"""


class _Places:
    """Counts the requests that are here; so many and no more."""

    def __init__(self, most: int) -> None:
        self.most, self.taken, self.usual_s = most, 0, 1.0

    @contextmanager
    def take(self) -> Iterator[None]:
        if self.taken >= self.most:
            wait_s = max(1, math.ceil(self.usual_s))
            raise ApiError(
                "busy",
                f"requests: all {self.most} places are taken; come back in {wait_s} s",
                {"Retry-After": str(wait_s)},
            )
        begin = time.monotonic()
        self.taken += 1
        try:
            yield
        finally:
            self.taken -= 1
            self.usual_s += 0.1 * (time.monotonic() - begin - self.usual_s)


class _Server:
    """What requests share. Made within the event loop, closed after the last of them."""

    def __init__(self, models: Models, settings: ApiSettings) -> None:
        self.models, self.settings = models, settings
        self.places = _Places(settings.max_requests)
        self.workers = Workers(settings.workers)
        live = LiveSettings(
            max_listeners=settings.max_streams, idle_s=2 * settings.idle_s, keep_s=0.0, history=64, events=64
        )
        self.hub = ListenerHub(models.default.engine, live, submit=self.workers.submit)
        self.folder = tempfile.TemporaryDirectory(prefix="earshot-serve-")
        self.metrics = Metrics(lambda: self.places.taken, lambda: len(self.hub.listeners), lambda: self.workers.waiting)

    def close(self) -> None:
        self.hub.close()
        self.workers.close()
        self.folder.cleanup()

    async def predict(self, request: Request, model: str | None, top: int | None) -> dict[str, Any]:
        """Read an upload and score it.

        Raises:
            ApiError: any of them.
        """
        begin = time.monotonic()
        self.models.get(model)  # a wrong name is told before the upload is read
        with self.places.take(), tempfile.NamedTemporaryFile(dir=self.folder.name) as file:
            fields = await receive_upload(request, file, self.settings)
            chosen = self.models.get(fields.get("model", model))
            top = _parse_top(fields["top"]) if "top" in fields else top
            scoring = Scoring(Path(file.name), chosen, self.settings.max_s)
            try:
                await _unless_gone(request, self._score(scoring))
            finally:
                scoring.close()
                self._count(chosen, scoring)
        self.metrics.seconds.observe(time.monotonic() - begin)
        self.metrics.answers.labels("/v1/predictions", "ok").inc()
        return scoring.result(top)

    async def _score(self, scoring: Scoring) -> None:
        """All windows, one turn after another."""
        try:
            async with asyncio.timeout(self.settings.work_s):
                while await self._turn(scoring):
                    pass
        except TimeoutError as error:
            raise ApiError(
                "too_slow",
                f"audio: was not scored within {self.settings.work_s:g} s; send less at once, or come back later",
                {"Retry-After": "10"},
            ) from error

    async def _turn(self, scoring: Scoring) -> bool:
        """Score a window; whether there are more."""
        future = self.workers.turn(scoring)
        waiting = asyncio.wrap_future(future)
        try:
            return await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if not future.cancel():  # it runs, for some milliseconds: nobody may close the file under it
                await asyncio.wait([waiting])
                if not waiting.cancelled():
                    waiting.exception()
            raise

    def _count(self, model: Model, scoring: Scoring) -> None:
        self.metrics.windows.labels(model.name, "upload").inc(scoring.windows)
        self.metrics.audio.labels(model.name, "upload").inc(scoring.audio_s)


def create_app(models: Models, settings: ApiSettings | None = None, *, client: Path | None = None) -> FastAPI:
    """The application.

    Args:
        client: a folder of pages to serve at `/client/`.
    """
    settings = settings or ApiSettings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server = app.state.server = _Server(models, settings)
        try:
            yield
        finally:
            server.close()

    app = FastAPI(title="Earshot", version="1", description=DESCRIPTION, lifespan=lifespan, redoc_url=None)
    if settings.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(settings.origins),
            allow_methods=["GET", "POST"],
            allow_headers=["Authorization", "Content-Type"],
        )
    _add_errors(app)
    _add_addresses(app, settings)
    app.openapi()["components"]["schemas"] |= stream_schemas()  # which keeps what it made
    if client is not None:
        app.mount("/client", StaticFiles(directory=client, html=True))
    return app


def _add_addresses(app: FastAPI, settings: ApiSettings) -> None:
    def enter(request: Request) -> _Server:
        check_origin(request.headers, settings)
        check_key(bearer(request.headers), settings)
        server: _Server = request.app.state.server
        return server

    @app.post(
        "/v1/predictions",
        response_model=None,
        openapi_extra={"requestBody": UPLOAD_BODY},
        responses={
            200: {"model": PredictionsOut, "content": {"application/json": {"example": PREDICTIONS_EXAMPLE}}},
            **responses(
                "bad_request", "unauthorized", "origin", "unknown_model", "timeout", "too_large", "too_long",
                "not_audio", "damaged_audio", "busy", "too_slow",
            ),
        },
    )  # fmt: skip
    async def predictions(
        request: Request,
        model: Annotated[str | None, Query(description="One of those served; the first by default.")] = None,
        top: Annotated[int | None, Query(ge=1, description="Only so many of the likeliest classes.")] = None,
    ) -> Response:
        """What is in an upload: scores of every ten seconds, and events."""
        return JSONResponse(await enter(request).predict(request, model, top))

    @app.get("/v1/models", response_model=None, responses={200: {"model": ModelsOut}, **responses("unauthorized")})
    async def served(request: Request) -> Response:
        """The models that are served, and their classes."""
        return JSONResponse(enter(request).models.to_json())

    @app.get("/healthz", response_model=None, responses={200: {"model": HealthOut}})
    async def health(request: Request) -> Response:
        """That it lives; needs no key."""
        server: _Server = request.app.state.server
        return JSONResponse({"status": "ok", "requests": server.places.taken, "streams": len(server.hub.listeners)})

    @app.get(
        "/metrics", response_model=None, responses={200: {"content": {"text/plain": {}}}, **responses("unauthorized")}
    )
    async def metrics(request: Request) -> Response:
        """For Prometheus."""
        return Response(enter(request).metrics.text(), media_type="text/plain; version=0.0.4")

    @app.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        server: _Server = socket.app.state.server
        try:
            check_origin(socket.headers, settings)
        except ApiError as error:
            server.metrics.answers.labels("/v1/stream", error.code).inc()
            await socket.send_denial_response(_refusal(error))
            return
        await socket.accept()
        code = await run_stream(socket, models=server.models, hub=server.hub, settings=settings, metrics=server.metrics)
        server.metrics.answers.labels("/v1/stream", code).inc()


def _add_errors(app: FastAPI) -> None:
    """Every answer that is no success has the same form."""

    def answer(request: Request, error: ApiError) -> Response:
        path = request.scope["route"].path if "route" in request.scope else "other"
        request.app.state.server.metrics.answers.labels(path, error.code).inc()
        return _refusal(error)

    @app.exception_handler(ApiError)
    async def api_error(request: Request, error: ApiError) -> Response:
        return answer(request, error)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return answer(request, ApiError("bad_request", f"{first['loc'][-1]}: {first['msg']}; see /openapi.json"))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        code = {404: "not_found", 405: "method"}.get(error.status_code, "bad_request")
        return answer(request, ApiError(code, f"address: {error.detail}; see /openapi.json", dict(error.headers or {})))

    @app.exception_handler(Exception)
    async def internal(request: Request, error: Exception) -> Response:
        # Whoever called us raises it on, so that it stands in the server's log with its traceback.
        remedy = f"; {error}" if isinstance(error, EarshotError) else ""
        return answer(request, ApiError("internal", f"server: {type(error).__name__}{remedy}; its log has more"))


async def _unless_gone(request: Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work, or stop when the client leaves, whose place somebody else can have."""
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ApiError("gone", "client: left before the answer")
        return task.result()
    finally:
        gone.cancel()
        task.cancel()
        await asyncio.wait({task, gone})


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _parse_top(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 1_000_000:
        raise ApiError("bad_request", f"top: must be a number of 1 or more, got {text[:20]!r}; leave it out for all")
    return int(text)


def _refusal(error: ApiError) -> Response:
    return JSONResponse(error.to_json(), error.row.status, error.headers)
