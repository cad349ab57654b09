"""Spectrograms on the whole road: embed, export, train the heads that take them, predict. No weights, no TensorFlow."""

import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from click.testing import CliRunner

from app.cli import earshot
from classifiers.comparison.compare import choose_heads
from embeddings.encoders import encoder_row
from embeddings.store import EmbeddingStore

RATE = 16_000


def run(*args: str | Path) -> str:
    return CliRunner().invoke(earshot, [str(arg) for arg in args], catch_exceptions=False).stdout


@pytest.mark.parametrize(("encoder", "dim"), [("logmel", 64), ("mfcc", 40)])
def test_from_sounds_to_an_answer(encoder: str, dim: int, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name, hz in (("low", 300), ("high", 3000)):
        (tmp_path / "sounds" / name).mkdir(parents=True)
        for i in range(6):
            time_s = np.arange(round((0.5 + 0.2 * i) * RATE)) / RATE
            sound = 0.3 * np.sin(2 * np.pi * hz * time_s) + rng.normal(0, 0.02, len(time_s))
            soundfile.write(tmp_path / "sounds" / name / f"{i}.wav", sound, RATE)
    clips, emb, model = (tmp_path / folder for folder in ("clips", "emb", "model"))
    run("ingest", "folder", tmp_path / "sounds", "--out", clips)
    run("embed", clips, "--encoder", encoder, "--out", emb)
    table = EmbeddingStore.open(emb).load()
    assert table.vectors.shape == (12, 148, dim)
    assert sorted(table.n_patches) == sorted(2 * [48 + 20 * i for i in range(6)])
    for form in ("parquet", "npz"):
        said = run("export", emb, "--format", form, "--out", tmp_path / f"emb.{form}", "--json")
        assert json.loads(said)["rows"] == 12
    with np.load(tmp_path / "emb.npz") as exported:
        np.testing.assert_array_equal(exported["vectors"], table.vectors)
    trained = run("train", emb, "--head", "logistic", "--set", "trials=1", "--out", model, "--json")
    assert json.loads(trained)["metrics"]["accuracy"] == 1
    said = run("predict", model, tmp_path / "sounds" / "high" / "3.wav", "--json")
    (window,) = json.loads(said)["files"][0]["windows"]
    assert window["scores"]["high"] > 0.7
    of_files, of_store = (json.loads(run("predict", model, place, "--json"))["files"] for place in (clips, emb))
    assert len(of_files) == 12
    assert sorted(of_files, key=lambda file: file["path"]) == sorted(of_store, key=lambda file: file["path"])


def test_all_heads_of_a_spectrogram_are_those_that_are_done_today() -> None:
    of_frames, left_out = choose_heads("all", encoder_row("mfcc").spec())
    assert {"cnn", "svc", "logistic", "xgboost"} <= set(of_frames)
    assert {"attention", "transformer", "wide", "yamnet-native"} <= set(left_out)
    assert choose_heads("all", encoder_row("yamnet").spec())[1] == ("cnn",)
