"""Damaged files for every reader of bytes that come from elsewhere: `python -m tests.fuzz tfrecord --minutes 10`.

The rule: a reader gives a result that keeps what its type promises, or raises an EarshotError of one line, within
LIMIT_S and MEMORY_BYTES. Anything else is a finding. A case is made from the seed and its number alone, so it can be
made again: `python -m tests.fuzz tfrecord --first 1234 --cases 1`.

The cases run in a child process: one that crashes or hangs it is a finding too, and the next child goes on behind it.
"""

import ast
import faulthandler
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

import click

from ingest.errors import EarshotError

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 30
"""Of the wall clock, generous as machines are busy; a case takes milliseconds."""
MEMORY_BYTES = 2 << 30
"""Of address space, beyond what the process has when it has read the seeds once."""
LONGEST_MESSAGE = 2_000
HEALTHY_EVERY = 50
"""So many cases, one is an undamaged seed: it must be read, or the fuzzer has tested nothing."""

Mutator = Callable[[bytes, Random], bytes]

_MAGIC = (0, 1, 2, 7, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, (1 << 63) - 1)


@dataclass(frozen=True, slots=True)
class Reader:
    """A reader of foreign bytes.

    seeds: whole files, made by the project's own writers in the folder given.
    read: writes the bytes where the reader wants them, below the folder given, reads, and asserts what is promised.
    mutators: of the file's structure; those of plain bytes come by themselves.
    """

    name: str
    seeds: Callable[[Path], list[bytes]]
    read: Callable[[bytes, Path], object]
    mutators: tuple[Mutator, ...] = ()


def flip(data: bytes, rng: Random) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(data: bytes, rng: Random) -> bytes:
    begin = rng.randrange(len(data))
    return data[:begin] if rng.random() < 0.5 else data[:begin] + data[begin + rng.randrange(1, 64) :]


def repeat(data: bytes, rng: Random) -> bytes:
    begin = rng.randrange(len(data))
    piece = data[begin : begin + rng.randrange(1, 256)]
    return data[:begin] + piece * rng.choice((2, 3, 50)) + data[begin:]


def splice(data: bytes, rng: Random) -> bytes:
    """A piece of it over another place."""
    begin, to, length = rng.randrange(len(data)), rng.randrange(len(data)), rng.randrange(1, 512)
    piece = data[begin : begin + length]
    return data[:to] + piece + data[to + len(piece) :]


def magic(data: bytes, rng: Random) -> bytes:
    """A number on an edge, as fields of lengths are, over any place; more often near the beginning or the end."""
    width = rng.choice((1, 2, 4, 8))
    value = (rng.choice(_MAGIC) & ((1 << 8 * width) - 1)).to_bytes(width, rng.choice(("little", "big")))
    near = min(len(data), 128)
    at = rng.choice((rng.randrange(len(data)), rng.randrange(near), len(data) - 1 - rng.randrange(near)))
    return data[:at] + value + data[at + width :]


BYTES: tuple[Mutator, ...] = (flip, cut, repeat, splice, magic)


def case(reader: Reader, seeds: list[bytes], seed: int, number: int) -> bytes:
    """The bytes of a case."""
    rng = Random(f"{seed}/{reader.name}/{number}")
    data = rng.choice(seeds)
    if number % HEALTHY_EVERY == 0:
        return data
    for _ in range(rng.choice((1, 1, 1, 2, 3, 6))):
        structured = reader.mutators and rng.random() < 0.6
        data = rng.choice(reader.mutators if structured else BYTES)(data, rng) or b"\0"
    return data


def attempt(reader: Reader, data: bytes, folder: Path) -> str:
    """What came of it: "read", "refused", or a finding, named by its error and the line that it came from."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader.read(data, folder)
    except EarshotError as error:
        message = str(error)
        if "\n" in message or "\r" in message or len(message) > LONGEST_MESSAGE:
            return f"message of {len(message)} characters, must be one line: {message[:200]!r}"
        return "refused"
    except Exception as error:
        return f"{type(error).__name__} at {_place(error)}: {(str(error)[:160] or _asserted(error))!r}"
    return "read"


def scratch_folder() -> "tempfile.TemporaryDirectory[str]":
    """In memory where there is such a place: files that are synced to a disk make a case a hundred times as long."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else None, ignore_cleanup_errors=True)


def _place(error: BaseException) -> str:
    """The last line of the project's that the error went through."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename.startswith(str(ROOT))]
    return " < ".join(f"{Path(f.filename).relative_to(ROOT)}:{f.lineno}" for f in frames[:0:-1][:3])


def _asserted(error: BaseException) -> str:
    """The expression of the assertion that failed; "" of another error."""
    if not isinstance(error, AssertionError):
        return ""
    last = traceback.extract_tb(error.__traceback__)[-1]
    statements = ast.walk(ast.parse(Path(last.filename).read_text()))
    return "".join(
        ast.unparse(statement.test)
        for statement in statements
        if isinstance(statement, ast.Assert) and statement.lineno <= (last.lineno or 0) <= (statement.end_lineno or 0)
    )


def limit_memory() -> None:
    """Of this process, from now on."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + MEMORY_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (most, resource.getrlimit(resource.RLIMIT_AS)[1]))


