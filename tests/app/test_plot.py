"""earshot plot: a picture a file, and what it refuses."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.cli import main
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


@pytest.mark.parametrize(
    ("options", "message"),
    [(["--out", "x.png"], "name a folder"), (["--start", "3", "--out", "x"], "ends before 3 s")],
)
def test_mistakes_are_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    sounds = [write(tmp_path / f"{i}.wav", 0.5) for i in range(2)]
    code, out, err = run(capsys, *sounds, *options)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
