"""A recording gives what `earshot predict` gives, and shows when it happened."""

import csv
import io
import json
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.page import clip
from app.page.clip import Analysis
from app.page.parts import clip as parts
from app.predicting import Predictor, predict_item
from classifiers.prediction import Prediction
from ingest.audio.clip import AudioItem
from ingest.errors import AudioError
from tests.app.live.doubles import make_engine, noise, tone


def write(path: Path, samples: np.ndarray) -> Path:
    soundfile.write(path, samples, 16_000, subtype="FLOAT")
    return path


def with_attention(start_s: float, loud_at: int | None, score: float) -> Prediction:
    """A window of 19 patches where one of them speaks."""
    spoke = np.full((19, 2), 0.01, np.float32)
    if loud_at is not None:
        spoke[loud_at, 0] = 1
    scores = np.array([score, 1 - score], np.float32)
    answer = "Dog" if score > 0.5 else None
    present = np.array([score > 0.5, False])
    return Prediction("k", start_s, start_s + 10, ("Dog", "Rain"), scores, score, present, answer, spoke, spoke)


def test_answers_are_those_of_predict(tmp_path: Path) -> None:
    engine = make_engine()
    path = write(tmp_path / "street.wav", np.concatenate([tone(200, 14), noise(9), tone(5_000, 3.5)]))
    told: list[float] = []
    analysis = clip.analyse(path, "street.wav", engine, progress=told.append)
    expected = predict_item(Predictor(engine.bundle, engine.encoder), AudioItem("street.wav", path, ""))
    assert [p.to_json() for p in analysis.predictions] == [p.to_json() for p in expected.predictions]
    assert analysis.seconds == pytest.approx(26.5)
    assert told == pytest.approx([10, 20, 26.5])
    assert abs(analysis.wave).max() == pytest.approx(0.5, abs=0.1)
    rows = list(csv.DictReader(io.StringIO(clip.as_csv(analysis))))
    assert [float(row["end_s"]) for row in rows] == pytest.approx([10, 20, 26.5])
    assert [float(row["low"]) for row in rows] == pytest.approx(
        [float(p.scores[0]) for p in analysis.predictions], abs=1e-5
    )
    said = json.loads(clip.as_json(analysis, "model"))
    assert said["files"][0]["windows"] == [p.to_json() for p in expected.predictions]


def test_a_long_one_takes_no_more_columns_than_a_screen(tmp_path: Path) -> None:
    path = write(tmp_path / "long.wav", np.tile(noise(10), 10))
    analysis = clip.analyse(path, "long.wav", make_engine())
    assert len(analysis.predictions) == 10
    assert len(analysis.wave) == len(analysis.log_mel) == clip.MOST_COLUMNS


def test_a_broken_file_is_refused_and_a_torn_one_says_so(tmp_path: Path) -> None:
    broken = tmp_path / "text.wav"
    broken.write_text("no sound")
    with pytest.raises(AudioError):
        clip.analyse(broken, "text.wav", make_engine())
    samples = noise(95)
    samples[-8_000] = np.nan
    torn = clip.analyse(write(tmp_path / "torn.wav", samples), "torn.wav", make_engine())
    assert 1 <= len(torn.predictions) < 10
    assert torn.trouble
    assert "torn" in parts.summary(torn)


def test_when_it_happened_is_where_the_attention_is() -> None:
    windows = with_attention(0, None, 0.1), with_attention(10, 6, 0.9), with_attention(20, None, 0.1)
    analysis = Analysis("x", 30, windows, np.zeros((10, 2), np.float32), np.zeros((10, 64), np.float32))
    found = clip.focus(analysis, "Dog", hop_s=0.48, patch_s=0.96)
    assert (found.how, len(found.at_s), found.weight.max()) == ("attention", 57, 1)
    loudest = float(found.at_s[found.weight.argmax()])
    assert loudest == pytest.approx(10 + 6 * 0.48 + 0.48)
    assert clip.moments(found)[:1] == [pytest.approx(loudest)]
    plain = replace(analysis, predictions=tuple(replace(p, attention=None) for p in windows))
    assert clip.focus(plain, "Dog", 0.48, 0.96).how == "patch scores"
    bare = replace(analysis, predictions=tuple(replace(p, attention=None, patch_scores=None) for p in windows))
    whole = clip.focus(bare, "Dog", 0.48, 0.96)
    assert (whole.how, whole.at_s.tolist()) == ("window scores", [5, 15, 25])


def test_progress_is_of_the_length_that_the_file_declares() -> None:
    assert parts.progress(1_160, 3_600) == (pytest.approx(1_160 / 3_600), "Heard 19:20 of 60:00 \u2026")
    assert parts.progress(70, None) == parts.progress(70, 30) == (0.0, "Heard 1:10 \u2026")


def test_a_window_without_an_answer_shows_how_little_is_known() -> None:
    odd = replace(with_attention(0, None, 0.1), known=0.02)
    html = parts.windows(Analysis("x", 10, (odd,), np.zeros((1, 2), np.float32), np.zeros((1, 64), np.float32)))
    assert "<small>2 %</small>" in html
    assert "Nothing I know, 2 %" in html


def test_several_classes_of_a_window_are_all_told() -> None:
    both = replace(with_attention(0, None, 0.9), present=np.array([True, True]))
    analysis = Analysis(
        "x", 20, (both, with_attention(10, None, 0.8)), np.zeros((1, 2), np.float32), np.zeros((1, 64), np.float32)
    )
    assert analysis.answers == ["Dog", "Rain"]
    html = parts.windows(analysis)
    assert "<b>Dog +1</b>" in html
    assert "<b>Dog</b>" in html
    assert "Dog, Rain, 90 %" in html or "Dog, Rain, 89 %" in html


def test_moments_keep_apart_and_in_order() -> None:
    weight = np.zeros(40, np.float32)
    weight[[3, 4, 20, 38]] = 0.9, 1.0, 0.5, 0.2
    found = clip.Focus("Dog", np.arange(40, dtype=np.float32), weight, "attention")
    assert clip.moments(found) == [4, 20]


class Buttons(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[dict[str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "button":
            self.found.append(dict(attrs))


def test_every_window_and_moment_can_be_jumped_to() -> None:
    windows = tuple(with_attention(at, 2, 0.9) for at in (0, 10, 20))
    analysis = Analysis("<i>.wav", 30, windows, np.zeros((10, 2), np.float32), np.zeros((10, 64), np.float32))
    focus = clip.focus(analysis, "Dog", 0.48, 0.96)
    buttons = Buttons()
    buttons.feed(parts.windows(analysis) + parts.when([(focus, clip.moments(focus))], 30))
    places = [float(str(button["data-seek"])) for button in buttons.found]
    assert places == pytest.approx([0, 10, 20, 0.94, 10.94, 20.94], abs=0.02)
    assert {button["data-player"] for button in buttons.found} == {parts.PLAYER}
    assert all(button["aria-label"] for button in buttons.found)
    assert "&lt;i&gt;" in parts.summary(analysis)
    assert parts.pictures(analysis)
    assert parts.confidence(analysis)
