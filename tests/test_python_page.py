"""docs/python.md: its blocks run, one after the other, and so does its command."""

import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from app.cli import main
from app.predicting import Predictor, load_predictor
from ingest.errors import InvalidSamplesError, UsageError

PAGE = Path(__file__).parents[1] / "docs" / "python.md"
MODEL, TO_VECTORS = "## A model on sound", "## Sound to vectors"


def blocks_of(text: str, language: str = "python") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.slow
def test_every_block_of_the_page_runs(shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model that it begins with is the one that it makes further down, so that its first part is run last."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EARSHOT_WEIGHTS", str(shared / "models"))
    for name in ("Rain", "Rooster"):
        folder = tmp_path / "sounds" / name.lower()
        folder.mkdir(parents=True)
        for sound in sorted(shared.glob(f"esc10/* - {name}/*.ogg"))[:12]:
            shutil.copy(sound, folder)
    shutil.copy(sound, "street.wav")  # Ogg in truth: the content says what a file is
    run("earshot ingest folder sounds --out clips")

    text = PAGE.read_text()
    names: dict[str, Any] = {}
    begin, end = text.index(MODEL), text.index(TO_VECTORS)
    for block in [*blocks_of(text[end:]), *blocks_of(text[begin:end])]:
        line = text[: text.index(block)].count("\n")
        exec(compile("\n" * line + block, str(PAGE), "exec"), names)

    assert len(names["same"]) == 1
    np.testing.assert_array_equal(names["same"][0].waveform, names["clips"][0].waveform)
    of_file, of_samples = names["predictor"].predict_file("street.wav"), names["windows"]
    for a, b in zip(of_file, of_samples, strict=True):
        np.testing.assert_array_equal(a.scores, b.scores)
    _whatever_the_samples_are_made_of(names["predictor"], names["samples"], names["rate"])
    assert names["metrics"].accuracy > 0.8
    for command in blocks_of(text, "sh"):
        run(command)
    assert (tmp_path / "on-mine" / "report.html").is_file()
    run("earshot predict on-mine mine")
    with pytest.raises(UsageError, match=r"my-network.*make a store"):
        load_predictor("on-mine")


def _whatever_the_samples_are_made_of(predictor: Predictor, samples: np.ndarray, rate: int) -> None:
    soundfile.write("stereo.wav", np.stack([samples, 0.5 * samples], axis=1), rate, subtype="PCM_16")
    whole, _ = soundfile.read("stereo.wav", dtype="int16")
    (of_file,), (of_samples,) = predictor.predict_file("stereo.wav"), predictor.predict_samples(whole, rate)
    np.testing.assert_array_equal(of_file.scores, of_samples.scores)
    with pytest.raises(InvalidSamplesError, match="sample 5 is nan"):
        predictor.predict_samples(np.where(np.arange(rate) == 5, np.nan, 0.1), rate)
    with pytest.raises(UsageError, match="channels"):
        predictor.predict_samples(np.zeros((1, rate)), rate)


def run(command: str) -> None:
    with pytest.raises(SystemExit) as left:
        main(shlex.split(command)[1:])
    assert not left.value.code, command
