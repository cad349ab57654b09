"""Windows share patches; what comes out is what each window alone would give."""

import numpy as np
import pytest

from app.live.engine import Smoother
from app.live.ring import Ring
from app.live.stream import Window
from classifiers.heads import HeadScores
from tests.app.live.doubles import BandEncoder, WholeEncoder, make_engine, noise


def windows(engine: object, count: int) -> list[Window]:
    grid = engine.grid  # type: ignore[attr-defined]
    return [Window(i, grid.start(i), grid.start(i) + grid.window) for i in range(count)]


@pytest.mark.parametrize("encoder", [BandEncoder(), BandEncoder(hop_s=0.96), WholeEncoder()])
def test_vectors_are_those_of_the_window_alone(encoder: object) -> None:
    engine, signal = make_engine(encoder), noise(30)
    ring = Ring(len(signal))
    ring.push(signal)
    shared = engine.window_encoder()
    for window in windows(engine, 20):
        (alone,) = encoder.encode([signal[window.begin : window.end]])  # type: ignore[attr-defined]
        assert np.array_equal(shared.encode(window, ring.read), alone)


def test_each_patch_is_embedded_once() -> None:
    encoder = BandEncoder()
    engine, signal = make_engine(encoder), noise(40)
    ring = Ring(len(signal))
    ring.push(signal)
    shared = engine.window_encoder()
    for window in windows(engine, 30):
        shared.encode(window, ring.read)
    assert shared.embedded == 19 + 29 * 2
    assert encoder.waveform_samples < 1.6 * len(signal)  # a step of 0.96 s takes log-mel of 1.455 s


@pytest.mark.parametrize("skip", [3, 9, 10, 15])
def test_skipped_windows_leave_no_hole(skip: int) -> None:
    encoder = BandEncoder()
    engine, signal = make_engine(encoder), noise(40)
    ring = Ring(len(signal))
    ring.push(signal)
    shared = engine.window_encoder()
    for window in (windows(engine, 30)[0], windows(engine, 30)[skip]):
        vectors = shared.encode(window, ring.read)
        assert np.array_equal(vectors, encoder.encode([signal[window.begin : window.end]])[0])
    assert shared.embedded == 19 + min(19, 2 * skip)


def test_only_new_samples_are_read() -> None:
    """The ring may have let go of what the patches in hand were made of."""
    engine, signal = make_engine(), noise(40)
    ring = Ring(engine.grid.patch + engine.grid.hop)
    shared = engine.window_encoder()
    big = Ring(len(signal))
    big.push(signal)
    first, second, *_ = windows(engine, 2)
    shared.encode(first, big.read)
    ring.push(signal[: engine.grid.due(1)])
    shared.encode(second, ring.read)


def test_a_waveform_is_scored_as_a_window() -> None:
    engine, signal = make_engine(), noise(10)
    prediction = engine.predict_waveform(signal, key="x", start_s=3.0)
    assert (prediction.key, prediction.start_s, prediction.end_s) == ("x+3000", 3.0, 13.0)


def test_smoothing_is_an_exponential_mean_and_off_at_0() -> None:
    rows = [HeadScores(np.array([[v]], np.float32), known=np.array([v], np.float32)) for v in (1.0, 0.0, 0.0)]
    off, on = Smoother(0.0), Smoother(0.5)
    assert [float(off(row).scores[0, 0]) for row in rows] == [1, 0, 0]
    smooth = [on(row) for row in rows]
    assert [float(row.scores[0, 0]) for row in smooth] == [1, 0.5, 0.25]
    assert [float(row.known[0]) for row in smooth if row.known is not None] == [1, 0.5, 0.25]
