"""An hour of audio in a few minutes or less: memory flat, not a sample lost."""

import ctypes
import gc
import time
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from app.live.chunks import from_pcm16
from app.live.hub import ListenerHub
from app.live.settings import LiveSettings
from tests.app.live.doubles import make_engine

HOUR_S = 3_600
CHUNK = 320  # samples: 20 ms
STATM = Path("/proc/self/statm")


def block(number: int) -> np.ndarray:
    """Ten seconds of the hour, int16."""
    level = 200 + 4_000 * (number % 7)
    return np.random.default_rng(number).integers(-level, level, 160_000, np.int16)


def resident_mb() -> float:
    """Without what the allocator keeps for later, which comes and goes by 10 MB."""
    gc.collect()
    with suppress(AttributeError):  # of glibc
        ctypes.CDLL(None).malloc_trim(0)
    return int(STATM.read_text().split()[1]) * 4_096 / 1e6


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.skipif(not STATM.exists(), reason="needs /proc")
def test_an_hour_at_twenty_times_real_time() -> None:
    engine = make_engine()
    begun = time.monotonic()
    seen: list[tuple[float, np.ndarray]] = []
    settled_mb = 0.0
    with ListenerHub(engine, LiveSettings(skip_after=1_000)) as hub:
        listening = hub.open()
        for number in range(HOUR_S // 10):
            data = block(number).astype("<i2").tobytes()
            for at in range(0, len(data), 2 * CHUNK):
                while listening.room_s < 1:
                    time.sleep(0.0005)
                listening.push(from_pcm16(data[at : at + 2 * CHUNK]))
            if number == 100:  # history and kept audio are full
                settled_mb = resident_mb()
            if number % 50 == 49 and (latest := listening.snapshot().prediction):
                seen.append((latest.start_s, latest.scores))
        grown_mb = resident_mb() - settled_mb
        listening.finish()
        assert listening.wait_ended(30)
    took_s = time.monotonic() - begun
    counters = listening.snapshot().counters
    assert (counters.skipped, counters.dropped_s, counters.runs) == (0, 0, 1)
    assert counters.audio_s == pytest.approx(HOUR_S)
    assert counters.windows == engine.grid.windows_due(HOUR_S * 16_000) == 3_740
    assert listening.activity().windows.sum() == counters.windows
    assert len(seen) == 7
    for start_s, scores in seen:  # late windows are where they say that they are, to the sample
        first, offset = divmod(round(start_s * 16_000), 160_000)
        audio = np.concatenate([block(first), block(first + 1)])[offset : offset + 160_000]
        alone = engine.predict_waveform((audio / 32_768).astype(np.float32))
        assert np.array_equal(scores, alone.scores)
    assert grown_mb < 8
    assert took_s < HOUR_S / 20
