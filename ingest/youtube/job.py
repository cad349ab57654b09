"""Touches disk, network and signals: all that `earshot ingest youtube` does with a list of segments, from lock to
report."""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from ingest.audioset.segments import Segment, StrongEvent
from ingest.engines.engine import EngineSettings
from ingest.ledger.ledger import Ledger
from ingest.ledger.outcomes import FAILURES, NOT_IN_MIRROR, Kind
from ingest.places.folder import Folder
from ingest.youtube.address import HERE, Address
from ingest.youtube.availability import Availability, survey, write_report
from ingest.youtube.fetch import FetchSettings
from ingest.youtube.fetched_manifest import write_fetched_manifest
from ingest.youtube.fetcher import Fetcher, LocalFetcher, versions
from ingest.youtube.pace import Phase
from ingest.youtube.reconcile import Mended, reconcile
from ingest.youtube.run import Clock, Progress, Run, RunSettings
from ingest.youtube.run_status import StatusWriter
from ingest.youtube.sources import YOUTUBE, Sources, in_order
from ingest.youtube.webdataset import write_shards

MANIFEST_EVERY_S = 600.0
"""`embed` may read the manifest while a run goes on; this is how old it gets."""
SURVEY_EVERY_S, STATUS_EVERY_S = 60.0, 10.0
"""What `status` shows from elsewhere: reasons and classes, and how the run stands."""


@dataclass(frozen=True, slots=True)
class JobSettings:
    """name: of what is asked for: in the report, and as the split. recheck: ask again for what is gone or failed.

    with_cookies: ask again for what needed them. shards: write WebDataset shards at the end.
    engine: where it is fetched; its `workers` say nothing here, as the pace does. publish: gets copies of
        `status.json`.
    """

    name: str
    fetch: FetchSettings = field(default_factory=FetchSettings)
    run: RunSettings = field(default_factory=RunSettings)
    recheck: bool = False
    with_cookies: bool = False
    shards: bool = False
    engine: EngineSettings = field(default_factory=EngineSettings)
    publish: Folder | None = None


@dataclass(frozen=True, slots=True)
class JobResult:
    """progress: of this run's segments, at its end. availability: of the whole folder. stopped: why early, or ""."""

    progress: Progress
    availability: Availability
    mended: Mended
    manifest: Path
    report: Path
    shards: int
    stopped: str


def run_job(
    segments: Iterable[Segment],
    out: Path,
    sources: Sources,
    settings: JobSettings,
    *,
    addresses: Sequence[Address] = (HERE,),
    strong: Mapping[str, Sequence[StrongEvent]] | None = None,
    progress: Callable[[Progress], None] = lambda _: None,
    clock: Clock | None = None,
    stop: threading.Event | None = None,
) -> JobResult:
    """Fetch what is missing of `segments` into `out`. Called again, it goes on where it was, however it ended.

    Args:
        addresses: to ask YouTube from, each at the pace of the settings. On Ray, none: each machine has one of its own.
        strong: the events of segments that have strong labels, by key; for the manifest.
    Raises:
        UsageError: another run writes to `out`.
        EarshotError: a mirror cannot be read.
        SpecMismatchError: `out` was begun with other settings of the files.
        KeyboardInterrupt: the run was asked to end; ledger and manifest are in order all the same.
    """
    clock, stop, made_by = clock or Clock(), stop or threading.Event(), versions()
    ordered = in_order(segments, sources)
    with _fetcher(out, sources, settings, addresses, stop) as fetch, Ledger.open(out) as ledger:
        ledger.settle(
            {
                "format": settings.fetch.format,
                "sample_rate": settings.fetch.sample_rate or "source",
                "channels": settings.fetch.channels,
            }
        )
        ledger.request(ordered, split=settings.name, now=clock.now())
        ledger.keep_strong(strong or {})
        mended = reconcile(ledger, settings.fetch, versions=made_by, now=clock.now())
        ledger.reopen(_reopened(settings, sources))
        teller = _Teller(ledger, progress, StatusWriter(out, settings.engine.name, settings.publish))
        run = Run(ledger, fetch, settings.run, versions=made_by, progress=teller, clock=clock, stop=stop)
        with _ending_when_interrupted(stop):
            try:
                teller.begin(run.progress())
                end = run.go()
            finally:
                manifest = write_fetched_manifest(ledger)
                teller.end(run.progress())
        shards = write_shards(ledger) if settings.shards else 0
        availability = survey(ledger)
        report = write_report(availability, out, settings.name)
    stopped = end.pause if end.phase is Phase.STOPPED else ""
    return JobResult(end, availability, mended, manifest, report, shards, stopped)


