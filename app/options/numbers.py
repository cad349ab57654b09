"""Numbers as the commands take them."""

import math
from typing import Any

import click


class FiniteRange(click.FloatRange):
    """A number between bounds. click lets NaN pass, which is in no range, and infinity where nothing bounds it."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number: float = super().convert(value, param, ctx)
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a finite number.", param, ctx)
        return number
