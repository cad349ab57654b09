"""What `earshot embed` costs as there are more files, and as a file gets longer: a straight line, in flat memory.

Each point is the command in a process of its own, so it has the start-up in it: about a second, which is nearly all
that small jobs cost. Beyond it the cost has to be proportional. Draws build/growth.png.

Expected before measuring: 3 ms a file of one second, 11 s an hour of one file, both within a tenth of proportional
from 100 files and from ten minutes on; peak memory 300 to 400 MB throughout, but for a list of the 10,000 files.
Seen: as expected, but 170 MB for one file of a second, as the buffers between reading and encoding stay empty.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from typing import Any

from bench.memory import SAMPLE_RATE, embed_command, measured_command, write_noise
from bench.result import LeftOutError, Result
from bench.weights import yamnet_folder

FILES = (1, 10, 100, 1_000, 10_000)
SECONDS = (1, 10, 60, 600, 3_600, 6 * 3_600, 24 * 3_600)
MOST = 1.15
"""The last step of a series may cost so many times what the step before it does, for the same amount."""
MORE_MB = 100
"""So much more memory may a hundred times the files, or a day instead of an hour, take. Smaller jobs do not fill the
buffers between reading and encoding."""
PICTURE = Path("build/growth.png")


@dataclass(frozen=True, slots=True)
class Point:
    """One run. amount: files, or seconds of one file. cpu_s: of the processor, all cores."""

    amount: int
    cpu_s: float
    peak_mb: float


def run() -> list[Result]:
    """With YAMNet; raises LeftOutError without its weights, or without room for a file of 24 hours."""
    weights = yamnet_folder()
    with TemporaryDirectory() as name:
        folder = Path(name)
        if disk_usage(folder).free < 2 * 2 * SAMPLE_RATE * SECONDS[-1]:
            raise LeftOutError(f"{folder}: a file of 24 hours needs 6 GB of room")
        _point(folder, 1, write_noise, 1, weights)  # converts the weights where that was never done
        files = [_point(folder, n, _write_files, n, weights) for n in FILES]
        lengths = [_point(folder, s, write_noise, s, weights) for s in SECONDS]
    _draw(files, lengths)
    return [*_judged("files of a second", files), *_judged("seconds of one file", lengths)]


def _point(folder: Path, amount: int, write: Callable[[Path, int], None], size: int, weights: Path | None) -> Point:
    with TemporaryDirectory(dir=folder) as name:
        write(Path(name, "in", "file.wav"), size)
        done = measured_command(embed_command(Path(name, "in"), Path(name, "out"), weights))
    return Point(amount, done.cpu_s, done.peak_mb)


def _write_files(path: Path, n: int) -> None:
    """`path` and n - 1 more beside it, a second each."""
    write_noise(path, 1)
    content = path.read_bytes()
    for i in range(1, n):
        path.with_stem(f"{path.stem}-{i}").write_bytes(content)


def _judged(what: str, points: list[Point]) -> list[Result]:
    """What the last step costs for each one, beside the step before it; and the memory, beside where that began."""
    *_, before, middle, last = points
    unit_ms = [1e3 * (b.cpu_s - a.cpu_s) / (b.amount - a.amount) for a, b in ((before, middle), (middle, last))]
    grown = last.peak_mb - before.peak_mb
    note = ", ".join(f"{point.amount:,}: {point.cpu_s:.1f} s" for point in points)
    return [
        Result(f"cost of {what}, at {last.amount:,}", unit_ms[1], unit_ms[0], "ms",
               f"within {MOST:g} of what it is at {middle.amount:,}", unit_ms[1] < MOST * unit_ms[0], note),
        Result(f"peak memory, {last.amount:,} {what}", last.peak_mb, before.peak_mb, "MB",
               f"within {MORE_MB} MB of {before.amount:,}", grown < MORE_MB, f"{points[0].peak_mb:.0f} MB for 1"),
    ]  # fmt: skip


def _draw(files: list[Point], lengths: list[Point]) -> None:
    from matplotlib.figure import Figure

    figure = Figure((9, 3.4), layout="constrained")
    for axes, points, label in zip(
        figure.subplots(1, 2), (files, lengths), ("files of one second", "seconds of one file"), strict=True
    ):
        _draw_series(axes, points, label)
    PICTURE.parent.mkdir(exist_ok=True)
    figure.savefig(PICTURE, dpi=120)


def _draw_series(axes: Any, points: list[Point], label: str) -> None:
    """Processor time against amount, both logarithmic, with the straight line through the last point; memory below."""
    amounts = [point.amount for point in points]
    last = points[-1]
    axes.loglog(amounts, [last.cpu_s * amount / last.amount for amount in amounts], ":", color="#5b6b7a")
    axes.loglog(amounts, [point.cpu_s for point in points], "o-", color="#1f6f8b")
    axes.set(xlabel=label, ylabel="seconds of the processor", ylim=(0.1, None))
    axes.spines[["top", "right"]].set_visible(False)
    memory = axes.twinx()
    memory.semilogx(amounts, [point.peak_mb for point in points], "s--", color="#c8553d")
    memory.set(ylim=(0, 1000), ylabel="peak memory, MB")
    memory.spines["top"].set_visible(False)
    memory.yaxis.label.set_color("#c8553d")
    axes.yaxis.label.set_color("#1f6f8b")
