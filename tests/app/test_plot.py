"""earshot plot: a picture a file, and what it refuses."""

from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import soundfile
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager

from app.cli import main
from embeddings.lettering import _fonts_for, letter
from embeddings.plot import draw_features

RATE = 16_000


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["plot", *map(str, argv)])
    captured = capsys.readouterr()
    code = left.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


def write(path: Path, seconds: float = 3.0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    time_s = np.arange(round(seconds * RATE)) / RATE
    soundfile.write(path, 0.3 * np.sin(2 * np.pi * (300 + 200 * time_s) * time_s), RATE)
    return path


def test_the_picture_shows_the_sound_on_its_time_axis() -> None:
    silence_then_noise = np.zeros(2 * RATE, np.float32)
    silence_then_noise[RATE:] = np.random.default_rng(0).uniform(-0.5, 0.5, RATE)
    figure = draw_features(silence_then_noise, "a sound", start_s=60)
    waveform, mel, _, chroma, shape = figure.axes
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "waveform", "log-mel spectrogram", "MFCC 1 to 19, each in its own spread", "chroma", "spectral shape",
    ]  # fmt: skip
    assert waveform.get_xlim() == shape.get_xlim() == (60, 62)
    bands = mel.images[0].get_array()
    assert bands.shape == (64, 198)
    assert bands[:, :90].max() < bands[:, 110:].min()
    assert chroma.images[0].get_array().shape[0] == 12
    centroid = shape.lines[0].get_ydata()
    assert centroid[:40].max() == 0
    assert 3000 < np.median(centroid[60:]) < 5000


def test_a_stretch_of_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound, picture = write(tmp_path / "-a sound.wav"), tmp_path / "new" / "sound.svg"
    code, out, _ = run(capsys, "--start", "1.5", "--seconds", "1", "--out", picture, "--", sound)
    assert (code, out) == (0, f"{picture}\n")
    assert "<svg" in picture.read_text()
    assert [path.name for path in picture.parent.iterdir()] == ["sound.svg"]


def test_a_folder_of_pictures_names_what_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sounds = [write(tmp_path / name / "sound.wav", 0.5) for name in ("one", "two")]
    (tmp_path / "bad.wav").write_text("no audio")
    code, _, err = run(capsys, *sounds, tmp_path / "bad.wav", "--out", tmp_path / "pictures")
    assert code == 1
    assert "bad.wav" in err
    assert sorted(path.name for path in (tmp_path / "pictures").iterdir()) == ["sound-2.png", "sound.png"]


