"""What a listener says now -> HTML. Pure: snapshots in, text out; every name from outside is escaped."""

from collections.abc import Sequence
from html import escape

import numpy as np

from app.live.snapshot import Counters
from app.live.states import State, Status
from app.page.parts.words import CHECK, DASH, SIGNS, hero_of, percent
from classifiers.decision import Decision
from classifiers.prediction import Prediction
from ingest.counted import counted

MOST_BARS = 12
"""With more classes the likeliest ones are shown."""


def hero(status: Status, prediction: Prediction | None, filled: float = 0.0) -> str:
    """The card with the big answer. filled: share of the first window that has come, in [0, 1]."""
    said = hero_of(status, prediction)
    tone, name = SIGNS[status.state]
    bar = ""
    if status.state is State.FILLING:
        bar = f'<div class="fill" role="progressbar" aria-label="first window" aria-valuenow="{100 * filled:.0f}">'
        bar += f'<i style="width:{100 * filled:.0f}%"></i></div>'
    remedy = f'<p class="remedy">{escape(status.remedy)}</p>' if status.remedy else ""
    message = status.message if said.detail != status.message else ""
    line = f'<p class="message">{escape(message)}</p>' if message and status.state is not State.LISTENING else ""
    return (
        f'<section class="card hero {said.tone}" aria-live="polite" data-state="{status.state.value}">'
        f'<p class="sign {tone}"><i aria-hidden="true"></i>{escape(name)}</p>'
        f'<h1 class="answer">{escape(said.title)}</h1>'
        f'<p class="detail">{escape(said.detail)}</p>{bar}{line}{remedy}</section>'
    )


def state_line(counters: Counters | None, filled_s: float, window_s: float, level_dbfs: float) -> str:
    """How it goes, in figures; empty before there are any."""
    if counters is None:
        return '<p class="line" data-line></p>'
    facts = [
        f"window {filled_s:.1f} of {window_s:g} s",
        f"level {level_dbfs:.0f} dBFS" if level_dbfs > -119 else "level: digital silence",
        counted(counters.windows, "window"),
    ]
    if counters.windows:
        facts.append(f"{counters.window_ms:.0f} ms a window")
        facts.append(f"{counters.latency_s * 1000:.0f} ms behind")
    if counters.skipped:
        facts.append(f"{counters.skipped} skipped")
    facts.append(f"{counters.dropped_s:.1f} s dropped")
    joined = " <b aria-hidden=true>\u00b7</b> ".join(map(escape, facts))
    return f'<p class="line" data-line>{joined}</p>'


def bars(
    class_names: Sequence[str],
    prediction: Prediction | None,
    decision: Decision,
    live: bool,
    known_apart: bool = False,
) -> str:
    """A bar a class, with the mark that it must reach; what reaches it has a tick and bold letters.

    known_apart: being any of them is a score of its own: the first bar, and no mark on a class.
    """
    said = prediction if live else None
    scores = said.scores if said is not None else np.zeros(len(class_names), np.float32)
    present = said.present if said is not None else np.zeros(len(class_names), bool)
    shown: Sequence[int] = range(len(class_names))
    if len(class_names) > MOST_BARS:
        shown = sorted(np.argsort(-scores, kind="stable")[:MOST_BARS].tolist())
    rows = [
        _bar(class_names[i], float(scores[i]) if said else None, mark_of(decision, i, known_apart), bool(present[i]))
        for i in shown
    ]
    need = decision.known_threshold if decision.mode == "single" else 0.0
    if known_apart and need > 0:
        known = said.known if said is not None else None
        any_of_them = _bar("Any of these", known, need, known is not None and known >= need, "any")
        rows.insert(0, any_of_them)
    what = "for any of these" if known_apart else "sure"
    note = (
        f'<p class="note">Under {percent(need)} {what}, the line, it says \u201cnothing I know\u201d.</p>'
        if need
        else ""
    )
    return f'<section class="card"><h2>What it could be</h2><ul class="bars">{"".join(rows)}</ul>{note}</section>'


def _bar(name: str, score: float | None, mark: float, here: bool, kind: str = "") -> str:
    """score: None while there is none. mark: what it must reach; 0 is none. here: it does."""
    tick = f'<u style="left:{100 * mark:.1f}%" title="needs {percent(mark)}"></u>' if mark > 0 else ""
    return (
        f'<li class="{kind} {"on" if here else ""}"><span class="name" title="{escape(name)}">{escape(name)}</span>'
        f'<span class="track"><i style="width:{100 * (score or 0):.1f}%"></i>{tick}</span>'
        f'<span class="value">{DASH if score is None else percent(score)}</span>'
        f'<span class="tick" aria-hidden="true">{CHECK if here else ""}</span></li>'
    )


def mark_of(decision: Decision, index: int, known_apart: bool = False) -> float:
    """The score that a class needs. Where being any of them has no score of its own, it is being sure of a class."""
    sure = decision.mode == "single" and not known_apart
    return max(decision.thresholds[index], decision.known_threshold if sure else 0.0)


def recorder(title: str, status: Status, share: float | None) -> str:
    """The card of wav mode. share: of the recording that is done; None while none runs."""
    tone, name = SIGNS[status.state]
    bar = f'<div class="fill" role="progressbar" aria-valuenow="{100 * (share or 0):.0f}" aria-label="recorded"><i '
    bar += f'style="width:{100 * (share or 0):.0f}%"></i></div>'
    detail = "Ten seconds, kept as a WAV file and classified." if share is None else f"{10 * share:.1f} of 10 s"
    said = "" if status.state is State.LISTENING else f'<p class="message">{escape(status.message)}</p>'
    remedy = f'<p class="remedy">{escape(status.remedy)}</p>' if status.remedy else ""
    return (
        f'<section class="card hero {tone}" aria-live="polite" data-state="{status.state.value}">'
        f'<p class="sign {tone}"><i aria-hidden="true"></i>{escape(name)}</p><h1 class="answer">{escape(title)}</h1>'
        f'<p class="detail">{detail}</p>{bar if share is not None else said + remedy}</section>'
    )
