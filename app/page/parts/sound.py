"""The newest audio -> HTML: its waveform and its log-mel spectrogram. Pure."""

import numpy as np

from app.live.snapshot import Pictures
from app.page.pictures import Floats, mask, mel_band_of, mel_picture, wave_path

MOST_GAIN = 20.0

FULL_SCALE, MOST_FULL = 0.985, 0.1
"""A recording of ordinary peaks touches full scale now and then; one that is cut off there does so all the time, as 4
of ESC-10's 400 clips do."""


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
