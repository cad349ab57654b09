"""Media made on the spot: a chirp whose frequency tells the time, in every container."""

import io
import tempfile
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt

CHIRP_FROM_HZ, CHIRP_HZ_PER_S = 300.0, 100.0


def chirp(duration_s: float, rate: int) -> npt.NDArray[np.float32]:
    """Frequency at t = 300 Hz + 100 Hz/s * t."""
    t = np.arange(round(duration_s * rate)) / rate
    return (0.5 * np.sin(_phase(t))).astype(np.float32)


def _phase(t: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return 2 * np.pi * (CHIRP_FROM_HZ * t + CHIRP_HZ_PER_S * t**2 / 2)


def time_error_s(samples: npt.NDArray[np.float32], rate: int, at_s: float) -> float:
    """How much later than `at_s` the chirp in `samples` (mono) begins: its beat against the true chirp, as time."""
    t = at_s + np.arange(len(samples)) / rate
    beat = samples.astype(np.float64) * np.exp(-1j * _phase(t))
    window = max(1, rate // 100)  # averages the mirror frequency away
    smooth = np.convolve(beat, np.ones(window) / window, "valid")
    slope, _ = np.polyfit(np.arange(len(smooth)) / rate, np.unwrap(np.angle(smooth)), 1, w=np.abs(smooth))
    return float(slope / (2 * np.pi * CHIRP_HZ_PER_S))


CONTAINERS: dict[str, tuple[str, str, int, dict[str, str]]] = {
    # name: format, codec, rate, muxer options
    "opus.webm": ("webm", "libopus", 48_000, {}),
    "opus-cues-first.webm": ("webm", "libopus", 48_000, {"cues_to_front": "1", "reserve_index_space": "4096"}),
    "aac-moov-first.m4a": ("ipod", "aac", 44_100, {"movflags": "faststart"}),
    "aac-moov-last.m4a": ("ipod", "aac", 44_100, {}),
    "aac-dash.mp4": ("mp4", "aac", 44_100, {"movflags": "dash+global_sidx+frag_keyframe+empty_moov+delay_moov",
                                            "frag_duration": "5000000"}),
    "aac-fragments.mp4": ("mp4", "aac", 48_000, {"movflags": "frag_keyframe+empty_moov+delay_moov+default_base_moof",
                                                 "frag_duration": "2000000"}),
    "opus.ogg": ("ogg", "libopus", 48_000, {}),
    "layer3.mp3": ("mp3", "libmp3lame", 44_100, {}),
    "pcm.wav": ("wav", "pcm_s16le", 22_050, {}),
    "lossless.flac": ("flac", "flac", 44_100, {}),
}  # fmt: skip


@cache
def chirp_file(name: str, duration_s: float = 40.0, channels: int = 1) -> bytes:
    """A chirp in one of CONTAINERS."""
    container, codec, rate, options = CONTAINERS[name]
    return encode(chirp(duration_s, rate), rate, container, codec, channels=channels, options=options)


def encode(
    mono: npt.NDArray[np.float32],
    rate: int,
    container: str,
    codec: str,
    *,
    channels: int = 1,
    options: dict[str, str] | None = None,
    bit_rate: int = 128_000,
) -> bytes:
    """`mono` on every channel, encoded and muxed."""
    import av

    layout = {1: "mono", 2: "stereo"}[channels]
    # Some muxers read their own file again, so it must have a name.
    with (
        tempfile.NamedTemporaryFile() as file,
        av.open(file.name, "w", format=container, options=options or {}) as out,
    ):
        stream = out.add_stream(codec, rate=rate, layout=layout)
        stream.bit_rate = bit_rate
        resampler = av.AudioResampler(format=stream.codec_context.format, layout=layout, rate=rate)
        for start in range(0, len(mono), rate):
            block = np.ascontiguousarray(np.tile(mono[None, start : start + rate], (channels, 1)))
            frame = av.AudioFrame.from_ndarray(block, format="fltp", layout=layout)
            frame.sample_rate, frame.pts = rate, start
            for ready in resampler.resample(frame):
                out.mux(stream.encode(ready))
        out.mux(stream.encode(None))
        out.close()
        return Path(file.name).read_bytes()


def wav(mono: npt.NDArray[np.float32], rate: int = 16_000) -> bytes:
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, mono, rate, format="WAV", subtype="PCM_16")
    return buffer.getvalue()
