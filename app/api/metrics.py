"""What the server counts, in Prometheus' words. No label ever takes a value that a client makes up."""

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)


class Metrics:
    """Counters of one server.

    Args:
        requests, streams, waiting: how many there are right now.
    """

    def __init__(
        self, requests: Callable[[], float], streams: Callable[[], float], waiting: Callable[[], float]
    ) -> None:
        disable_created_metrics()  # twice as many lines for when each counter began
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        PlatformCollector(registry=self._registry)
        for name, text, value in (
            ("earshot_requests_open", "Uploads that are read, wait or are worked on.", requests),
            ("earshot_streams_open", "WebSocket streams.", streams),
            ("earshot_turns_waiting", "Windows that wait for a thread.", waiting),
        ):
            Gauge(name, text, registry=self._registry).set_function(value)
        self.answers = Counter(
            "earshot_answers", "Answers, by code: ok, or that of the error.", ["path", "code"], registry=self._registry
        )
        self.seconds = Histogram(
            "earshot_request_seconds", "From head to answer, of what was scored.", registry=self._registry,
            buckets=SECONDS,
        )  # fmt: skip
        self.windows = Counter("earshot_windows", "Windows scored.", ["model", "path"], registry=self._registry)
        self.audio = Counter("earshot_audio_seconds", "Audio scored.", ["model", "path"], registry=self._registry)
        self.dropped = Counter(
            "earshot_stream_dropped_seconds", "Audio of streams that could not be scored in time.",
            registry=self._registry,
        )  # fmt: skip

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self._registry)
