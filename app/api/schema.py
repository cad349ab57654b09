"""What goes over the wire, for OpenAPI and for the messages of a stream. Pure."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.json_schema import models_json_schema

from app.api.errors import ERRORS
from app.live.states import State

Score = Annotated[float, Field(ge=0, le=1)]


class WindowOut(BaseModel):
    """At most ten seconds."""

    start_s: float
    end_s: float
    answer: str | None = Field(description="The best class that is present; null for none of these.")
    known: Score = Field(description="How likely the window has any of the classes.")
    present: list[str] = Field(description="Classes above their thresholds.")
    scores: dict[str, Score] = Field(description="Class -> score, best first; the `top` best only, where asked for.")


class EventOut(BaseModel):
    """One class heard for a while."""

    model_config = ConfigDict(populate_by_name=True)

    number: int
    class_name: str = Field(alias="class")
    start_s: float
    end_s: float
    peak: Score = Field(description="The highest score.")
    peak_s: float = Field(description="Start of the window that had it.")
    windows: int


class PredictionsOut(BaseModel):
    """What was heard in an upload."""

    model: str
    duration_s: float = Field(description="Audio that was scored; a rest shorter than 0.96 s is not.")
    windows: list[WindowOut]
    events: list[EventOut]


class ModelOut(BaseModel):
    """A model that is served."""

    name: str
    classes: list[str]
    mode: Literal["single", "multi"] = Field(description="One answer for a window, or any number.")
    encoder: str
    head: str
    window_s: float
    step_s: float = Field(description="Between the windows of a stream.")
    trained: str | None
    protocol: str = Field(description="How the measure came about.")
    caveat: str | None = Field(description="What to know of its answers where nothing was measured; else null.")
    balanced_accuracy: float | None


class ModelsOut(BaseModel):
    """The models that are served."""

    default: str
    models: list[ModelOut]


class ErrorBody(BaseModel):
    """What went wrong."""

    code: str = Field(description="For programs; the codes stay.")
    message: str = Field(description="For people; ends in what to do.")


class ErrorOut(BaseModel):
    """Any answer but 200."""

    error: ErrorBody


class HealthOut(BaseModel):
    """Enough for a load balancer."""

    status: Literal["ok"]
    requests: int = Field(description="Uploads that are read, wait or are worked on.")
    streams: int


class PredictionMessage(WindowOut):
    """A window of a stream."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["prediction"]
    age_s: float = Field(ge=0, description="Since the last sound came that the scores needed.")


class StateMessage(BaseModel):
    """How a stream is doing: told whenever `state` or `stale` changes."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["state"]
    state: State
    message: str
    remedy: str = Field(description="What to do about it; empty when nothing needs doing.")
    filled_s: float
    window_s: float
    level_dbfs: float
    age_s: float | None = Field(description="Of the newest prediction; null before the first.")
    stale: bool = Field(
        description="The newest prediction is not of now: its sound came from before a gap or more than 5 s ago, or "
        "it is over. Show it no longer; the next `prediction` is of now again."
    )


class Start(BaseModel):
    """The first message of a stream."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["start"]
    model: str | None = Field(None, max_length=64)
    format: Literal["pcm16", "webm", "ogg"] = "pcm16"
    sample_rate: int = Field(16_000, ge=4_000, le=384_000)
    channels: int = Field(1, ge=1, le=8)
    top: int | None = Field(None, ge=1)
    key: str | None = Field(None, max_length=256)


PREDICTIONS_EXAMPLE = {
    "model": "esc10",
    "duration_s": 5.0,
    "windows": [
        {
            "start_s": 0.0,
            "end_s": 5.0,
            "answer": "Dog bark",
            "known": 0.99671,
            "present": ["Dog bark"],
            "scores": {"Dog bark": 0.99671, "Rooster": 0.00112},
        }
    ],
    "events": [
        {
            "number": 1,
            "class": "Dog bark",
            "start_s": 0.0,
            "end_s": 5.0,
            "peak": 0.99671,
            "peak_s": 0.0,
            "windows": 1,
        }
    ],
}

_BINARY = {"schema": {"type": "string", "format": "binary"}}
_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "WAV, FLAC, Ogg, MP3, M4A, WebM ..."},
        "model": {"type": "string", "example": "esc10"},
        "top": {"type": "integer", "minimum": 1, "example": 3},
    },
}
UPLOAD_BODY = {
    "required": True,
    "description": "The audio itself, or a form with it. The content alone decides what it is.",
    "content": {
        "multipart/form-data": {"schema": _FORM},
        **{f"audio/{kind}": _BINARY for kind in ("wav", "flac", "ogg", "mpeg", "mp4", "webm")},
        "application/octet-stream": _BINARY,
    },
}


def stream_schemas() -> dict[str, Any]:
    """The messages of a stream as schemas by name, for OpenAPI, which has no word for WebSockets."""
    messages = [(message, "validation") for message in (Start, StateMessage, PredictionMessage)]
    _, made = models_json_schema(messages, ref_template="#/components/schemas/{model}")  # type: ignore[arg-type]
    schemas: dict[str, Any] = made["$defs"]
    return schemas


def responses(*codes: str) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's answers for these errors; several codes may have one status."""
    found: dict[int | str, dict[str, Any]] = {}
    for code in codes:
        row = ERRORS[code]
        entry = found.setdefault(row.status, {"model": ErrorOut, "description": "", "content": {}})
        entry["description"] += f"{'; ' if entry['description'] else ''}`{code}`: {row.meaning}"
        entry["content"].setdefault("application/json", {"examples": {}})["examples"][code] = {
            "value": {"error": {"code": code, "message": f"{row.meaning}"}}
        }
    return found
