"""What may be chosen about serving. Pure."""

from dataclasses import dataclass

from app.live.settings import require_bounds
from ingest.errors import UsageError


@dataclass(frozen=True, slots=True)
class ApiSettings:
    """How much is taken from whom. Nothing here changes a score.

    max_mb: of one upload, in millions of bytes. max_s: of audio in one upload.
    max_requests: uploads that are read, wait or are worked on at once.
    max_streams: WebSocket streams at once.
    max_connections: of any kind at once; beyond it they are turned away before a byte is read.
    read_s: within which an upload must have arrived. work_s: within which it must have been scored.
    head_s: within which a request's head, or the first message of a stream, must have arrived.
    idle_s: without any audio for so long, a stream is ended.
    workers: threads that decode, embed and score; 0 for one a core.
    keys: one of them must be shown; empty lets everybody in.
    origins: web pages of other addresses that browsers may let in, e.g. "https://example.org"; "*" for all.
    """

    max_mb: float = 50.0
    max_s: float = 600.0
    max_requests: int = 64
    max_streams: int = 32
    max_connections: int = 512
    read_s: float = 30.0
    work_s: float = 60.0
    head_s: float = 10.0
    idle_s: float = 60.0
    workers: int = 0
    keys: tuple[str, ...] = ()
    origins: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        require_bounds(
            self,
            max_mb=(0.001, 10_000),
            max_s=(1, 86_400),
            **dict.fromkeys(("max_requests", "max_streams"), (1, 10_000)),
            max_connections=(1, 100_000),
            **dict.fromkeys(("read_s", "work_s", "head_s", "idle_s"), (0.1, 3_600)),
            workers=(0, 256),
        )
        for key in self.keys:
            if len(key) < 16 or not key.isascii() or not key.isprintable() or " " in key:
                raise UsageError(
                    "key: must be 16 or more printable ASCII characters without blanks; make one: openssl rand -hex 24"
                )
        for origin in self.origins:
            if origin != "*" and (not origin.startswith(("http://", "https://")) or origin.count("/") != 2):
                raise UsageError(f"--allow-origin: must look like https://example.org or be *, got {origin!r}")

    @property
    def max_bytes(self) -> int:
        return round(self.max_mb * 1e6)
