"""What the hand-crafted features see of a sound, as one picture: arrays in, a matplotlib figure out.

matplotlib takes a second to import, so it is imported when a picture is drawn.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from embeddings.encoding.handcrafted import CHROMAS, HOP, MFCCS, SAMPLE_RATE, frame_features
from embeddings.encoding.spectrogram import log_mel_frames
from embeddings.logmel import HIGH_HZ, LOW_HZ, WINDOW, mel
from embeddings.logmel import HOP as MEL_HOP
from ingest.audio.clip import Waveform

SIZE_INCHES = (9.0, 10.0)
SHORTEST = SAMPLE_RATE // 10
"""Samples. What is shorter has no frame to show; it is drawn with silence behind it."""
INK, SOFT, GRID = "#24303c", "#5b6b7a", "#d9e0e6"
LINES = ("#1f6f8b", "#c8553d", "#7a8b3c")
NOTES = ("C", "", "D", "", "E", "F", "", "G", "", "A", "", "B")
STYLE = {
    "font.size": 8.5,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": SOFT,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "xtick.color": SOFT,
    "ytick.color": SOFT,
    "axes.titlelocation": "left",
    "axes.titlesize": 9,
    "legend.frameon": False,
}


def draw_features(waveform: Waveform, title: str, start_s: float = 0.0, families: Sequence[str] = ()) -> Any:
    """Waveform, log-mel, MFCC, chroma and spectral shape, one under the other on one time axis.

    Args:
        waveform: float32 [samples] at 16 kHz, at least one.
        title: any text, on one line; `embeddings.lettering` makes one of the name of any file.
        start_s: where it begins in its file, for the axis.
        families: fonts of the title, matplotlib's own by default.
    Returns:
        matplotlib.figure.Figure, of no window and no global state: `figure.savefig(path)` writes it.
    """
    import matplotlib
    from matplotlib.figure import Figure

    waveform = np.pad(waveform, (0, max(0, SHORTEST - len(waveform))))
    frames, tempo_bpm = frame_features(waveform)
    end_s = start_s + len(waveform) / SAMPLE_RATE
    with matplotlib.rc_context(STYLE):
        figure = Figure(SIZE_INCHES, dpi=120, layout="constrained")
        axes = figure.subplots(5, 1, sharex=True, height_ratios=(1, 2, 1.6, 1.6, 1.8))
        own = {"family": list(families)} if families else {}
        figure.suptitle(title, x=0.01, ha="left", fontsize=10, color=INK, parse_math=False, **own)
        _draw_waveform(axes[0], waveform, start_s)
        axes[0].set_title(f"tempo, if it has one: {tempo_bpm:.0f} a minute", loc="right", color=SOFT)
        mel = log_mel_frames(waveform)
        span_s = _span_s(start_s, len(mel), MEL_HOP, WINDOW // 2)
        _draw_image(axes[1], mel.T, span_s, "log-mel spectrogram", colours="magma")
        _label_mel(axes[1], mel.shape[1])
        cepstra = _standardised(frames[1:MFCCS])
        span_s = _span_s(start_s, frames.shape[1], HOP, 0)
        _draw_image(axes[2], cepstra, span_s, "MFCC 1 to 19, each in its own spread", colours="RdBu_r", limits=(-3, 3))
        axes[2].set_yticks(np.arange(0, MFCCS - 1, 6) + 0.5, range(1, MFCCS, 6))
        _draw_image(axes[3], frames[MFCCS : MFCCS + CHROMAS], span_s, "chroma", colours="Blues", limits=(0, 1))
        axes[3].set_yticks(np.arange(CHROMAS) + 0.5, NOTES)
        _draw_shape(axes[4], frames[MFCCS + CHROMAS :], start_s)
        axes[4].set(xlabel="seconds", xlim=(start_s, end_s))
    return figure


def _span_s(start_s: float, frames: int, hop: int, first: int) -> tuple[float, float]:
    """Where `frames` columns begin and end on the axis, the first of which is centred on sample `first`."""
    begin_s = start_s + (first - hop / 2) / SAMPLE_RATE
    return begin_s, begin_s + frames * hop / SAMPLE_RATE


def _draw_waveform(axis: Any, waveform: Waveform, start_s: float) -> None:
    """Its lowest and highest sample in each of at most 2,000 stretches: every peak shows, however long the sound."""
    step = -(-len(waveform) // 2000)
    stretches = np.pad(waveform, (0, -len(waveform) % step), mode="edge").reshape(-1, step)
    times_s = start_s + np.arange(len(stretches)) * step / SAMPLE_RATE
    axis.fill_between(times_s, stretches.min(axis=1), stretches.max(axis=1), color=LINES[0], linewidth=0.4)
    axis.set_title("waveform")


def _draw_image(
    axis: Any,
    rows: Any,
    span_s: tuple[float, float],
    title: str,
    *,
    colours: str,
    limits: tuple[float, float] | tuple[None, None] = (None, None),
) -> None:
    """[rows, frames] as colours, row 0 at the bottom. limits: the values of the first colour and the last."""
    axis.imshow(
        rows,
        origin="lower",
        aspect="auto",
        interpolation="nearest",
        cmap=colours,
        vmin=limits[0],
        vmax=limits[1],
        extent=(*span_s, 0, len(rows)),
    )
    axis.set_title(title)
    axis.tick_params(length=0)


def _label_mel(axis: Any, bands: int) -> None:
    hz = np.array([250, 500, 1000, 2000, 4000])
    low, high, *marks = mel([LOW_HZ, HIGH_HZ, *hz])
    places = (np.array(marks) - low) / (high - low) * (bands + 1) - 0.5
    axis.set_yticks(places, [f"{f:,} Hz" for f in hz])


def _draw_shape(axis: Any, shape: Any, start_s: float) -> None:
    """Centroid with bandwidth around it, roll-off, and zero crossings as the frequency that would have them."""
    centroid, bandwidth, rolloff, crossings = shape
    times_s = start_s + np.arange(len(centroid)) * HOP / SAMPLE_RATE
    axis.fill_between(
        times_s, np.maximum(centroid - bandwidth, 0), centroid + bandwidth, color=LINES[0], alpha=0.15, linewidth=0
    )
    for values, name, colour in (
        (centroid, "centroid, ± bandwidth", LINES[0]),
        (rolloff, "roll-off", LINES[1]),
        (crossings * SAMPLE_RATE / 2, "half the zero crossings a second", LINES[2]),
    ):
        axis.plot(times_s, values, color=colour, linewidth=1, label=name)
    axis.set(ylabel="Hz", ylim=(0, SAMPLE_RATE / 2))
    axis.set_title("spectral shape")
    axis.grid(axis="y", color=GRID, linewidth=0.6)
    axis.legend(loc="lower right", bbox_to_anchor=(1, 1), borderaxespad=0, ncols=3)


def _standardised(rows: Any) -> Any:
    spread = rows.std(axis=1, keepdims=True)
    return (rows - rows.mean(axis=1, keepdims=True)) / np.where(spread > 0, spread, 1)
