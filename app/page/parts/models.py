"""Models that cannot run here -> HTML. Pure."""

from collections.abc import Sequence
from html import escape


def missing_models(found: Sequence[tuple[str, str]]) -> str:
    """Models that are here and cannot run, each with what would mend it."""
    rows = "".join(f"<li><b>{escape(name)}</b> {_with_code(why)}</li>" for name, why in found)
    return f'<section class="card"><h2>Cannot run here</h2><ul class="missing">{rows}</ul></section>'


def _with_code(text: str) -> str:
    """What stands between backticks is set as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
