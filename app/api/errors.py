"""What the API answers when it cannot answer: a status, a code for programs, a sentence for people. Pure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ingest.errors import AudioError, EarshotError, NotAudioError


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """status: over HTTP. close: the close code of a WebSocket. meaning: when it happens."""

    status: int
    close: int
    meaning: str


ERRORS: dict[str, ErrorRow] = {
    "bad_request": ErrorRow(400, 1008, "a parameter, form or message that is not what it should be"),
    "unauthorized": ErrorRow(401, 1008, "no key, or a wrong one"),
    "origin": ErrorRow(403, 1008, "a web page of another address, which `--allow-origin` does not name"),
    "not_found": ErrorRow(404, 1008, "no such address"),
    "unknown_model": ErrorRow(404, 1008, "no model of that name is served"),
    "method": ErrorRow(405, 1008, "the address is there, but not for this method"),
    "timeout": ErrorRow(408, 1008, "the upload did not arrive in time"),
    "too_large": ErrorRow(413, 1009, "more bytes than `--max-mb`; what is left is not read"),
    "too_long": ErrorRow(413, 1009, "more audio than `--max-s`; decoding stops there"),
    "not_audio": ErrorRow(415, 1003, "no decoder recognises it as audio"),
    "damaged_audio": ErrorRow(422, 1007, "audio that is cut, empty or holds samples that are no numbers"),
    "gone": ErrorRow(499, 1001, "the client left before the answer; only in the metrics"),
    "internal": ErrorRow(500, 1011, "a fault of ours; the server's log has it"),
    "busy": ErrorRow(503, 1013, "all places are taken; `Retry-After` says when to come back"),
    "too_slow": ErrorRow(503, 1013, "not scored in time, as the machine is overloaded"),
}
"""Code -> what it means. The codes are part of the API: programs may rely on them."""


class ApiError(EarshotError):
    """One request fails; the message is a sentence or two that end in a remedy.

    code: a key of `ERRORS`. headers: of the answer, beside the usual ones.
    """

    def __init__(self, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        self.code, self.row, self.headers = code, ERRORS[code], headers or {}
        super().__init__(message)

    def to_json(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": str(self)}}


def from_audio_error(error: AudioError, path: Path | None = None) -> ApiError:
    """What is wrong with an upload, without the name that it had on our disk."""
    code = "not_audio" if isinstance(error, NotAudioError) else "damaged_audio"
    rule = error.rule.replace(f"file:{path}", "the upload").replace(str(path), "the upload") if path else error.rule
    return ApiError(code, f"audio: {rule}; {error.remedy}")
