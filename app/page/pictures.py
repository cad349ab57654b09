"""Numbers -> pictures: PNG of spectrograms, SVG of waveforms, MP3 of what was heard. Pure."""

import base64
import io
import struct
import zlib

import numpy as np
import numpy.typing as npt

from embeddings.encoding.spectrogram import cepstra
from embeddings.logmel import HIGH_HZ, LOW_HZ, SAMPLE_RATE, YAMNET_OFFSET, log_mel, mel
from ingest.audio.clip import Waveform

Floats = npt.NDArray[np.float32]

LOUD, QUIET = 3.2, float(np.log(YAMNET_OFFSET))
"""Range of the log-mel colours: from digital silence to about full scale."""

# From night over sea green to sand: dark to light without a jump, so that it reads in grey and to the colour-blind too.
_ANCHORS = ("#0b1620", "#12364a", "#125e69", "#23877a", "#6cb077", "#c3cf7a", "#fdf0b0")


def colour_table(anchors: tuple[str, ...] = _ANCHORS) -> npt.NDArray[np.uint8]:
    """256 colours, uint8 [256, 3], evenly along the anchors."""
    rgb = np.array([[int(a[i : i + 2], 16) for i in (1, 3, 5)] for a in anchors], float)
    at, where = np.linspace(0, 1, 256), np.linspace(0, 1, len(anchors))
    return np.stack([np.interp(at, where, channel) for channel in rgb.T], axis=1).round().astype(np.uint8)


def png(levels: npt.NDArray[np.uint8], colours: npt.NDArray[np.uint8]) -> bytes:
    """An image with a palette.

    Args:
        levels: uint8 [height, width], the colour of each pixel; row 0 is at the top.
        colours: uint8 [256, 3].
    Source:
        PNG specification, third edition, sections 5 and 11.2.
    """

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    height, width = levels.shape
    rows = np.concatenate([np.zeros((height, 1), np.uint8), levels], axis=1)  # each with filter 0 in front
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    parts = (b"IHDR", header), (b"PLTE", colours.tobytes()), (b"IDAT", zlib.compress(rows.tobytes(), 6)), (b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, data) for kind, data in parts)


def shrink(values: Floats, columns: int) -> Floats:
    """Means of neighbouring rows [n, ...], so that at most `columns` are left."""
    if len(values) <= columns:
        return values
    starts = np.arange(columns) * len(values) // columns
    counts = np.diff(np.append(starts, len(values))).astype(np.float32)
    total = np.add.reduceat(values, starts, axis=0)
    return (total / counts.reshape(-1, *[1] * (values.ndim - 1))).astype(np.float32)


def picture(values: Floats, low: float, high: float, columns: int = 480) -> str:
    """Values [time, band] as the `src` of an image, time to the right, band upwards; below `low` is darkest."""
    shrunk = shrink(values, columns) if len(values) else np.full((1, values.shape[1]), low, np.float32)
    levels = np.clip((shrunk - low) / (high - low) * 255, 0, 255).astype(np.uint8)
    return data_uri("image/png", png(np.ascontiguousarray(levels.T[::-1]), colour_table()))


def mel_picture(log_mels: Floats, columns: int = 480) -> str:
    """Log-mel [frames, 64] as the `src` of an image."""
    return picture(log_mels, QUIET, LOUD, columns)


def mel_of(waveform: Waveform) -> Floats:
    """Log-mel float32 [frames, 64] of a waveform at 16 kHz, as the pictures want it."""
    return log_mel(waveform, log_offset=YAMNET_OFFSET)


def mfcc_picture(log_mels: Floats, columns: int = 480) -> str:
    """MFCC as the `src` of an image. Each coefficient is scaled by itself: the first ones would outshine the others."""
    values = cepstra(shrink(log_mels, columns))
    if not len(values):
        return picture(values, 0.0, 1.0)
    spread = values.std(axis=0) + 1e-6
    return picture((values - values.mean(axis=0)) / spread, -2.5, 2.5, columns)


def data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def wave_path(envelope: Floats, width: float, height: float, gain: float = 1.0) -> str:
    """The `d` of an SVG path around lowest and highest samples [columns, 2], silence in the middle of the height."""
    if not len(envelope):
        return f"M0 {height / 2:g}H{width:g}"
    scaled = np.clip(envelope * gain, -1, 1)
    x = (np.arange(len(scaled)) + 0.5) * width / len(scaled)
    # At least a hair thick: a straight line is what silence looks like, not nothing.
    low, high = (1 - scaled[:, 0]) * height / 2 + 0.4, (1 - scaled[:, 1]) * height / 2 - 0.4
    there = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x, high, strict=True))
    back = " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(x[::-1], low[::-1], strict=True))
    return f"M{there} L{back}Z"


def mask(path: str, width: float, height: float) -> str:
    """A path as the CSS of a box that shows its own background through it, so that themes colour it."""
    svg = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" preserveAspectRatio="none">'
        f'<path d="{path}"/></svg>'
    )
    image = f"url({data_uri('image/svg+xml', svg.encode())})"
    return f"-webkit-mask:{image} 0 0/100% 100% no-repeat;mask:{image} 0 0/100% 100% no-repeat"


def mp3(waveform: Waveform, sample_rate: int = SAMPLE_RATE) -> str:
    """Mono samples as the `src` of a player: 4 kB a second, and every browser plays it."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.clip(waveform, -1, 1), sample_rate, format="MP3")
    return data_uri("audio/mpeg", buffer.getvalue())


def mel_band_of(hz: float) -> float:
    """Where a frequency lies on a log-mel picture: 0 at the bottom, 1 at the top."""
    low, high, here = mel([LOW_HZ, HIGH_HZ, hz])
    return float((here - low) / (high - low))
