"""A scored recording -> HTML. Pure."""

from collections.abc import Sequence
from html import escape
from pathlib import PurePath

import numpy as np

from app.live.states import State, Status
from app.page.clip import Analysis, Focus
from app.page.parts.sound import band_marks, waveform
from app.page.parts.words import CHECK, NOTHING, clock, hero_of, percent, sureness
from app.page.pictures import mask, mel_picture, mfcc_picture
from classifiers.prediction import Prediction

PLAYER = "clip-player"
"""Key of the container with the player that the buttons move."""

LISTENED = Status(State.LISTENING, "")

MIMES = {
    ".wav": "audio/wav",
    ".flac": "audio/flac",
    ".mp3": "audio/mpeg",
    ".ogg": "audio/ogg",
    ".oga": "audio/ogg",
    ".opus": "audio/ogg",
    ".m4a": "audio/mp4",
    ".mp4": "audio/mp4",
    ".aac": "audio/aac",
    ".webm": "audio/webm",
}


def mime_of(name: str) -> str:
    """What a player is told of a file."""
    return MIMES.get(PurePath(name).suffix.lower(), "audio/wav")


def welcome() -> str:
    """Before the first recording."""
    return (
        '<section class="card hero off"><h1 class="answer">Bring a recording</h1><p class="detail">A minute of street, '
        "an hour of garden: every ten seconds get an answer, with the moments it comes from. It stays on this "
        "machine.</p></section>"
    )


def progress(seconds: float, in_all: float | None) -> tuple[float, str]:
    """What a progress bar shows. in_all: what the file says of its length, which need not be true."""
    if in_all is None or in_all < seconds:
        return 0.0, f"Heard {clock(seconds)} \u2026"
    return seconds / in_all, f"Heard {clock(seconds)} of {clock(in_all)} \u2026"


def summary(analysis: Analysis) -> str:
    """What was heard in the whole recording, in one line."""
    answers = analysis.answers
    title = ", ".join(answers[:3]) if answers else NOTHING
    if len(answers) > 3:
        title += f" and {len(answers) - 3} more"
    count = len(analysis.predictions)
    known = sum(prediction.answer is not None for prediction in analysis.predictions)
    detail = f"{clock(analysis.seconds)} in {count} windows, {known} with a sound it knows"
    if count == 1:
        detail = hero_of(LISTENED, analysis.predictions[0]).detail.replace(", in the last ten seconds", "")
    tone = "answer" if answers else "none"
    trouble = f'<p class="remedy">{escape(analysis.trouble)}</p>' if analysis.trouble else ""
    return (
        f'<section class="card hero {tone}" data-clip><p class="sign off"><i aria-hidden="true"></i>'
        f'{escape(analysis.name)}</p><h1 class="answer">{escape(title)}</h1><p class="detail">{escape(detail)}</p>'
        f"{trouble}</section>"
    )


def windows(analysis: Analysis) -> str:
    """One button a window, on a timeline: what it has, how sure; pressing it plays from there."""
    cells = "".join(_window(prediction, analysis.seconds) for prediction in analysis.predictions)
    return (
        '<section class="card"><h2>Ten seconds at a time</h2>'
        f'<div class="scroll"><div class="windows" style="min-width:{max(20, 6.5 * len(analysis.predictions)):.0f}rem">'
        f'{cells}</div></div><p class="note">Press one to hear it.</p></section>'
    )


def _window(p: Prediction, seconds: float) -> str:
    name, shown = ", ".join(p.names_present) or NOTHING, sureness(p)
    title = f"{p.answer} +{len(p.names_present) - 1}" if len(p.names_present) > 1 else p.answer or "nothing"
    said = f"{clock(p.start_s)} to {clock(p.end_s)}: {name}, {percent(shown)}. Play from here"
    return (
        f'<button type="button" class="{"on" if p.answer else ""}" data-seek="{p.start_s:.2f}" data-player="{PLAYER}" '
        f'style="flex-grow:{(p.end_s - p.start_s) / max(seconds, 1e-6):.4f}" aria-label="{escape(said)}">'
        f'<span>{clock(p.start_s)}</span><b>{escape(title)}</b><i style="width:{100 * shown:.0f}%"></i>'
        f"<small>{percent(shown)}</small></button>"
    )


def pictures(analysis: Analysis) -> str:
    """Waveform, log-mel and MFCC over the whole recording."""
    return (
        f'<section class="card"><h2>How it looks</h2><p class="label">Waveform</p>{waveform(analysis.wave)}'
        '<p class="label">Log-mel spectrogram</p>'
        '<div class="mel" role="img" aria-label="log-mel spectrogram">'
        f'<img src="{mel_picture(analysis.log_mel, 1200)}" alt="" decoding="sync">{band_marks()}</div>'
        '<p class="label">MFCC, coefficient 1 at the bottom</p>'
        f'<div class="mel mfcc" role="img" aria-label="MFCC"><img src="{mfcc_picture(analysis.log_mel, 1200)}" '
        f'alt="" decoding="sync"></div>{axis(analysis.seconds)}</section>'
    )


def axis(seconds: float, marks: int = 5) -> str:
    spans = "".join(f"<span>{clock(seconds * k / marks)}</span>" for k in range(marks + 1))
    return f'<div class="axis" aria-hidden="true">{spans}</div>'


def when(found: Sequence[tuple[Focus, Sequence[float]]], seconds: float) -> str:
    """Attention over time for some classes, with buttons that jump to the strongest moments."""
    rows = []
    for focus, moments in found:
        first, last = 600 * focus.at_s[0] / seconds, 600 * focus.at_s[-1] / seconds
        points = " ".join(
            f"{600 * at / seconds:.1f},{40 - 38 * weight:.1f}"
            for at, weight in zip(focus.at_s, focus.weight, strict=True)
        )
        line = f"M{first:.1f},40 L{points} L{last:.1f},40Z"
        jumps = "".join(
            f'<button type="button" class="jump" data-seek="{max(0.0, at - 0.5):.2f}" data-player="{PLAYER}" '
            f'aria-label="Play {escape(focus.class_name)} at {clock(at)}">\u25b6 {clock(at)}</button>'
            for at in moments
        )
        rows.append(
            f'<li><p class="label"><b>{escape(focus.class_name)}</b> by {focus.how}</p>'
            f'<div class="focus" role="img" aria-label="when {escape(focus.class_name)} was heard">'
            f'<i style="{mask(line, 600, 40)}"></i></div>'
            f'<p class="jumps">{jumps}</p></li>'
        )
    return f'<section class="card"><h2>When it happened</h2><ul>{"".join(rows)}</ul>{axis(seconds)}</section>'


def confidence(analysis: Analysis, most: int = 12) -> str:
    """The highest score of each class in the recording, never above that of being any of them."""
    if not analysis.predictions:
        return ""
    names = analysis.predictions[0].class_names
    highest = np.max([np.minimum(prediction.scores, prediction.known) for prediction in analysis.predictions], axis=0)
    answered = set(analysis.answers)
    rows = "".join(
        f'<li class="{"on" if names[i] in answered else ""}"><span class="name">{escape(names[i])}</span>'
        f'<span class="track"><i style="width:{100 * highest[i]:.1f}%"></i></span>'
        f'<span class="value">{percent(float(highest[i]))}</span>'
        f'<span class="tick" aria-hidden="true">{CHECK if names[i] in answered else ""}</span></li>'
        for i in np.argsort(-highest, kind="stable")[:most]
    )
    return f'<section class="card"><h2>How sure, at best</h2><ul class="bars">{rows}</ul></section>'
