"""Resampling block by block equals resampling the whole."""

import numpy as np
import pytest
import resampy
import soxr

from ingest.audio.resample import RESAMPLERS, make_resampler

WHOLE = {
    "soxr": lambda x, rate: soxr.resample(x, rate, 16_000),
    "resampy": lambda x, rate: resampy.resample(x, rate, 16_000, filter="kaiser_best"),
}


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 44099, 48000, 96000])
@pytest.mark.parametrize("name", RESAMPLERS)
@pytest.mark.parametrize("block", [7_919, 100_003])
def test_blocks_joined_equal_the_whole(name, rate, block):
    signal = np.random.default_rng(rate).uniform(-1, 1, round(9.3 * rate)).astype(np.float32)
    resampler = make_resampler(name, rate, 16_000)
    parts = [resampler.push(signal[at : at + block]) for at in range(0, len(signal), block)]
    found = np.concatenate([*parts, resampler.finish()])
    np.testing.assert_allclose(found, WHOLE[name](signal, rate), atol=1e-6)
    assert found.dtype == np.float32
    assert max(map(len, parts)) < len(found)  # it really comes in blocks


def test_equal_rates_pass_through():
    block = np.ones(5, np.float32)
    assert make_resampler("resampy", 16_000, 16_000).push(block) is block
