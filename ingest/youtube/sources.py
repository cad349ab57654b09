"""Touches the disk: where segments may come from, and in which order they are asked."""

from collections.abc import Iterable, Mapping
from pathlib import Path

from ingest.audioset.segments import Segment, read_segments
from ingest.errors import UsageError
from ingest.youtube.address import Address
from ingest.youtube.mirror import Copies, Mirror
from ingest.youtube.streams import Source, YouTube

YOUTUBE, MIRROR = "youtube", "mirror"
NAMES = (YOUTUBE, MIRROR)
MIRROR_INDEX = "mirror-index.parquet"
"""In the output folder: which clip stands where in the mirror; no part of what was asked for."""
AUDIOSET_LISTS = ("balanced_train_segments.csv", "eval_segments.csv", "unbalanced_train_segments.csv")

Sources = Mapping[str, Source | Copies]
"""By name, the first to be asked first. Not empty."""


def parse_sources(text: str) -> tuple[str, ...]:
    """`youtube,mirror` -> the names, in their order.

    Raises:
        UsageError: another name, or one twice, or none.
    """
    names = tuple(part.strip() for part in text.split(","))
    if len(set(names)) < len(names) or not set(names) <= set(NAMES):
        raise UsageError(f"--source must be of {' and '.join(NAMES)}, each once, got {text!r}; try youtube,mirror")
    return names


def in_order(segments: Iterable[Segment], sources: Sources) -> list[Segment]:
    """The segments as the first source is best asked. Looks into every mirror, so that one that is none is told now.

    Raises:
        EarshotError: a mirror cannot be read; see `Mirror`.
    """
    wanted = list(segments)
    orders = [source.order(wanted) if isinstance(source, Mirror) else wanted for source in sources.values()]
    return orders[0]


def asked_from(address: Address, sources: Sources) -> Sources:
    """The same sources, those that limit an address being asked from `address`."""
    return {name: source.at(address) if isinstance(source, YouTube) else source for name, source in sources.items()}


def clip_starts(path: Path, segments: Iterable[Segment]) -> dict[str, float] | None:
    """Where AudioSet's own clips of the videos in `segments` begin, in seconds, by id; for `Mirror`.

    Args:
        path: the list that the segments are from. None comes back when its name says that it is AudioSet's: then every
            segment is. Otherwise AudioSet's lists must stand beside it.
    Raises:
        UsageError: there is none.
    """
    if path.name in AUDIOSET_LISTS:
        return None
    lists = [beside for name in AUDIOSET_LISTS if (beside := path.parent / name).is_file()]
    if not lists:
        raise UsageError(
            f"--source {MIRROR}: it has AudioSet's own clips, and only AudioSet's lists tell where they begin, but "
            f"{path.name} is none of them and none stands beside it; run `earshot ingest metadata --out {path.parent}`"
        )
    wanted = {segment.youtube_id for segment in segments}
    return {
        segment.youtube_id: segment.start_s
        for beside in lists
        for segment in read_segments(beside).segments
        if segment.youtube_id in wanted
    }