def test_folders_are_drawn_and_a_file_that_is_too_short_does_not_end_the_batch(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    short, long = write(tmp_path / "sounds" / "1 short.wav", 0.5), write(tmp_path / "sounds" / "2 long.wav", 3.0)
    code, _, err = run(capsys, tmp_path / "sounds", "--start", "1", "--out", tmp_path / "pictures")
    assert code == 1
    assert f"earshot: {short}: ends before 1 s; give a smaller --start" in err.splitlines()
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == [f"{long.stem}.png"]


ODD_NAMES = ("$\\frac.wav", "نمی\u200cدانم.wav", "two\nlines.wav", "very_long_" * 24 + ".wav")


@pytest.mark.parametrize("name", ODD_NAMES)
def test_any_name_can_be_drawn_and_fits(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = write(tmp_path / "sound.wav", 0.2).rename(tmp_path / name)
    code, _, err = run(capsys, sound, "--out", tmp_path / "pictures")
    assert (code, err) == (0, "")
    assert [path.name for path in (tmp_path / "pictures").iterdir()] == [f"{sound.stem}.png"]
    assert len(letter(name).text) < 100
    assert letter(name).missing == ""


NOWHERE = "\U0001fa2b"
"""A chess piece of 2020, in no font that is likely to be installed; the tests make one."""


@pytest.fixture(params=[400], ids=["regular"])
def chess_font(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Path]:
    """A font of one letter, of which matplotlib knows nothing before the test and nothing after it; of a weight."""
    builder = FontBuilder(1000)
    builder.setupGlyphOrder([".notdef", "piece"])
    builder.setupCharacterMap({ord(NOWHERE): "piece"})
    pen = TTGlyphPen(None)
    pen.moveTo((0, 0))
    for corner in ((0, 700), (500, 0)):
        pen.lineTo(corner)
    pen.closePath()
    builder.setupGlyf({".notdef": TTGlyphPen(None).glyph(), "piece": pen.glyph()})
    builder.setupHorizontalMetrics({".notdef": (500, 0), "piece": (600, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Chess of 2020", "styleName": "Regular", "psName": "Chess"})
    builder.setupOS2(usWeightClass=request.param)
    builder.setupPost()
    builder.save(tmp_path / "chess.ttf")
    before = list(fontManager.ttflist)
    _fonts_for.cache_clear()
    yield tmp_path / "chess.ttf"
    fontManager.ttflist[:] = before
    _fonts_for.cache_clear()


@pytest.mark.parametrize("chess_font", [400, 100], ids=["regular", "thin"], indirect=True)
def test_letters_come_from_whatever_installed_font_has_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], chess_font: Path
) -> None:
    fontManager.addfont(chess_font)
    title = letter(f"a {NOWHERE} b")
    assert (title.drawable, title.missing) == (f"a {NOWHERE} b", "")
    assert title.families[-1] == "Chess of 2020"
    code, _, err = run(capsys, write(tmp_path / f"{NOWHERE}.wav"), "--out", tmp_path / "x.pdf")
    assert (code, err) == (0, "")
    assert b"Chess" in (tmp_path / "x.pdf").read_bytes()


def test_a_font_that_was_installed_since_matplotlib_looked_is_found(
    monkeypatch: pytest.MonkeyPatch, chess_font: Path, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.ttf"
    broken.write_bytes(b"no font")
    monkeypatch.setattr("matplotlib.font_manager.findSystemFonts", lambda: [str(broken), str(chess_font)])
    assert letter(NOWHERE).missing == ""


def test_letters_of_no_font_are_told_once_and_drawn_as_no_boxes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert letter(f"a {NOWHERE}{NOWHERE} {NOWHERE}.wav").drawable == "a […].wav"
    sounds = [write(tmp_path / f"{NOWHERE} {i}.wav", 0.3) for i in range(2)]
    code, _, err = run(capsys, *sounds, "--out", tmp_path / "pictures")
    assert code == 0
    assert err.startswith(f"note: no font of this machine has {NOWHERE}, so")
    assert len(err.splitlines()) == 1


def test_the_letters_of_an_svg_are_left_to_who_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, write(tmp_path / f"鳥 <& {NOWHERE}.wav"), "--out", tmp_path / "x.svg")
    assert (code, err) == (0, "")
    texts = [element.text for element in ElementTree.parse(tmp_path / "x.svg").iter("{http://www.w3.org/2000/svg}text")]
    assert f"鳥 <& {NOWHERE}.wav" in texts
    assert "waveform" in texts


def test_a_click_stands_at_its_time_in_every_row() -> None:
    click = np.zeros(2 * RATE, np.float32)
    click[RATE] = 1
    axes = draw_features(click, "a click", start_s=5).figure.axes
    for axis in axes[1:4]:
        image = axis.images[0]
        begin_s, end_s, _, _ = image.get_extent()
        loud = np.flatnonzero(np.ptp(image.get_array() - image.get_array()[:, :1], axis=0) > 0.1)
        at_s = begin_s + (loud.mean() + 0.5) * (end_s - begin_s) / image.get_array().shape[1]
        assert at_s == pytest.approx(6, abs=0.011), axis.get_title(loc="left")


def test_a_file_alone_is_told_of_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = run(capsys, tmp_path / "gone.wav", "--out", tmp_path / "x.png")
    assert (code, out) == (1, "")
    assert err == f"earshot: {tmp_path / 'gone.wav'}: there is no such file; check the path, or list the folder again\n"


@pytest.mark.parametrize("samples", [1, 2, 399, 1023, RATE])
def test_what_is_short_or_silent_is_drawn_as_that(samples: int) -> None:
    figure = draw_features(np.zeros(samples, np.float32), "nothing")
    waveform, _, mfcc, chroma, shape = figure.axes
    assert waveform.get_xlim() == (0, max(0.1, samples / RATE))
    for axis, limits in ((mfcc, (-3, 3)), (chroma, (0, 1))):
        assert axis.images[0].get_clim() == limits  # 0 has the colour of 0
        assert (axis.images[0].get_array() == 0).all()
    assert len(shape.lines[0].get_xdata()) > 1


def test_the_legend_and_the_curves_stand_apart() -> None:
    figure = draw_features(np.random.default_rng(0).uniform(-1, 1, RATE).astype(np.float32), "noise")
    figure.draw_without_rendering()
    axis = figure.axes[4]
    assert axis.get_legend().get_window_extent().y0 >= axis.get_window_extent().y1


def test_what_is_there_decides_whether_out_is_a_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    sound = write(tmp_path / "sound.wav", 0.3)
    (tmp_path / "folder.png").mkdir()
    code, out, _ = run(capsys, sound, "--out", tmp_path / "folder.png")
    assert (code, out) == (0, f"{tmp_path / 'folder.png' / 'sound.png'}\n")
    (tmp_path / "file").touch()
    code, out, err = run(capsys, sound, "--out", tmp_path / "file")
    assert (code, out) == (2, "")
    assert "--out: takes a .png, .svg, .pdf or a folder, got" in err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--out", "x.png"], "name a folder"),
        (["--out", "x.jpg"], "--out: takes a .png, .svg, .pdf or a folder, got x.jpg"),
        (["--start", "nan", "--out", "x"], "'nan' is not a finite number"),
        (["--start", "inf", "--out", "x"], "'inf' is not a finite number"),
        (["--seconds", "nan", "--out", "x"], "'nan' is not a finite number"),
    ],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    sounds = [write(tmp_path / f"{i}.wav", 0.5) for i in range(2)]
    code, out, err = run(capsys, *sounds, *options)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
