"""Any chunking of the same audio gives the same windows, bit for bit, and those of a file of it."""

from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from app.live.chunks import Chunk
from app.live.grid import make_grid
from app.live.stream import Stream, Window
from ingest.audio.windows import read_clip
from tests.app.live.doubles import RATE, BandEncoder, WholeEncoder

GRID = make_grid(BandEncoder(), 0.96)  # type: ignore[arg-type]


@cache
def source(rate: int, channels: int) -> np.ndarray:
    """12.3 s of int16 noise [n, channels]."""
    return np.random.default_rng(rate + channels).integers(-9_000, 9_000, (round(12.3 * rate), channels), np.int16)


@cache
def as_a_file(rate: int, channels: int) -> np.ndarray:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.wav"
        soundfile.write(path, source(rate, channels), rate)
        return read_clip(path, sample_rate=RATE).waveform


def windows_of(rate: int, channels: int, sizes: list[int]) -> list[tuple[Window, np.ndarray]]:
    samples, stream = source(rate, channels), Stream(GRID, rate)
    found, at, step = [], 0, 0
    while at < len(samples):
        size = sizes[step % len(sizes)]
        stream.push(Chunk(samples[at : at + size], rate))
        at, step = at + size, step + 1
        found += [(w, stream.ring.read(w.begin, w.begin + GRID.reach)) for w in stream.take_due()]
    stream.finish()
    found += [(w, stream.ring.read(w.begin, w.begin + GRID.reach)) for w in stream.take_due()]
    return found


@settings(max_examples=25)
@given(
    st.sampled_from([(48_000, 2), (16_000, 1), (44_100, 1), (8_000, 2)]),
    st.lists(st.integers(1, 30_000).filter(lambda size: size > 100), min_size=1, max_size=12),
)
def test_any_chunking_gives_the_windows_of_the_file(form: tuple[int, int], sizes: list[int]) -> None:
    found = windows_of(*form, sizes)
    whole = as_a_file(*form)
    assert len(found) == GRID.windows_due(len(whole)) == 3
    for index, (window, samples) in enumerate(found):
        assert (window.index, window.begin, window.end) == (index, index * 15_360, index * 15_360 + 160_000)
        assert np.array_equal(samples, whole[window.begin : window.begin + GRID.reach])


def test_sample_by_sample() -> None:
    samples = source(8_000, 2)[: 8_000 * 2]
    stream, whole = Stream(GRID, 8_000), Stream(GRID, 8_000)
    for at in range(len(samples)):
        stream.push(Chunk(samples[at : at + 1], 8_000))
    whole.push(Chunk(samples, 8_000))
    for each in (stream, whole):
        each.finish()
    assert np.array_equal(stream.newest(10), whole.newest(10))


def test_the_grid_of_yamnet() -> None:
    assert (GRID.patches, GRID.patches_per_step, GRID.reach) == (19, 2, 153_840)
    assert GRID.patch_range(3) == (6, 25)
    assert GRID.samples_of(6, 25) == (46_080, 46_080 + 153_840)
    assert [GRID.windows_due(n) for n in (153_839, 153_840, 169_199, 169_200)] == [0, 1, 1, 2]


def test_the_grid_of_vggish_and_of_whole_windows() -> None:
    vggish = make_grid(BandEncoder(hop_s=0.96), 0.96)  # type: ignore[arg-type]
    assert (vggish.patches, vggish.patches_per_step, vggish.reach) == (10, 1, 153_840)
    whole = make_grid(WholeEncoder(), 1.0)
    assert (whole.patches, whole.step, whole.reach, whole.windows_due(160_000)) == (0, 16_000, 160_000, 1)


def test_a_step_is_a_whole_number_of_hops() -> None:
    assert [make_grid(BandEncoder(), s).step for s in (0.1, 0.6, 1.0, 1.3)] == [7_680, 7_680, 15_360, 23_040]  # type: ignore[arg-type]


def test_how_much_is_missing_and_filled() -> None:
    stream = Stream(GRID, RATE)
    stream.push(Chunk(np.ones((64_000, 1), np.float32), RATE))
    assert stream.filled_s == 4.0
    assert stream.missing_s == pytest.approx(9.615 - 4)
    stream.push(Chunk(np.ones((160_000, 1), np.float32), RATE))
    assert stream.filled_s == 10.0
    assert len(stream.take_due()) == 5
    assert stream.missing_s == pytest.approx(5 * 0.96 + 9.615 - 14)


def test_silence_is_told_to_the_sample() -> None:
    stream = Stream(GRID, RATE)
    loud, quiet = np.full((1_000, 1), 0.1, np.float32), np.zeros((160_000, 1), np.float32)
    stream.push(Chunk(np.concatenate([quiet[:500], loud, quiet[:700]]), RATE))
    assert stream.silent_s == 700 / RATE
    stream.push(Chunk(quiet, RATE))
    assert stream.silent_s == 160_700 / RATE
    assert [window.silent for window in stream.take_due()] == [False]
    stream.push(Chunk(quiet, RATE))
    assert all(window.silent for window in stream.take_due())


def test_what_is_too_short_for_a_window_is_one_at_the_end() -> None:
    stream = Stream(GRID, RATE)
    stream.push(Chunk(np.ones((80_000, 1), np.float32), RATE))
    stream.finish()
    assert stream.take_due() == []
    assert stream.take_rest() == Window(0, 0, 80_000, whole=False)
    assert stream.take_rest() is None
