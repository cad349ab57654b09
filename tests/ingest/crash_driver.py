"""A run in a process of its own, to be killed: `python -m tests.ingest.crash_driver OUT URL COUNT`."""

import sys
from pathlib import Path

from ingest.audioset.segments import Segment
from tests.ingest.fetching import StubSource, job

FAULTS = ("ok", "ok", "ok", "404", "403@1", "cut@1", "norange")


def crash_segments(count: int) -> list[Segment]:
    return [
        Segment(f"{FAULTS[n % len(FAULTS)]}/{n:03d}/chirp.wav", n % 7, n % 7 + 4.0, ("/m/09x0r",)) for n in range(count)
    ]


if __name__ == "__main__":
    out, url, count = sys.argv[1:]

    def ready(_: object) -> None:
        print("ready", flush=True)

    job(crash_segments(int(count)), Path(out), StubSource(url), progress=ready, shards=True)
