"""Answers to be marked, and what was taught -> HTML. Pure."""

from collections.abc import Mapping
from html import escape

from app.page.parts.sound import band_marks


def note(title: str, text: str) -> str:
    """A quiet card."""
    return (
        f'<section class="card hero off"><h1 class="answer small">{escape(title)}</h1>'
        f'<p class="detail">{escape(text)}</p></section>'
    )


def moment_card(answer: str, detail: str, image: str) -> str:
    """One answer, to be marked."""
    return (
        f'<section class="card hero answer"><h1 class="answer small">{escape(answer)}</h1>'
        f'<p class="detail">{escape(detail)}</p><div class="mel" role="img" aria-label="log-mel spectrogram">'
        f'<img src="{image}" alt="" decoding="sync">{band_marks()}</div></section>'
    )


def taught(counts: Mapping[str, int], folder: str, last: str) -> str:
    """What was taught so far."""
    rows = "".join(f"<li><span>{escape(name)}</span><b>{count}</b></li>" for name, count in counts.items())
    body = f'<ul class="counts">{rows}</ul>' if rows else '<p class="empty">Nothing yet.</p>'
    kept = f'<p class="note" data-kept>Kept: {escape(last)}</p>' if last else ""
    return (
        f'<section class="card"><h2>Taught so far</h2>{body}'
        f'<p class="note">In {escape(folder)}, in the form that <code>earshot ingest folder</code> reads.</p>'
        f"{kept}</section>"
    )
