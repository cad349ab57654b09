"""Audio files for tests, written on the spot."""

from pathlib import Path

import av
import numpy as np
import soundfile

RATE = 44_100


def tone(seconds: float, rate: int = RATE, *, hz: float = 440.0, level: float = 0.3) -> np.ndarray:
    """A sine in faint noise: float32 [samples]."""
    n = round(seconds * rate)
    noise = np.random.default_rng(n).standard_normal(n) * 0.01
    return (level * np.sin(2 * np.pi * hz * np.arange(n) / rate) + noise).astype(np.float32)


def write(path: Path, samples: np.ndarray, rate: int = RATE, **options: str) -> Path:
    """Write [samples] or [samples, channels] with soundfile; the suffix names the format."""
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, samples, rate, **options)
    return path


def write_av(path: Path, samples: np.ndarray, codec: str, rate: int = 48_000, **options: str) -> Path:
    """Encode mono [samples] with FFmpeg: m4a, mp4 and mov with 'aac', webm and opus with 'libopus'."""
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
        frame.sample_rate = rate
        splitter = av.AudioResampler(stream.codec_context.format, "mono", rate, stream.codec_context.frame_size)
        for piece in (*splitter.resample(frame), *splitter.resample(None), None):
            container.mux(stream.encode(piece))
    return path


def write_video(path: Path) -> Path:
    """A film without sound."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 64
        stream.pix_fmt = "yuv420p"
        for _ in range(5):
            container.mux(stream.encode(av.VideoFrame(64, 64, "yuv420p")))
        container.mux(stream.encode(None))
    return path


def truncate(path: Path, share: float = 0.6) -> Path:
    """Cut a file to a share of its bytes."""
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])
    return path
