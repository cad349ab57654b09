"""What a head may choose from, read from data/search_spaces, and how one choice is told from another.

Reads a file; the rest is pure, and randomness is passed in.
"""

import tomllib
from dataclasses import dataclass, replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.heads import TrainingData
from classifiers.measures.metrics import measure
from ingest.errors import UsageError

SPACES = Path(__file__).resolve().parents[2] / "data" / "search_spaces" / "shallow.toml"
Parameters = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter: its default, its grid, and the range that a random search draws from (None: from the grid)."""

    default: Any
    grid: tuple[Any, ...]
    range: tuple[float, float] | None = None
    log: bool = False

    def draw(self, rng: np.random.Generator) -> Any:
        if self.range is None:
            return self.grid[int(rng.integers(len(self.grid)))]
        low, high = self.range
        if isinstance(low, int) and isinstance(high, int):
            return int(rng.integers(low, high + 1))
        return float(np.exp(rng.uniform(np.log(low), np.log(high)))) if self.log else float(rng.uniform(low, high))


@dataclass(frozen=True, slots=True)
class Space:
    """A head's search space. trials: of a random search, where nobody says otherwise."""

    trials: int
    parameters: dict[str, Parameter]

    @property
    def default(self) -> Parameters:
        return {name: parameter.default for name, parameter in self.parameters.items()}

    def fixed(self, name: str, value: Any) -> "Space":
        """The same space with one parameter held at a value.

        Raises:
            UsageError: a value of another type than those of the space.
        """
        old = self.parameters[name]
        if isinstance(value, int) and not isinstance(value, bool) and isinstance(old.default, float):
            value = float(value)
        value = _value(value)
        if not any(type(value) is type(known) for known in (old.default, *old.grid)):
            raise UsageError(f"--set {name}: takes a value like {old.default!r}, got {value!r}")
        return replace(self, parameters=self.parameters | {name: Parameter(value, (value,))})

    def candidates(self, search: str, trials: int, rng: np.random.Generator) -> list[Parameters]:
        """What is tried, the default first, each once.

        Args:
            search: "none": the default alone; "grid": the default and all of the grid; "random": the default and draws.
            trials: in all, of a random search; no more than the grid has where every parameter is drawn from its grid.
        """
        if search == "none":
            return [self.default]
        grid = [dict(zip(self.parameters, values, strict=True)) for values in product(*self._grids())]
        if search == "grid":
            return _distinct([self.default, *grid])
        if all(parameter.range is None for parameter in self.parameters.values()) and len(grid) < trials:
            return _distinct([self.default, *grid])
        draws = [{name: p.draw(rng) for name, p in self.parameters.items()} for _ in range(trials - 1)]
        return _distinct([self.default, *draws])

    def _grids(self) -> list[tuple[Any, ...]]:
        return [parameter.grid for parameter in self.parameters.values()]


@cache
def read_spaces() -> dict[str, Space]:
    """Family of heads -> its space, from data/search_spaces/shallow.toml."""
    tables = tomllib.loads(SPACES.read_text(encoding="utf-8"))
    return {
        name: Space(
            trials=table["trials"],
            parameters={key: _parameter(value) for key, value in table.items() if key != "trials"},
        )
        for name, table in tables.items()
    }


def inner_score(
    data: TrainingData, scores: npt.NDArray[np.floating], rows: npt.NDArray[np.bool_] | None = None
) -> float:
    """How good out-of-fold scores are, to choose by: mAP, for "single" the mean of it and accuracy.

    Accuracy alone takes few values on few rows.

    Args:
        scores: [n, classes], higher is likelier.
        rows: bool [n], those that count; all by default.
    """
    targets = data.targets if rows is None else data.targets[rows]
    metrics = measure(targets, scores if rows is None else scores[rows], data.class_names, data.mode)
    mean_ap = metrics.mAP or 0.0
    return (metrics.accuracy + mean_ap) / 2 if data.mode == "single" else mean_ap


def _parameter(table: dict[str, Any]) -> Parameter:
    ends = table.get("range")
    return Parameter(
        default=_value(table["default"]),
        grid=tuple(_value(value) for value in table["grid"]),
        range=None if ends is None else (ends[0], ends[1]),
        log=table.get("log", False),
    )


def _value(value: Any) -> Any:
    return None if value == "none" else value


def _distinct(candidates: list[Parameters]) -> list[Parameters]:
    found: list[Parameters] = []
    for candidate in candidates:
        if candidate not in found:
            found.append(candidate)
    return found