def run_child(reader: Reader, place: Path, *, seed: int, first: int, cases: int, seconds: float) -> None:
    """Run cases until there are enough; a line of JSON for each finding, and one with the counts at the end.

    place: the number of the case at work, for the parent to know if this process does not come back.
    """
    end = time.monotonic() + seconds
    found: Counter[str] = Counter()
    with scratch_folder() as scratch, place.open("r+b", buffering=0) as at:
        folder = Path(scratch)
        seeds = reader.seeds(folder)
        for data in seeds:
            if (outcome := attempt(reader, data, folder)) != "read":
                raise SystemExit(f"{reader.name}: an undamaged seed is not read: {outcome}")
        limit_memory()
        for number in range(first, first + cases):
            if time.monotonic() > end:
                break
            os.pwrite(at.fileno(), b"%20d" % number, 0)
            faulthandler.dump_traceback_later(LIMIT_S, exit=True)
            outcome = attempt(reader, case(reader, seeds, seed, number), folder)
            faulthandler.cancel_dump_traceback_later()
            if outcome not in ("read", "refused"):
                print(json.dumps({"case": number, "finding": outcome}), flush=True)
            found["cases"] += 1
            found[outcome if outcome in ("read", "refused") else "findings"] += 1
    print(json.dumps(dict(found)), flush=True)
    os._exit(0)  # what a native library makes of damaged files at its end is not the question


def run_children(
    name: str, seed: int, first: int, cases: int, seconds: float
) -> tuple[Counter[str], dict[str, tuple[int, str]]]:
    """Counts, and each kind of finding with the number of the first case that shows it and its text."""
    began, counts, findings = time.monotonic(), Counter[str](), dict[str, tuple[int, str]]()
    number, last = first, first + cases
    with tempfile.NamedTemporaryFile() as place:
        while number < last and (left := seconds - (time.monotonic() - began)) > 0:
            place.seek(0)
            place.write(b"%20d" % -1)
            place.flush()
            options = ["--seed", seed, "--first", number, "--cases", last - number, "--seconds", left]
            done = subprocess.run(
                [sys.executable, "-m", "tests.fuzz", name, *map(str, options), "--child", place.name],
                cwd=ROOT, capture_output=True, text=True, errors="replace", check=False,
            )  # fmt: skip
            place.seek(0)
            reached = int(place.read(20))
            if reached < 0 and done.returncode == 0:
                break  # an earlier child was ended by its case, and the time left was too short for another
            if reached < 0:
                raise click.ClickException(f"{name}: {done.stderr.strip().splitlines()[-1:]}")
            *lines, end = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")] or [{}]
            if done.returncode or "cases" not in end:
                why = f"ended the process ({done.returncode}), or took more than {LIMIT_S} s: " + " | ".join(
                    line.strip() for line in done.stderr.splitlines()[-40:] if str(ROOT) in line
                )
                lines = [*lines, *([end] if "case" in end else []), {"case": reached, "finding": why}]
                counts.update(cases=reached - number + 1, findings=len(lines))
            else:
                counts.update(end)
            for line in lines:
                kind = line["finding"].partition(": ")[0]
                findings.setdefault(kind, (line["case"], line["finding"]))
            number = reached + 1
    return counts, findings


@click.command()
@click.argument("names", nargs=-1)
@click.option("--minutes", type=float, help="For each reader; no limit but --cases otherwise.")
@click.option("--cases", type=int, default=1 << 40)
@click.option("--seed", type=int, default=0)
@click.option("--first", type=int, default=0, help="The number of the first case.")
@click.option("--keep", type=click.Path(path_type=Path), help="A folder for the bytes of each kind of finding.")
@click.option("--seconds", type=float, hidden=True)
@click.option("--child", type=click.Path(path_type=Path), hidden=True)
def main(  # noqa: PLR0917 - click passes them all by name
    names: tuple[str, ...],
    minutes: float | None,
    cases: int,
    seed: int,
    first: int,
    keep: Path | None,
    seconds: float | None,
    child: Path | None,
) -> None:
    """Feed damaged files to the readers NAMES, all of them by default; exit 1 when there are findings."""
    from tests.fuzz_readers import READERS

    if unknown := sorted(set(names) - set(READERS)):
        raise click.BadParameter(f"no reader {unknown[0]!r}; choose of {', '.join(READERS)}", param_hint="NAMES")
    if child:
        run_child(READERS[names[0]], child, seed=seed, first=first, cases=cases, seconds=seconds or 0.0)
    bad = False
    for name in names or READERS:
        began = time.monotonic()
        counts, findings = run_children(name, seed, first, cases, 60 * minutes if minutes else 1e9)
        took = time.monotonic() - began
        click.echo(
            f"{name}: {counts['cases']} cases in {took / 60:.1f} min, {counts['read']} read, "
            f"{counts['refused']} refused, {len(findings)} kinds of findings"
        )
        for number, finding in findings.values():
            click.echo(f"  case {number}: {finding}")
            if keep:
                keep.mkdir(parents=True, exist_ok=True)
                with scratch_folder() as scratch:
                    data = case(READERS[name], READERS[name].seeds(Path(scratch)), seed, number)
                (keep / f"{name}-{number}").write_bytes(data)
        bad |= bool(findings)
    sys.exit(int(bad))


if __name__ == "__main__":
    main()
