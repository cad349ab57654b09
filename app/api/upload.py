"""Reads the network, writes the disk: the body of a request becomes a file of ours, or stops being read.

The body is the audio itself, or a form (multipart/form-data) whose part `file` is the audio. No name that the client
gives is ever used.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Protocol

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect, Request

from app.api.errors import ApiError
from app.api.settings import ApiSettings

FIELDS = ("model", "top")
MAX_FIELD_BYTES = 256


async def receive_upload(request: Request, file: IO[bytes], settings: ApiSettings) -> dict[str, str]:
    """Write the audio of a request to `file`, and give the other fields of its form.

    Raises:
        ApiError: too large (before a byte is read, where the head says so), too slow, gone, or no proper form.
    """
    if (length := request.headers.get("content-length", "")).isdigit() and int(length) > settings.max_bytes:
        raise _too_large(settings)
    sink = _make_sink(request.headers.get("content-type", ""), file)
    received = 0
    try:
        async with asyncio.timeout(settings.read_s):
            async for chunk in request.stream():
                received += len(chunk)
                if received > settings.max_bytes:
                    raise _too_large(settings)
                sink.write(chunk)
    except TimeoutError as error:
        raise ApiError(
            "timeout",
            f"body: must arrive within {settings.read_s:g} s, got {received} bytes; send less, or from nearer by",
            {"Connection": "close"},
        ) from error
    except ClientDisconnect as error:
        raise ApiError("gone", "body: broke off") from error
    except FormParserError as error:
        raise ApiError("bad_request", "body: is no proper multipart/form-data; let a library write it") from error
    fields = sink.finish()
    file.flush()
    return fields


def _too_large(settings: ApiSettings) -> ApiError:
    return ApiError("too_large", f"body: must be at most {settings.max_mb:g} MB; send less audio, or compress it")


class _Sink(Protocol):
    def write(self, chunk: bytes) -> object: ...

    def finish(self) -> dict[str, str]: ...


class _Raw:
    def __init__(self, file: IO[bytes]) -> None:
        self.write: Callable[[bytes], object] = file.write

    def finish(self) -> dict[str, str]:
        return {}


@dataclass(slots=True)
class _Part:
    """The part of a form that is being read."""

    header: bytearray = field(default_factory=bytearray)
    disposition: bytearray = field(default_factory=bytearray)
    name: str = ""
    value: bytearray = field(default_factory=bytearray)


class _Form:
    """Takes a form apart as it comes: the audio goes to the file at once, all else is small or refused."""

    def __init__(self, boundary: bytes, file: IO[bytes]) -> None:
        self._file, self._fields, self._part = file, dict[str, str](), _Part()
        self._has_file, self._ended = False, False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin,
                "on_header_field": self._header_field,
                "on_header_value": self._header_value,
                "on_header_end": self._header_end,
                "on_headers_finished": self._headers_finished,
                "on_part_data": self._data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def write(self, chunk: bytes) -> object:
        return self._parser.write(chunk)

    def finish(self) -> dict[str, str]:
        if not self._ended:
            raise ApiError("bad_request", "body: the form breaks off; send all of it")
        if not self._has_file:
            raise ApiError("bad_request", "file: is missing in the form; send the audio as its part `file`")
        return self._fields

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._part.header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        if self._part.header.lower() == b"content-disposition":
            self._part.disposition += data[start:end]

    def _header_end(self) -> None:
        self._part.header.clear()

    def _headers_finished(self) -> None:
        _, options = parse_options_header(bytes(self._part.disposition))
        name = options.get(b"name", b"").decode("latin-1")
        if name not in ("file", *FIELDS):
            raise ApiError("bad_request", f"form: has a part {name[:64]!r}; the parts are file, {', '.join(FIELDS)}")
        if name in self._fields or (name == "file" and self._has_file):
            raise ApiError("bad_request", f"{name}: is there twice; send one at a time")
        self._part.name = name
        self._has_file |= name == "file"

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.name == "file":
            self._file.write(data[start:end])
            return
        self._part.value += data[start:end]
        if len(self._part.value) > MAX_FIELD_BYTES:
            raise ApiError("bad_request", f"{self._part.name}: must be at most {MAX_FIELD_BYTES} bytes; shorten it")

    def _end_part(self) -> None:
        if self._part.name != "file":
            self._fields[self._part.name] = self._part.value.decode("utf-8", "replace")

    def _end(self) -> None:
        self._ended = True


def _make_sink(content_type: str, file: IO[bytes]) -> _Sink:
    kind, options = parse_options_header(content_type.encode("latin-1"))
    if kind != b"multipart/form-data":
        return _Raw(file)  # what it says it is does not count: the content does
    if not (boundary := options.get(b"boundary")):
        raise ApiError("bad_request", "Content-Type: has no boundary; let a library write the form")
    try:
        return _Form(boundary, file)
    except FormParserError as error:
        raise ApiError("bad_request", "Content-Type: its boundary is too long; let a library write the form") from error
