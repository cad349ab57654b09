"""How many steps a network is trained for: as many passes as it wants, or what keeps the steps within bounds. Pure."""

import math
from typing import Protocol


class Paced(Protocol):
    """Settings that say how long to train; a dataclass with these four fields is one.

    epochs, batch: passes over the rows, rows in a step.
    min_steps, max_steps: bounds on the steps in all: few rows are passed over more often, very many less.
    """

    @property
    def epochs(self) -> int: ...
    @property
    def batch(self) -> int: ...
    @property
    def min_steps(self) -> int: ...
    @property
    def max_steps(self) -> int: ...


def steps_per_epoch(settings: Paced, n: int) -> int:
    """Steps of a pass over n rows."""
    return math.ceil(n / settings.batch)


def epochs_for(settings: Paced, n: int) -> int:
    """Passes over n rows, whole ones: `epochs`, or the fewest that reach the bound that they would overstep."""
    per_epoch = steps_per_epoch(settings, n)
    steps = min(max(settings.epochs * per_epoch, settings.min_steps), settings.max_steps)
    return math.ceil(steps / per_epoch)
