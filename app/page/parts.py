"""What a listener says -> HTML. Pure: snapshots in, text out; every name from outside is escaped."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

import numpy as np

from app.live.activity import ActivityGrid
from app.live.events import Event
from app.live.snapshot import Counters, Pictures
from app.live.states import State, Status
from app.page.pictures import Floats, mask, mel_band_of, mel_picture, wave_path
from classifiers.decision import Decision
from classifiers.prediction import Prediction
from ingest.counted import counted

HEARING = (State.LISTENING, State.OVERLOADED)
"""Only in these states the latest answer is about what sounds now."""

FLOWING = (State.FILLING, State.MUTED, *HEARING)

SIGNS = {
    State.PERMISSION: ("wait", "Waiting for you"),
    State.CONNECTING: ("wait", "Connecting"),
    State.FILLING: ("wait", "Filling"),
    State.LISTENING: ("good", "Listening"),
    State.MUTED: ("bad", "Muted"),
    State.NO_AUDIO: ("bad", "No sound comes"),
    State.OVERLOADED: ("warn", "Behind"),
    State.ENDED: ("off", "Not listening"),
}
"""State -> its tone and its name."""

NOTHING = "Nothing I know"
MOST_GAIN = 20.0
FULL_SCALE, MOST_FULL = 0.985, 0.1
"""A recording of ordinary peaks touches full scale now and then; one that is cut off there does so all the time, as 4
of ESC-10's 400 clips do."""
LATER = '<td class="later"></td>'
DASH, CHECK = "\u2013", "\u2713"
MOST_BARS = 12
"""With more classes the likeliest ones are shown."""


@dataclass(frozen=True, slots=True)
class Hero:
    """The big answer. tone: "answer", "none" or the tone of a state that has none."""

    tone: str
    title: str
    detail: str


def hero_of(status: Status, prediction: Prediction | None) -> Hero:
    """What may be said in one word: an answer only while sound comes and was scored."""
    tone, name = SIGNS[status.state]
    if status.state in HEARING and prediction is not None:
        if prediction.answer is not None:
            score = dict(prediction.top())[prediction.answer]
            others = [name for name, here in zip(prediction.class_names, prediction.present, strict=True) if here]
            others = [name for name in others if name != prediction.answer]
            also = f" \u00b7 also {', '.join(others[:3])}" if others else ""
            return Hero("answer", prediction.answer, f"{percent(score)} sure, in the last ten seconds{also}")
        return Hero("none", NOTHING, why_nothing(prediction))
    titles = {
        State.FILLING: "Listening \u2026",
        State.MUTED: "Muted",
        State.ENDED: "Not listening",
        State.NO_AUDIO: "I hear nothing",
        State.PERMISSION: "May I listen?",
        State.CONNECTING: "Connecting \u2026",
    }
    return Hero(tone, titles.get(status.state, name), status.message)


def why_nothing(prediction: Prediction) -> str:
    """Why there is no answer. A class may be likely among the classes, and yet none of them likely at all."""
    best, score = prediction.top(1)[0]
    if prediction.known < score:
        return f"Only {percent(prediction.known)} sure that it is any of my sounds; of these, {best} is the closest"
    return f"Closest is {best} at {percent(score)}: not enough to say so"


def sureness(prediction: Prediction) -> float:
    """How sure the answer is; of none, how sure it would have been: no more than that it is any class at all."""
    if prediction.answer is not None:
        return dict(prediction.top())[prediction.answer]
    return min(prediction.known, prediction.top(1)[0][1])


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


def now_pictures(pictures: Pictures | None, window_s: float) -> str:
    """The waveform and the log-mel spectrogram of the newest audio, new at the right."""
    wave, image, share = np.zeros((0, 2), np.float32), "", 0.0
    if pictures is not None and len(pictures.waveform):
        wave, share = pictures.waveform, min(1.0, (pictures.end_s - pictures.start_s) / window_s)
        image = f'<img src="{mel_picture(pictures.log_mel)}" alt="" decoding="sync" style="width:{100 * share:.1f}%">'
    marks = "".join(f"<span>{-window_s * (1 - k / 5):.0f} s</span>" for k in range(5)) + "<span>now</span>"
    return (
        f'<section class="card"><h2>The last ten seconds</h2>{waveform(wave, share)}'
        f'<div class="mel" role="img" aria-label="log-mel spectrogram, 125 to 7500 Hz">{image}{band_marks()}</div>'
        f'<div class="axis" aria-hidden="true">{marks}</div>{_too_loud(wave)}</section>'
    )


def _too_loud(envelope: Floats) -> str:
    """A word where much of the sound is cut off at full scale, which no model was taught."""
    full = float((np.abs(envelope).max(axis=1) >= FULL_SCALE).mean()) if len(envelope) else 0.0
    if full < MOST_FULL:
        return ""
    return (
        '<p class="note loud">Too loud: it is cut off at full scale. Turn the microphone down, or go further away.</p>'
    )


def waveform(envelope: Floats, share: float = 1.0) -> str:
    """Lowest and highest samples [columns, 2], at the right end of the box; enlarged when quiet, and then it says so.

    share: of the box that they take.
    """
    peak = float(np.abs(envelope).max()) if len(envelope) else 0.0
    gain = min(MOST_GAIN, 0.95 / max(peak, 1e-4)) if peak else 1.0
    style = mask(wave_path(envelope, 600, 72, max(1.0, gain)), 600, 72)
    enlarged = f"<em>\u00d7{gain:.0f}</em>" if gain >= 2 else ""
    return (
        f'<div class="wave" role="img" aria-label="waveform, peak {peak:.3f} of full scale">'
        f'<i style="width:{100 * share:.1f}%;{style}"></i>{enlarged}</div>'
    )


def band_marks() -> str:
    """Where the frequencies lie on a log-mel picture."""
    places = ((500, "0.5 kHz"), (1000, "1 kHz"), (2000, "2 kHz"), (4000, "4 kHz"))
    return "".join(f'<em style="bottom:{100 * mel_band_of(hz):.0f}%">{text}</em>' for hz, text in places)


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


def percent(value: float) -> str:
    """0.934 -> '93 %'; never '100 %' for what is not quite sure."""
    return f"{min(99, int(100 * value)) if value < 1 else 100} %"


def clock(seconds: float) -> str:
    """75.2 -> '1:15'."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def minute_label(started_at: float | None, minute: int) -> str:
    """The time of day of a minute of the session, in the server's zone; '+7 min' when unknown."""
    if started_at is None:
        return f"+{minute} min"
    return time.strftime("%H:%M", time.localtime(started_at + 60 * minute))


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


def missing_models(found: Sequence[tuple[str, str]]) -> str:
    """Models that are here and cannot run, each with what would mend it."""
    rows = "".join(f"<li><b>{escape(name)}</b> {_with_code(why)}</li>" for name, why in found)
    return f'<section class="card"><h2>Cannot run here</h2><ul class="missing">{rows}</ul></section>'


def _with_code(text: str) -> str:
    """What stands between backticks is set as code."""
    parts = escape(text).split("`")
    return "".join(f"<code>{part}</code>" if i % 2 else part for i, part in enumerate(parts))
