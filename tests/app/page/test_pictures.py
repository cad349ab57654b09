"""Pictures hold what they were made of."""

import base64
import io
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from app.page import pictures
from tests.app.live.doubles import tone


def decoded(uri: str) -> bytes:
    return base64.b64decode(uri.partition(",")[2])


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_a_png_reads_back_as_its_colours(height: int, width: int, seed: int) -> None:
    levels = np.random.default_rng(seed).integers(0, 256, (height, width), np.uint8)
    colours = pictures.colour_table()
    image = Image.open(io.BytesIO(pictures.png(levels, colours))).convert("RGB")
    assert np.array_equal(np.asarray(image), colours[levels])


def test_colours_rise_in_brightness_so_that_grey_tells_the_same() -> None:
    luminance = pictures.colour_table() @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(luminance) > -0.5).all()
    assert luminance[-1] - luminance[0] > 180


@given(st.integers(1, 300), st.integers(1, 60))
def test_shrinking_keeps_short_ones_and_the_mean_of_parts(rows: int, columns: int) -> None:
    values = np.random.default_rng(rows).normal(size=(rows, 3)).astype(np.float32)
    shrunk = pictures.shrink(values, columns)
    assert len(shrunk) == min(rows, columns)
    if rows <= columns:
        assert shrunk is values
    elif rows % columns == 0:
        assert np.allclose(shrunk, values.reshape(columns, -1, 3).mean(axis=1), atol=1e-5)


def test_a_tone_stands_where_the_marks_say() -> None:
    for hz in (500, 1000, 2000, 4000):
        image = Image.open(io.BytesIO(decoded(pictures.mel_picture(pictures.mel_of(tone(hz, 2))))))
        brightest = int(np.asarray(image.convert("L"), float).mean(axis=1).argmax())
        assert 1 - (brightest + 0.5) / image.height == pytest.approx(pictures.mel_band_of(hz), abs=0.02)


def test_empty_and_silent_sound_can_be_drawn() -> None:
    for waveform in (np.zeros(0, np.float32), np.zeros(16_000, np.float32)):
        mels = pictures.mel_of(waveform)
        for uri in (pictures.mel_picture(mels), pictures.mfcc_picture(mels)):
            assert Image.open(io.BytesIO(decoded(uri))).size[0] >= 1
    assert pictures.wave_path(np.zeros((0, 2), np.float32), 600, 72) == "M0 36H600"


def test_a_waveform_stays_in_its_box_however_loud() -> None:
    path = pictures.wave_path(np.array([[-9, 9], [-0.1, 0.2]], np.float32), 100, 40)
    numbers = [
        tuple(map(float, pair.split(","))) for pair in path.replace("M", "").replace("L", "").rstrip("Z").split()
    ]
    assert all(0 <= x <= 100 and -0.5 <= y <= 40.5 for x, y in numbers)
    svg = pictures.mask(path, 100, 40).partition("base64,")[2].partition(")")[0]
    assert ElementTree.fromstring(base64.b64decode(svg)).tag.endswith("svg")


def test_what_is_played_is_what_was_heard() -> None:
    heard = tone(440, 2)
    played, rate = soundfile.read(io.BytesIO(decoded(pictures.mp3(heard))))
    assert len(played) / rate == pytest.approx(2, abs=0.15)
    spectrum = np.abs(np.fft.rfft(played[: rate // 2 * 2]))
    assert np.fft.rfftfreq(rate // 2 * 2, 1 / rate)[spectrum.argmax()] == pytest.approx(440, abs=2)
