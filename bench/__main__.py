"""Run benchmarks, each in a process of its own, and show one table."""

import importlib
import json
import subprocess
import sys

from bench.result import LeftOutError, Result, table

BENCHES = (
    "speed", "precision", "embed", "vggish", "features", "memory", "growth", "ingest", "live", "page", "api", "calls",
    "train", "leak", "scale_model",
)  # fmt: skip


def main(names: list[str]) -> int:
    """Each name is a module of this package with `run() -> list[Result]`, or LeftOutError where it cannot run."""
    unknown = sorted(set(names) - set(BENCHES))
    if unknown:
        print(f"bench: no benchmark {unknown[0]!r}; there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    results: list[Result] = []
    for name in names or BENCHES:
        done = subprocess.run(
            [sys.executable, "-c", f"from bench.__main__ import one; one({name!r})"],
            stdout=subprocess.PIPE,
            text=True,
            check=False,
        )
        if done.returncode:
            print(f"bench: {name} failed", file=sys.stderr)
            return 1
        results += [Result(**json.loads(line)) for line in done.stdout.splitlines()]
    print(table(results))
    return 0


def one(name: str) -> None:
    """In the process of one benchmark: its results as lines of JSON."""
    try:
        for result in importlib.import_module(f"bench.{name}").run():
            print(result.to_json())
    except LeftOutError as error:
        print(f"bench: {name} left out: {error.args[0]}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