@contextmanager
def _fetcher(
    out: Path, sources: Sources, settings: JobSettings, addresses: Sequence[Address], stop: threading.Event
) -> Iterator[Fetcher]:
    if settings.engine.name == "local":
        yield LocalFetcher(out, sources, settings.fetch, addresses, stop)
        return
    from ingest.engines.ray_engine import connected
    from ingest.youtube.ray_fetch import RayFetcher

    with (
        connected(settings.engine.ray_address) as ray,
        closing(RayFetcher(ray, out, sources, settings.fetch, addresses=addresses, stop=stop)) as fetch,
    ):
        yield fetch


@contextmanager
def _ending_when_interrupted(stop: threading.Event) -> Iterator[None]:
    """Ctrl-C sets `stop` and is raised at the end: raised at once, it could fall between claiming a segment and noting
    who fetches it, and leave that segment `running`. A second one is raised at once. Only the main thread hears it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before, interrupted = signal.getsignal(signal.SIGINT) or signal.SIG_DFL, False

    def end_soon(*_: object) -> None:
        nonlocal interrupted
        interrupted = True
        stop.set()
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, end_soon)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if interrupted:
        raise KeyboardInterrupt


class _Teller:
    """Passes progress on, and keeps the manifest and the status file young."""

    def __init__(self, ledger: Ledger, progress: Callable[[Progress], None], status: StatusWriter) -> None:
        self._ledger, self._progress, self._status = ledger, progress, status
        self._manifest = _Every(MANIFEST_EVERY_S, lambda: write_fetched_manifest(ledger))
        self._survey = _Every(SURVEY_EVERY_S, self._look)
        self._write = _Every(STATUS_EVERY_S, self._tell)
        self._last: Progress
        self._availability: Availability
        self._looked_at: float

    def __call__(self, progress: Progress) -> None:
        self._last = progress
        for task in (self._manifest, self._survey, self._write):
            task()
        self._progress(progress)

    def begin(self, progress: Progress) -> None:
        """The first word: that it runs."""
        self._last = progress
        self._look()
        with suppress(OSError):
            self._tell()

    def end(self, progress: Progress) -> None:
        """The last word: how it ended."""
        self._look()
        stopped = progress.pause if progress.phase is Phase.STOPPED else ""
        self._status.write(progress, self._availability, self._looked_at, ended=True, stopped=stopped)
        self._status.close()

    def _look(self) -> None:
        self._availability, self._looked_at = survey(self._ledger), time.time()

    def _tell(self) -> None:
        self._status.write(self._last, self._availability, self._looked_at)


class _Every:
    """Does something every so often, and so rarely that it takes two hundredths of the time at most: a survey of two
    million rows takes many seconds, their manifest a minute. A full disk is left for the run to notice."""

    def __init__(self, seconds: float, work: Callable[[], object]) -> None:
        self._seconds, self._work = seconds, work
        self._due = time.monotonic() + seconds

    def __call__(self) -> None:
        began = time.monotonic()
        if began >= self._due:
            with suppress(OSError):
                self._work()
            self._due = began + max(self._seconds, 50 * (time.monotonic() - began))


def _reopened(settings: JobSettings, sources: Sources) -> list[str]:
    """The failures that this run asks about again."""
    if settings.recheck:
        return [failure.name for failure in FAILURES]
    names = [f.name for f in FAILURES if f.kind is Kind.NEEDS_COOKIES and settings.with_cookies]
    return [*names, NOT_IN_MIRROR] if YOUTUBE in sources else names
