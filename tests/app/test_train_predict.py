"""earshot train, evaluate and predict: what they print, write and refuse."""

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import soundfile

from app.cli import main
from app.commands.predict import _as_text
from app.predicting import FilePrediction
from classifiers.bundle import load_bundle
from classifiers.prediction import Prediction
from classifiers.shallow import svc
from embeddings.embedding import Embedding, window_key
from embeddings.encoders import EncoderSettings, load_encoder
from embeddings.store import EmbeddingStore
from ingest.audio.windows import read_clip
from tests.classifiers.generated import make_spec, make_table


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main([*map(str, argv)])
    captured = capsys.readouterr()
    code = left.value.code
    return (code if isinstance(code, int) else 0), captured.out, captured.err


def write_store(folder: Path, rows: Sequence[Embedding], spec: object) -> Path:
    with EmbeddingStore.create(folder, spec).writer("0") as writer:  # type: ignore[arg-type]
        for row in rows:
            writer.append(row)
    return folder


def generated_store(folder: Path, **changes: Any) -> Path:
    table = make_table(**changes)
    return write_store(
        folder,
        [
            Embedding(key, source, "", 0.0, 9.6, vectors[mask], mids)
            for key, source, vectors, mask, mids in zip(
                table.keys, table.sources, table.vectors, table.mask, table.mids, strict=True
            )
        ],
        make_spec(),
    )


@pytest.fixture(scope="module", autouse=True)
def small_grid() -> object:
    patch = pytest.MonkeyPatch()
    patch.setattr(svc.SvcSettings.__init__, "__defaults__", ((1.0, 10.0), (0.1, 1.0), 3))
    yield
    patch.undo()


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("generated")
    generated_store(folder / "emb")
    with pytest.raises(SystemExit):
        main(["train", str(folder / "emb"), "--head", "svc", "--out", str(folder / "model"), "--json"])
    return folder / "model"


