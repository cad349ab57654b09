"""What was heard so far -> HTML: events, detections, the session minute by minute. Pure."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from app.live.activity import ActivityGrid
from app.live.events import Event
from app.page.parts.words import clock, percent
from ingest.counted import counted

LATER = '<td class="later"></td>'


def timeline(events: Sequence[Event], now_s: float, span_s: float = 120.0) -> str:
    """The events of the last while, a lane a class."""
    begin = now_s - span_s
    recent = [event for event in events if event.end_s > begin]
    lanes: dict[str, list[Event]] = {}
    for event in recent:
        lanes.setdefault(event.class_name, []).append(event)
    rows = []
    for name, of_lane in lanes.items():
        blocks = []
        for event in of_lane:
            left, right = max(0.0, (event.start_s - begin) / span_s), min(1.0, (event.end_s - begin) / span_s)
            until = "now" if event.open else clock(event.end_s)
            said = f"{name}, {clock(event.start_s)} to {until}, {percent(event.peak)}"
            blocks.append(
                f'<i class="{"open" if event.open else ""}" title="{escape(said)}" '
                f'style="left:{100 * left:.2f}%;width:{max(0.6, 100 * (right - left)):.2f}%"></i>'
            )
        rows.append(f'<li><span class="name">{escape(name)}</span><span class="lane">{"".join(blocks)}</span></li>')
    empty = '<p class="empty">No events yet. An event begins when a sound is sure enough and lasts.</p>'
    marks = "".join(f"<span>{-span_s * (1 - k / 4):.0f} s</span>" for k in range(4)) + "<span>now</span>"
    body = f'<ul class="lanes">{"".join(rows)}</ul><div class="axis indent" aria-hidden="true">{marks}</div>'
    return f'<section class="card"><h2>Events</h2>{body if rows else empty}</section>'


def activity(grid: ActivityGrid | None, started_at: float | None, minutes: int = 30) -> str:
    """Class by minute: the fuller a cell, the more of that minute's windows had the class."""
    head = '<section class="card"><h2>This session, minute by minute</h2>'
    if grid is None or not len(grid.windows):
        return f'{head}<p class="empty">Fills as you listen: a row a sound, a column a minute.</p></section>'
    first = max(0, len(grid.windows) - minutes)
    share = grid.share[first:]
    heard = np.flatnonzero(share.any(axis=0))
    names = [grid.class_names[i] for i in heard]
    columns = [grid.first_minute + first + k for k in range(len(share))]
    pad = max(0, min(minutes, 15) - len(columns))
    rows = []
    for name, i in zip(names, heard, strict=True):
        cells = "".join(
            _cell(name, columns[k], float(share[k, i]), int(grid.windows[first + k])) for k in range(len(share))
        )
        rows.append(f'<tr><th scope="row">{escape(name)}</th>{cells}{LATER * pad}</tr>')
    if not rows:
        return f'{head}<p class="empty">Nothing it knows in {len(columns)} min of listening.</p></section>'
    labels = "".join(
        f"<td>{minute_label(started_at, minute) if k % 5 == 0 else ''}</td>" for k, minute in enumerate(columns)
    )
    return (
        f'{head}<div class="scroll"><table class="grid"><tbody>{"".join(rows)}</tbody>'
        f"<tfoot><tr><th></th>{labels}{LATER * pad}</tr></tfoot></table></div>"
        '<p class="note">The fuller a cell, the more of that minute. Empty: not heard. Dotted: not listened.</p>'
        "</section>"
    )


def _cell(name: str, minute: int, share: float, windows: int) -> str:
    heard = f"{percent(share)} of {counted(windows, 'window')}" if windows else "not listened"
    said = f"{name}, minute {minute + 1}: {heard}"
    fill = (
        f'<i style="height:{max(12.0, 100 * share):.0f}%;opacity:{0.45 + 0.55 * share:.2f}"></i>' if share > 0 else ""
    )
    return f'<td class="{"" if windows else "unheard"}" title="{escape(said)}" aria-label="{escape(said)}">{fill}</td>'


def minute_label(started_at: float | None, minute: int) -> str:
    """The time of day of a minute of the session, in the server's zone; '+7 min' when unknown."""
    if started_at is None:
        return f"+{minute} min"
    return time.strftime("%H:%M", time.localtime(started_at + 60 * minute))


@dataclass(frozen=True, slots=True)
class Card:
    """One detection for people: what, when, how sure, how it looked and sounded. image, sound: `src` values."""

    class_name: str
    when: str
    score: float
    open: bool
    image: str
    sound: str
    seconds: float


def cards(found: Sequence[Card]) -> str:
    """Recent detections, newest first."""
    items = "".join(_card(card) for card in found)
    empty = '<p class="empty">What it hears shows here, with its picture and its sound.</p>'
    body = f'<ul class="cards">{items}</ul>' if found else empty
    return f'<section class="card"><h2>Recent detections</h2>{body}</section>'


def _card(card: Card) -> str:
    name = escape(card.class_name)
    image = f'<img src="{card.image}" alt="" decoding="sync">' if card.image else ""
    player = (
        f'<audio preload="none" src="{card.sound}"></audio>'
        f'<button type="button" class="play" data-play aria-label="Play {name}, {escape(card.when)}"></button>'
        if card.sound
        else ""
    )
    now = '<span class="now">now</span>' if card.open else ""
    return (
        f'<li><div class="shot">{image}{player}</div><div class="about"><b>{name}</b>'
        f'<span class="score">{percent(card.score)}</span><span class="when">{escape(card.when)} \u00b7 '
        f"{card.seconds:.0f} s {now}</span></div></li>"
    )
