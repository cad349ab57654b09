"""The same audio gives the same scores by stream, wav mode and `earshot predict`: real clips, YAMNet."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import soxr

from app.cli import main
from app.live.chunks import Chunk, from_pcm16
from app.live.engine import Engine, load_engine
from app.live.hub import ListenerHub
from app.live.recording import Recorder, save, to_segment
from app.live.settings import LiveSettings
from app.predicting import Predictor, predict_item
from classifiers.prediction import Prediction
from ingest.audio.clip import AudioItem

LARGEST_DIFFERENCE = 1e-3
Samples = npt.NDArray[np.int16]
Predict = Callable[[list[Path]], list[dict[str, Any]]]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def engine(model: Path, shared: Path) -> Engine:
    return load_engine(model, weights_dir=shared / "models")


@pytest.fixture
def predict(model: Path, shared: Path, capsys: pytest.CaptureFixture[str]) -> Predict:
    """What `earshot predict` prints of the first window of each file."""

    def run(paths: list[Path]) -> list[dict[str, Any]]:
        capsys.readouterr()
        with pytest.raises(SystemExit):
            main(["predict", str(model), *map(str, paths), "--weights", str(shared / "models"), "--json"])
        return [file["windows"][0] for file in json.loads(capsys.readouterr().out)["files"]]

    return run


def stream(engine: Engine, chunks: list[Chunk]) -> list[Prediction]:
    """What a listener hears who is sent these chunks."""
    with ListenerHub(engine, LiveSettings(skip_after=1_000, queue_s=60)) as hub:
        listening = hub.open()
        for chunk in chunks:
            listening.push(chunk)
        listening.finish()
        assert listening.wait_ended(60)
        return list(listening.snapshot().history)


def cut(samples: Samples, rate: int, seed: int) -> list[Chunk]:
    """Chunks of 5 to 200 ms."""
    rng, at, chunks = np.random.default_rng(seed), 0, []
    while at < len(samples):
        size = int(rng.integers(rate // 200, rate // 5))
        chunks.append(Chunk(samples[at : at + size], rate))
        at += size
    return chunks


def forms(samples: Samples) -> dict[str, tuple[Samples, int]]:
    """Mono at 44.1 kHz as 48 kHz stereo, as browsers send, and as 16 kHz mono, as the API takes; and as it is."""
    values = samples / 32_768
    at_48, at_16 = (np.rint(soxr.resample(values, 44_100, rate) * 32_000).astype(np.int16) for rate in (48_000, 16_000))
    return {
        "48 kHz stereo": (np.stack([at_48, at_48 // 2], axis=1), 48_000),
        "16 kHz mono": (at_16[:, None], 16_000),
        "44.1 kHz mono": (samples[:, None], 44_100),
    }


@pytest.mark.parametrize("form", ["48 kHz stereo", "16 kHz mono", "44.1 kHz mono"])
def test_stream_wav_mode_and_predict_agree(
    form: str, engine: Engine, ten_seconds: list[Samples], tmp_path: Path, predict: Predict
) -> None:
    paths, streamed, recorded = [], [], []
    for number, clip in enumerate(ten_seconds):
        samples, rate = forms(clip)[form]
        chunks = cut(samples, rate, seed=number)
        recorder = Recorder(10)
        for chunk in chunks:
            recorder.push(chunk)
        path = tmp_path / f"{number}.wav"
        save(recorder.segment(), path)
        paths.append(path)
        streamed.append(stream(engine, chunks)[0])
        recorded += predict_item(Predictor(engine.bundle, engine.encoder), AudioItem("", path, "")).predictions
    said = predict(paths)
    assert len(said) == len(streamed) == len(recorded) == 10
    names = engine.class_names
    by_predict = np.array([[window["scores"][name] for name in names] for window in said])
    by_stream, by_file = (np.array([p.scores for p in each]) for each in (streamed, recorded))
    assert np.abs(by_stream - by_predict).max() < LARGEST_DIFFERENCE
    assert np.abs(by_file - by_predict).max() < LARGEST_DIFFERENCE
    assert [window["answer"] for window in said] == [p.answer for p in streamed]
    assert np.ptp(by_predict, axis=0).max() > 0.5  # the clips differ, so it matters which is which


def test_every_window_of_a_stream_is_that_of_a_file_cut_there(
    engine: Engine, ten_seconds: list[Samples], tmp_path: Path
) -> None:
    samples = forms(np.concatenate(ten_seconds[:3]))["16 kHz mono"][0]
    data = samples.astype("<i2").tobytes()
    chunks = [from_pcm16(data[at : at + 640]) for at in range(0, len(data), 640)]
    predictions = stream(engine, chunks)
    assert len(predictions) == engine.grid.windows_due(len(samples)) > 20
    for prediction in predictions:
        begin = round(prediction.start_s * 16_000)
        path = tmp_path / f"{begin}.wav"
        save(to_segment(Chunk(samples[begin : begin + 160_000], 16_000)), path)
        (alone, *_) = predict_item(Predictor(engine.bundle, engine.encoder), AudioItem("", path, "")).predictions
        assert np.abs(prediction.scores - alone.scores).max() < LARGEST_DIFFERENCE


LISTEN = """
import sys
from pathlib import Path
import numpy as np
from app.live.chunks import Chunk
from app.live.engine import load_engine
from app.live.hub import ListenerHub
from app.live.settings import LiveSettings
engine = load_engine(Path(sys.argv[1]), weights_dir=Path(sys.argv[2]))
noise = np.random.default_rng(0).integers(-999, 999, (48_000 * 15, 2), np.int16)
with ListenerHub(engine, LiveSettings(skip_after=1_000, queue_s=30)) as hub:
    listeners = [hub.open() for _ in range(8)]
    for listening in listeners:
        listening.push(Chunk(noise, 48_000))
        listening.finish()
    assert all(listening.wait_ended(60) for listening in listeners)
    assert all(listening.snapshot().counters.windows == 6 for listening in listeners)
    listeners[0].audio(0, 1)
status = Path("/proc/self/status").read_text()  # getrusage would tell of the process that started this one, too
print(int(status.split("VmHWM:")[1].split()[0]) // 1024, *sys.modules)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs /proc")
def test_eight_listeners_take_less_than_500_mb_and_no_tensorflow(model: Path, shared: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTEN, str(model), str(shared / "models")], capture_output=True, text=True, check=True
    )
    peak_mb, *modules = done.stdout.split()
    assert not {"tensorflow", "keras", "sklearn", "librosa"} & set(modules)
    assert int(peak_mb) < 500