def test_train_prints_one_object_and_writes_a_model(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = generated_store(tmp_path / "emb")
    code, out, _ = run(
        capsys, "train", store, "--classes", "Dog;Bird", "--head", "svc", "--out", tmp_path / "m", "--json"
    )
    said = json.loads(out)
    assert code == 0
    assert said["classes"] == ["Dog", "Bird"]
    assert (said["rows"], said["left_out_none"]) == (60, 30)
    assert said["metrics"]["accuracy"] > 0.9
    assert "--classes 'Dog;Bird'" in (tmp_path / "m" / "report.html").read_text().replace("&#39;", "'")


def test_train_names_the_classes_that_have_too_few_recordings(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rare = [f"Rare {i}" for i in range(7)]
    store = generated_store(tmp_path / "emb", n=60, classes=("Dog", "Siren", *rare))  # three have a fourth recording
    words = ["train", store, "--min-sources", "4", "--head", "svc", "--out"]
    code, out, _ = run(capsys, *words, tmp_path / "text")
    assert code == 0
    assert "(--min-sources): 6 classes, 'Rare 1', 'Rare 2', 'Rare 3', 'Rare 4', 'Rare 5' and 1 more" in out
    code, out, _ = run(capsys, *words, tmp_path / "json", "--json")
    assert (code, json.loads(out)["left_out_class_names"]) == (0, rare[1:])
    told = json.loads((tmp_path / "json" / "model.json").read_text())
    assert told["trained_on"]["left_out_class_names"] == rare[1:]


def test_the_help_of_train_knows_every_kind_of_head_and_every_protocol() -> None:
    """They are written out there because reading the tables would import NumPy for `earshot --help`."""
    from app.commands.train import command
    from classifiers.heads import HEADS
    from classifiers.protocol import Protocol

    options = {option.name: option for option in command.params}
    assert options["protocol"].type.choices == get_args(Protocol)  # type: ignore[attr-defined]
    named = options["head"].help.split(" ...")[0].split(", ")  # type: ignore[attr-defined]
    assert {"attention", *named} <= HEADS.keys()
    assert {row.module for row in HEADS.values()} == {HEADS[name].module for name in named}


def test_train_for_people(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = generated_store(tmp_path / "emb")
    _, out, _ = run(capsys, "train", store, "--head", "svc", "--out", tmp_path / "m")
    assert "balanced accuracy" in out
    assert "5-fold cross-validation" in out
    assert str(tmp_path / "m" / "report.html") in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--head", "woods"], "choose one of attention, "),
        (["--classes", "no such thing"], "--classes"),
        (["--classes", "Siren;Jackhammer"], "no row has 'Jackhammer'"),
        (["--protocol", "folds"], "use --protocol cv5"),
        (["--keep", "nan"], "'nan' is not a finite number"),
        (["--classes", "Dogg;Bird"], "no row has the label 'Dogg'; did you mean 'Dog'?"),
        (["--classes", "human6"], "no row has any of the 6 classes (of 90 rows, labelled Dog, Siren, Bird)"),
        (["--head", "svc", "--set", "folds=0"], "--set folds: must be 2 or more, got 0"),
        (["--head", "svc", "--set", "costs=[inf]"], "--set costs: must be finite, got inf"),
        (["--head", "svc", "--set", f"costs=[1{'0' * 400}]"], "--set costs: whole numbers have at most 64 bits, got"),
        (
            ["--head", "svc", "--set", f"folds=[{{a=0x{'f' * 5000}}}]"],
            "--set folds: whole numbers have at most 64 bits",
        ),
        (["--head", "svc", "--set", "costs=[]"], "--set costs: takes one value or more like [1.0, 10.0]"),
        (["--head", "svc", "--set", "costs=['a']"], "--set costs: takes a list like [1.0, 10.0]"),
        (["--head", "svc", "--set", "gammas=[-0.1]"], "--set gammas: must be 0 or more, got -0.1"),
        (["--head", "svc", "--set", "gammas=[0]"], "must be above 0"),
        (["--head", "logistic", "--set", "C=-1.0", "--set", "search=none"], "The 'C' parameter of LogisticRegression"),
        (["--head", "cnn", "--set", "dropout=1.5"], "--set dropout: must be 0 to 0.99, got 1.5"),
        (["--head", "cnn", "--set", "batch=0"], "--set batch: must be 1 or more, got 0"),
        (["--seed", str(2**32)], "4294967296 is not in the range 0<=x<=2147483647"),
    ],
)
def test_mistakes_are_one_line_and_exit_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    store = generated_store(tmp_path / "emb")
    code, out, err = run(capsys, "train", store, "--out", tmp_path / "m", *options)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]
    assert not (tmp_path / "m").exists()


