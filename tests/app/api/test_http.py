"""What POST /v1/predictions and its neighbours answer when all is well."""

import io
import json
import subprocess
import sys
from pathlib import Path

import httpx
import numpy as np
import pytest
import soundfile

from app.api.schema import ErrorOut, HealthOut, ModelsOut, PredictionsOut
from tests.app.api.conftest import ROOT, Server, TrainedModel
from tests.ingest.sounds import tone, write, write_av


def predicted(trained: TrainedModel, *files: Path) -> list[dict[str, object]]:
    """What `earshot predict --json` says of files."""
    weights = ["--weights", str(trained.weights)] if trained.weights else []
    command = [sys.executable, "-m", "app.cli", "predict", str(trained.folder), *map(str, files), "--json", *weights]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return [file["windows"] for file in json.loads(done.stdout)["files"]]


def test_scores_are_those_of_predict(server: Server, trained: TrainedModel, tmp_path: Path) -> None:
    joined = np.concatenate([soundfile.read(file)[0] for file in trained.sounds[:7]])
    long = write(tmp_path / "long.wav", joined, soundfile.info(trained.sounds[0]).samplerate)
    files = [*trained.sounds[::4], long]
    for file, windows in zip(files, predicted(trained, *files), strict=True):
        answer = PredictionsOut.model_validate_json(server.post(file.read_bytes()).content)
        assert len(answer.windows) == len(windows)
        for ours, theirs in zip(answer.windows, windows, strict=True):
            ours_json = ours.model_dump()
            assert ours_json["scores"] == pytest.approx(theirs["scores"], abs=1e-5)
            assert ours_json["known"] == pytest.approx(theirs["known"], abs=1e-5)
            same = ("start_s", "end_s", "answer", "present")
            assert [ours_json[name] for name in same] == [theirs[name] for name in same]


def test_events_cover_the_windows_that_have_the_class(server: Server, trained: TrainedModel) -> None:
    answer = PredictionsOut.model_validate_json(server.post(trained.sounds[0].read_bytes()).content)
    heard = answer.windows[0].answer
    assert [event.class_name for event in answer.events] == ([heard] if heard else [])
    for event in answer.events:
        assert 0 <= event.start_s < event.end_s <= answer.duration_s + 0.01
        assert event.peak == max(window.scores[event.class_name] for window in answer.windows)


@pytest.mark.parametrize("suffix", ["wav", "flac", "ogg", "mp3", "m4a", "webm"])
def test_every_format(server: Server, tmp_path: Path, suffix: str) -> None:
    samples = tone(3.0, 48_000)
    path = tmp_path / f"sound.{suffix}"
    if suffix in ("m4a", "webm"):
        write_av(path, samples, {"m4a": "aac", "webm": "libopus"}[suffix])
    else:
        write(path, samples, 48_000)
    wav = io.BytesIO()
    soundfile.write(wav, samples, 48_000, format="WAV")
    expected = server.post(wav.getvalue()).json()
    answer = server.post(path.read_bytes(), headers={"Content-Type": "text/plain"})  # the content counts
    assert answer.status_code == 200, answer.text
    assert answer.json()["duration_s"] == pytest.approx(3.0, abs=0.1)
    assert answer.json()["windows"][0]["scores"].keys() == expected["windows"][0]["scores"].keys()


def test_a_form_is_as_good_as_the_bytes(server: Server, trained: TrainedModel) -> None:
    audio = trained.sounds[0].read_bytes()
    by_form = httpx.post(
        f"{server.url}/v1/predictions",
        files={"file": ("../../etc/passwd", audio, "x/y")},
        data={"model": "second", "top": "1"},
        timeout=60,
    )
    by_bytes = server.post(audio, params={"model": "second", "top": 1})
    assert by_form.status_code == 200, by_form.text
    assert by_form.json() == by_bytes.json()
    assert by_form.json()["model"] == "second"
    assert len(by_form.json()["windows"][0]["scores"]) == 1


def test_the_models_are_told_with_their_classes(server: Server, trained: TrainedModel) -> None:
    models = ModelsOut.model_validate_json(server.get("/v1/models").content)
    info = json.loads((trained.folder / "model.json").read_text())
    assert models.default == "first"
    assert [model.name for model in models.models] == ["first", "second"]
    assert models.models[0].classes == [c["name"] for c in info["class_set"]["classes"]]
    assert models.models[0].encoder == info["encoder"]["encoder"]
    assert str(trained.folder) not in server.get("/v1/models").text  # nothing of our disk


@pytest.mark.parametrize("name", ["third", "..", "/etc/passwd", "first/../first", "http://localhost/model", "\x00", ""])
def test_a_model_that_is_not_served_is_not_found(server: Server, trained: TrainedModel, name: str) -> None:
    answer = server.post(trained.sounds[0].read_bytes(), params={"model": name})
    assert answer.status_code == 404
    error = ErrorOut.model_validate_json(answer.content).error
    assert error.code == "unknown_model"
    assert "first, second" in error.message


def test_health_and_metrics_count(server: Server, trained: TrainedModel) -> None:
    assert HealthOut.model_validate_json(server.get("/healthz").content).status == "ok"

    def counted(name: str) -> float:
        lines = server.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    names = ("earshot_windows_total", "earshot_audio_seconds_total", "earshot_request_seconds_count")
    before = [counted(name) for name in names]
    said = server.post(trained.sounds[0].read_bytes()).json()
    after = [counted(name) for name in names]
    grown = [b - a for a, b in zip(before, after, strict=True)]
    assert grown == pytest.approx([len(said["windows"]), said["duration_s"], 1], abs=0.01)
    refused = 'earshot_answers_total{code="not_audio",path="/v1/predictions"}'
    before_refused = counted(refused)
    server.post(b"no audio")
    assert counted(refused) == before_refused + 1


def test_openapi_describes_what_is_answered(server: Server) -> None:
    description = server.get("/openapi.json").json()
    post = description["paths"]["/v1/predictions"]["post"]
    example = post["responses"]["200"]["content"]["application/json"]["example"]
    PredictionsOut.model_validate(example)
    assert {"400", "401", "404", "408", "413", "415", "422", "503"} <= post["responses"].keys()
    for status in ("413", "503"):
        examples = post["responses"][status]["content"]["application/json"]["examples"]
        assert len(examples) == 2
        for one in examples.values():
            ErrorOut.model_validate(one["value"])
    assert {"multipart/form-data", "audio/wav", "audio/webm"} <= post["requestBody"]["content"].keys()
    schemas = description["components"]["schemas"]
    assert "stale" in schemas["StateMessage"]["required"] and "age_s" in schemas["PredictionMessage"]["required"]


def test_what_is_not_there_has_an_error_of_the_same_form(server: Server) -> None:
    for answer, status, code in (
        (server.get("/v2/nothing"), 404, "not_found"),
        (server.get("/v1/predictions"), 405, "method"),
        (server.post(b"", params={"top": "many"}), 400, "bad_request"),
        (server.post(b"", params={"top": "0"}), 400, "bad_request"),
    ):
        assert answer.status_code == status
        assert ErrorOut.model_validate_json(answer.content).error.code == code
