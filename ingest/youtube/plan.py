"""What a choice will cost before anything starts: segments per class, disk, time. Pure."""

from dataclasses import asdict, dataclass
from typing import Any

from ingest.audioset.choose import Chosen, ClassCount
from ingest.audioset.labels import display_name
from ingest.counted import counted

BYTES_PER_S = {"flac": 17_700, "ogg": 4_650, "wav": 32_000}
"""Of a finished file, 16 kHz mono. FLAC and Ogg Vorbis: the mean over every fourth clip of ESC-10; sounds differ."""
SOURCE_SAMPLE_RATE, SOURCE_CHANNELS = 48_000, 2  # what most videos have


@dataclass(frozen=True, slots=True)
class Plan:
    """What is about to be fetched.

    seconds: of audio. file_bytes: on disk, all files together, by format.
    rate_per_hour: segments asked for in an hour; `observed` in this folder, else the polite default.
    hours: until the last segment was asked for once.
    distrusted: names of the labels that did not count for want of quality.
    """

    segments: int
    seconds: float
    classes: tuple[ClassCount, ...]
    background: ClassCount | None
    distrusted: tuple[str, ...]
    file_bytes: dict[str, int]
    rate_per_hour: float
    observed: bool
    hours: float

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


def make_plan(
    chosen: Chosen,
    *,
    rate_per_hour: float,
    observed: bool = False,
    sample_rate: int | None = 16_000,
    channels: str = "mono",
) -> Plan:
    """Reckon what fetching `chosen` takes.

    Args:
        rate_per_hour: segments an hour, more than 0. observed: it was measured in this folder.
        sample_rate: of the files, in Hz; None for the source's. channels: "mono" or "source".
    """
    seconds = sum(s.end_s - s.start_s for s in chosen.segments)
    samples = (sample_rate or SOURCE_SAMPLE_RATE) / 16_000 * (1 if channels == "mono" else SOURCE_CHANNELS)
    return Plan(
        segments=len(chosen.segments),
        seconds=seconds,
        classes=chosen.classes,
        background=chosen.background,
        distrusted=tuple(map(display_name, chosen.distrusted)),
        file_bytes={name: round(seconds * samples * rate) for name, rate in BYTES_PER_S.items()},
        rate_per_hour=rate_per_hour,
        observed=observed,
        hours=len(chosen.segments) / rate_per_hour,
    )


_SHOWN_CLASSES = 40


def plan_text(plan: Plan) -> str:
    """The plan for people, some lines long. Of more than forty classes, the rarest and the commonest are shown."""
    counts = [*plan.classes, *([plan.background] if plan.background else [])]
    if len(counts) > _SHOWN_CLASSES:
        counts = sorted(counts, key=lambda c: (c.chosen, c.name))
        half = _SHOWN_CLASSES // 2
        rows = [
            *map(_row, counts[:half]),
            f"  ... {counted(len(counts) - 2 * half, 'more class')} ...",
            *map(_row, counts[-half:]),
        ]
    else:
        rows = [_row(count) for count in counts]
    return "\n".join([f"  {'chosen':>9} {'of':>9}  class", *rows, cost_text(plan)])


def cost_text(plan: Plan) -> str:
    """The same without the classes: what it all comes to."""
    sizes = ", ".join(f"{name} {_bytes(size)}" for name, size in plan.file_bytes.items())
    rate = "observed here" if plan.observed else "not yet observed here"
    lines = [
        f"segments: {plan.segments:,}, {_duration(plan.seconds / 3600)} of audio",
        f"on disk:  about {sizes}",
        f"time:     about {_duration(plan.hours)} at {plan.rate_per_hour:,.0f} an hour ({rate})",
    ]
    if plan.distrusted:
        lines.append(f"did not count, their quality being too low or unknown: {'; '.join(plan.distrusted)}")
    return "\n".join(lines)


def _row(count: ClassCount) -> str:
    return f"  {count.chosen:9,} {count.available:9,}  {count.name}"


def _bytes(size: float) -> str:
    for unit in ("kB", "MB", "GB"):
        size /= 1000
        if size < 1000:
            return f"{size:.3g} {unit}"
    return f"{size / 1000:.3g} TB"


def _duration(hours: float) -> str:
    if hours < 1:
        return f"{max(1, round(hours * 60))} min"
    if hours < 72:
        return f"{hours:.1f} hours"
    return f"{hours / 24:,.1f} days" if hours < 240 else f"{hours / 24:,.0f} days"