def test_evaluate_measures_and_reports(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = make_table(30, seed=7)
    rows = [
        Embedding(f"new{i}", f"new{i}", "", 0.0, 9.6, table.vectors[i][table.mask[i]], table.mids[i]) for i in range(30)
    ]
    store = write_store(tmp_path / "emb", rows, make_spec())
    code, out, err = run(capsys, "evaluate", model, store, "--json", "--report", tmp_path / "r.html")
    said = json.loads(out)
    assert code == 0
    assert err == ""
    assert {"n", "accuracy", "balanced_accuracy", "mAP", "auc", "d_prime", "per_class", "confusion"} <= said.keys()
    assert {"precision", "recall", "f1", "ap", "support"} <= said["per_class"]["Dog"].keys()
    assert said["n"] == 30
    assert "Measured on" in (tmp_path / "r.html").read_text()


def test_an_empty_store_is_named(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    EmbeddingStore.create(tmp_path / "empty", make_spec())
    for command in (["train", tmp_path / "empty", "--out", tmp_path / "m"], ["evaluate", model, tmp_path / "empty"]):
        code, out, err = run(capsys, *command)
        assert (code, out) == (2, "")
        assert "the store has no rows" in err.splitlines()[-1]


def test_a_model_of_which_nothing_was_measured_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, model = generated_store(tmp_path / "emb"), tmp_path / "m"
    _, out, _ = run(capsys, "train", store, "--head", "svc", "--protocol", "none", "--out", model)
    assert "note: nothing was measured when this model was made" in out
    _, out, err = run(capsys, "evaluate", model, store, "--json", "--report", tmp_path / "r.html")
    assert "the best class is always the answer" in json.loads(out)["caveat"]
    assert err.startswith(f"note: {model}: nothing was measured")
    assert "the best class is always the answer" in (tmp_path / "r.html").read_text()


def test_evaluate_on_training_rows_warns(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, err = run(capsys, "evaluate", model, model.parent / "emb")
    assert "45 of the 45 recordings in" in err
    assert "balanced accuracy" in out


def test_evaluate_knows_before_it_measures_that_a_report_cannot_be_written(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    code, out, err = run(capsys, "evaluate", model, tmp_path / "no store", "--report", tmp_path / "file/r.html")
    assert (code, out) == (1, "")
    assert str(tmp_path / "file") in err and "no store" not in err


def labelled_store(folder: Path, labels: list[tuple[str, ...]]) -> Path:
    table = make_table(len(labels), seed=7)
    rows = [
        Embedding(f"new{i}", f"new{i}", "", 0.0, 9.6, table.vectors[i][table.mask[i]], mids)
        for i, mids in enumerate(labels)
    ]
    return write_store(folder, rows, make_spec())


@pytest.mark.parametrize("label", ["Violin", ""])
def test_evaluate_names_what_a_store_has_instead_of_the_classes(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], label: str
) -> None:
    store = labelled_store(tmp_path / "emb", [(label,) if label else ()] * 3)
    code, out, err = run(capsys, "evaluate", model, store)
    assert (code, out) == (2, "")
    assert "EMB: no row has a class of this model, 'Bird', 'Dog', 'Siren' (of 3 rows" in err
    assert ("labelled Violin" if label else "none with a label") in err
    assert "--classes" not in err


def test_evaluate_says_how_many_rows_it_leaves_out(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = labelled_store(tmp_path / "emb", [("Dog",), ("Siren",), ("Bird",), (), ("Dog", "Siren"), ("Violin",)])
    code, out, err = run(capsys, "evaluate", model, store, "--json")
    said = json.loads(out)
    assert (code, said["n"], said["left_out"]) == (0, 3, 2)
    assert "note: left out: 2 of the 6 rows (no label, or several classes)" in err


def test_evaluate_says_what_rows_without_labels_count_as(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = tmp_path / "two.toml"
    classes.write_text('title = "two"\nmode = "multi"\n' + "".join(
        f'[[classes]]\nname = "{name}"\nmids = ["{name}"]\n' for name in ("Dog", "Siren")
    ))  # fmt: skip
    words = ("--classes", classes, "--head", "logistic", "--protocol", "none", "--out", tmp_path / "m")
    run(capsys, "train", generated_store(tmp_path / "train"), *words)
    store = labelled_store(tmp_path / "emb", [("Dog",), ("Siren",), ("Dog", "Siren"), ()])
    code, out, err = run(capsys, "evaluate", tmp_path / "m", store, "--json")
    assert (code, json.loads(out)["n"]) == (0, 4)
    assert "note: 1 of the 4 rows has no label: taken for none of the classes" in err


@pytest.fixture(scope="module")
def yamnet_model(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A svc model of three ESC-10 classes on real YAMNet embeddings."""
    folder = tmp_path_factory.mktemp("yamnet")
    encoder = load_encoder("yamnet", EncoderSettings(weights_dir=shared / "models"))
    rows = []
    for name in ("001 - Dog bark", "003 - Sea waves", "009 - Rooster"):
        for path in sorted((shared / "esc10" / name).glob("*.ogg"))[:12]:
            vectors = encoder.encode([read_clip(path).waveform])[0]
            rows.append(Embedding(path.name, path.name.split("-")[1], "", 0.0, 5.0, vectors, (name[6:],)))
    write_store(folder / "emb", rows, encoder.spec)
    with pytest.raises(SystemExit):
        main(["train", str(folder / "emb"), "--head", "svc", "--out", str(folder / "model"), "--protocol", "none"])
    return folder / "model"


@pytest.fixture
def sounds(tmp_path: Path) -> Path:
    """A folder with 25 s of noise, a short file, and two that are no audio; hostile names."""
    folder = tmp_path / "a folder"
    folder.mkdir()
    rng = np.random.default_rng(0)
    soundfile.write(folder / "-noise é.wav", rng.normal(0, 0.1, 25 * 16_000), 16_000)
    soundfile.write(folder / "short.wav", rng.normal(0, 0.1, 8_000), 16_000)
    (folder / "empty.wav").touch()
    (folder / "text.wav").write_text("not audio")
    return folder


@pytest.mark.slow
class TestPredict:
    def test_json(self, yamnet_model: Path, shared: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
        code, out, err = run(capsys, "predict", yamnet_model, sounds, "--weights", shared / "models", "--json")
        files = {Path(file["path"]).name: file for file in json.loads(out)["files"]}
        assert code == 1
        windows = files["-noise é.wav"]["windows"]
        assert [(w["start_s"], w["end_s"]) for w in windows] == [(0, 10), (10, 20), (20, 25)]
        assert all(sum(w["scores"].values()) == pytest.approx(1, abs=1e-4) for w in windows)
        assert len(files["short.wav"]["windows"]) == 1
        for name in ("empty.wav", "text.wav"):
            assert files[name]["windows"] == []
            assert name in files[name]["error"]
            assert name in err
        assert "2 of 4 files" in err.splitlines()[-1]

    def test_csv(self, yamnet_model: Path, shared: Path, sounds: Path, capsys: pytest.CaptureFixture[str]) -> None:
        _, out, _ = run(capsys, "predict", yamnet_model, sounds, "--weights", shared / "models", "--csv")
        header, *rows = csv.reader(io.StringIO(out))
        assert header == ["path", "start_s", "end_s", "answer", "known", "present", "Dog bark", "Rooster", "Sea waves"]
        assert len(rows) == 4
        assert all(answer == present for _, _, _, answer, _, present, *_ in rows), "of classes that exclude each other"

    def test_text_and_a_missing_file(
        self, yamnet_model: Path, shared: Path, sounds: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        paths = [sounds / "nowhere.wav", sounds / "short.wav"]
        code, out, err = run(capsys, "predict", yamnet_model, *paths, "--weights", shared / "models", "--top", 1)
        assert code == 1
        note, error, *_ = err.splitlines()
        assert note.startswith(f"note: {yamnet_model}: nothing was measured")
        assert "nowhere.wav" in error
        path, window = out.splitlines()
        assert path.endswith("short.wav")
        assert "0:00.0 - 0:00.5" in window
        assert sum(name in window for name in ("Dog bark", "Rooster", "Sea waves")) == 1

    def test_cold_start_without_tensorflow(self, yamnet_model: Path, shared: Path, tmp_path: Path) -> None:
        path = tmp_path / "ten.wav"
        soundfile.write(path, np.random.default_rng(0).normal(0, 0.1, 160_000), 16_000)
        argv = ["predict", str(yamnet_model), str(path), "--weights", str(shared / "models"), "--json"]
        code = f"import sys, app.cli\ntry: app.cli.main({argv!r})\nfinally: print(*sys.modules, file=sys.stderr)"

        def once() -> float:
            before = os.times()
            done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
            assert not {"tensorflow", "keras", "sklearn", "librosa"} & set(done.stderr.split())
            after = os.times()
            cpu_s = sum(after[2:4]) - sum(before[2:4])  # user and system time of the child
            return min(cpu_s, after.elapsed - before.elapsed)

        # Processor time, the best of three: what the command costs, not what else keeps the machine busy.
        assert min(once() for _ in range(3)) < 2.0


def test_csv_and_json_exclude_each_other(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, err = run(capsys, "predict", model, "x.wav", "--csv", "--json")
    assert code == 2
    assert "--csv" in err


@pytest.mark.parametrize("command", ["train", "compare"])
def test_nothing_is_learnt_for_a_place_that_cannot_be_written(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*_: object) -> None:
        raise AssertionError("hours of work")

    monkeypatch.setattr(svc, "fit", fit)
    store = generated_store(tmp_path / "emb")
    (tmp_path / "file").touch()
    code, out, err = run(capsys, command, store, f"--head{'s' * (command == 'compare')}", "svc", "--out",
                         tmp_path / "file" / "made")  # fmt: skip
    assert (code, out) == (1, "")
    assert (
        err
        == f"earshot: {tmp_path / 'file'}: Not a directory; check that the place exists, may be written and has room\n"
    )


def test_predict_takes_a_store_whose_rows_have_no_audio(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rows of one recording come together, also where they stand in several row groups."""
    table = make_table(90)
    with EmbeddingStore.create(tmp_path / "emb", make_spec()).writer("0") as writer:
        writer._row_group_bytes = 3 * table.vectors[0].nbytes
        for i in range(60):
            vectors = table.vectors[i][table.mask[i]]
            start_s = 10.0 * (i % 5)
            writer.append(Embedding(window_key(f"c{i // 5}", start_s), "s", "", start_s, start_s + 9.6, vectors, ()))
    code, out, _ = run(capsys, "predict", model, tmp_path / "emb", "--json")
    names, files = json.loads(out)["classes"], json.loads(out)["files"]
    assert code == 0
    assert [file["path"] for file in files] == [f"c{i}" for i in range(12)]
    assert [window["start_s"] for window in files[3]["windows"]] == [0, 10, 20, 30, 40]
    expected = load_bundle(model).predict(table.vectors[:60], table.mask[:60]).scores
    said = [[w["scores"][name] for name in names] for file in files for w in file["windows"]]
    np.testing.assert_allclose(said, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("others", "code", "message"),
    [
        (["a.wav"], 2, "is an embedding store, which is predicted alone"),
        (["--workers", "2"], 2, "are for audio, and a store is made already"),
        (["--precision", "float32"], 2, "are for audio, and a store is made already"),
    ],
)
def test_what_does_not_go_with_a_store(
    model: Path, capsys: pytest.CaptureFixture[str], others: list[str], code: int, message: str
) -> None:
    left, out, err = run(capsys, "predict", model, model.parent / "emb", *others)
    assert (left, out) == (code, "")
    assert message in err.splitlines()[-1]


def test_a_store_of_another_encoder_and_an_empty_one_are_the_users_mistake(
    model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    EmbeddingStore.create(tmp_path / "empty", make_spec())
    code, out, err = run(capsys, "predict", model, tmp_path / "empty")
    assert (code, out) == (2, "")
    assert "name some files, or a store with rows" in err
    table = make_table(4)
    rows = [Embedding(f"k{i}", "s", "", 0.0, 9.6, table.vectors[i][table.mask[i]], ()) for i in range(4)]
    write_store(tmp_path / "other", rows, make_spec(encoder="another"))
    for command in ("predict", "evaluate"):
        code, out, err = run(capsys, command, model, tmp_path / "other")
        assert (code, out) == (2, "")
        assert "trained on other embeddings (encoder: generated against another)" in err


def test_text_and_table_tell_which_of_several_classes_are_answered() -> None:
    names, scores = ("dog", "rain", "saw"), np.float32([0.3, 0.9, 0.8])
    both = Prediction("k", 0.0, 10.0, names, scores, 0.95, np.array([False, True, True]), "rain")
    none = Prediction("k", 10.0, 20.0, names, scores, 0.02, np.zeros(3, bool), None)
    _, first, second = _as_text(FilePrediction("a.wav", [both, none]), 3).splitlines()
    assert first.split("  ", 4)[-1].strip() == "rain 0.90   saw 0.80   (dog 0.30)"
    assert "none of these (0.02 known)   (rain 0.90)" in second
    assert both.to_row() == ["0.000", "10.000", "rain", "0.95", "rain;saw", "0.3", "0.9", "0.8"]
    assert none.to_row()[2:5] == ["", "0.02", ""]
