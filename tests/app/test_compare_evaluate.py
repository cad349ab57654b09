"""earshot compare, and what evaluate says beyond the measures: slices, intervals, players."""

import base64
import csv
import json
import unicodedata
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.commands.compare import parse_head_changes
from app.terminal.tables import MAX_COLUMNS, columns_of, padded, rejection_lines
from classifiers.measures.rejection import Rejection
from classifiers.report.examples import Example, choose_examples
from classifiers.report.page import render_report
from classifiers.report.players import load_players
from classifiers.train import TrainSettings, train
from embeddings.embedding import Embedding, item_key, window_key
from embeddings.store import EmbeddingStore
from ingest.audio.clip import AudioItem
from ingest.errors import FormatError, UsageError
from ingest.manifest import ABOUT_FILE, read_column, write_manifest
from tests.app.test_train_predict import generated_store, run, write_store
from tests.classifiers.generated import make_spec, make_table
from tests.classifiers.pages import check_page

GRID = ("--set", "svc.costs=[1.0]", "--set", "svc.gammas=[0.1]")


def test_compare_prints_saves_and_resumes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = generated_store(tmp_path / "emb")
    words = ("compare", store, "--heads", "svc", *GRID, "--protocol", "split")
    code, out, _ = run(capsys, *words)
    folder = tmp_path / "emb.compare"
    assert code == 0
    assert "| svc " in out
    assert f"report: {folder / 'report.html'}" in out
    assert {path.name for path in folder.iterdir()} == {
        "compare.json", "compare.csv", "compare.md", "report.html", "results",
    }  # fmt: skip
    (result,) = (folder / "results").iterdir()
    made = result.stat().st_mtime_ns
    code, out, _ = run(capsys, *words, "--json")
    said = json.loads(out)
    assert result.stat().st_mtime_ns == made
    assert said == json.loads((folder / "compare.json").read_text())
    assert said["heads"][0]["measures"]["accuracy"]["mean"] > 0.8
    check_page((folder / "report.html").read_text())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--heads", "forrest"], "no head or family named 'forrest'"),
        (["--heads", "svc", "--set", "costs=[1.0]"], "takes HEAD.NAME=VALUE"),
        (["--heads", "svc", "--set", "attention.epochs=3"], "with a head that is compared"),
        (["--heads", "svc", "--classes", "Rain"], "no row has"),
    ],
)
def test_mistakes_of_compare(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    store = generated_store(tmp_path / "emb", n=12)
    code, out, err = run(capsys, "compare", store, *options)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_a_wrong_setting_is_a_reason_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = generated_store(tmp_path / "emb", n=30)
    quick = ("--set", "logistic.search=none", "--set", "logistic.pooling=mean", "--protocol", "split")
    code, out, err = run(capsys, "compare", store, "--heads", "svc,logistic", "--set", "svc.depth=3", *quick)
    assert code == 0
    assert "svc was left out: --set depth: head svc has no such setting" in out
    assert "note" not in err


def test_where_no_head_can_be_measured_it_has_failed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = generated_store(tmp_path / "emb", n=30)
    code, out, err = run(capsys, "compare", store, "--heads", "svc", "--set", "svc.depth=3", "--json")
    assert (code, out) == (1, "")
    assert "svc refuses these rows. svc: --set depth: head svc has no such setting" in err.splitlines()[-1]
    assert not (tmp_path / "emb.compare").exists()


def test_settings_of_several_heads() -> None:
    parsed = parse_head_changes(("svc.folds=5", "svc.costs=[1.0]", "attention.epochs=3"), ("svc", "attention"))
    assert parsed == {"svc": {"folds": 5, "costs": [1.0]}, "attention": {"epochs": 3}}


@pytest.fixture(scope="module")
def spoken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, and a store with a manifest that tells the gender of most speakers."""
    folder = tmp_path_factory.mktemp("spoken")
    table = make_table(60, seed=3)
    items, rows = [], []
    for i in range(30):
        gender = {"gender": "f" if i % 2 else "m"} if i < 24 else {}
        items.append(AudioItem(f"c{i}", folder / f"c{i}.wav", f"p{i // 2}", table.mids[2 * i], about=gender))
        rows += [
            Embedding(
                window_key(f"c{i}", 10.0 * k), f"p{i // 2}", "", 10.0 * k, 10.0 * k + 9.6,
                table.vectors[2 * i + k][table.mask[2 * i + k]], table.mids[2 * i],
            )
            for k in range(2)
        ]  # fmt: skip
    write_manifest(folder / "clips", items)
    write_store(folder / "test", rows, make_spec())
    generated_store(folder / "emb")
    with pytest.raises(SystemExit):
        from app.cli import main

        main(["train", str(folder / "emb"), "--head", "svc", "--set", "costs=[1.0]", "--set", "gammas=[0.1]",
              "--out", str(folder / "model"), "--json"])  # fmt: skip
    return folder


def test_evaluate_slices_by_what_the_manifest_tells(spoken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("evaluate", spoken / "model", spoken / "test", "--slice-by", "gender", "--manifest", spoken / "clips")
    code, out, _ = run(capsys, *words, "--json", "--report", spoken / "r.html")
    said = json.loads(out)
    assert code == 0
    slices = said["slices"]["gender"]
    assert {name: part["n"] for name, part in slices.items()} == {"f": 24, "m": 24, "(not stated)": 12}
    assert {"accuracy", "balanced_accuracy", "mAP", "auc", "sources", "interval"} <= slices["f"].keys()
    assert {"level", "replicates", "sources", "accuracy", "mAP", "per_class"} <= said["intervals"].keys()
    assert {"ece", "brier", "count", "confidence", "right"} <= said["calibration"].keys()
    assert said["confidence"]["right"] + said["confidence"]["wrong"] == said["n"] == 60
    page = (spoken / "r.html").read_text()
    check_page(page)
    assert "By gender" in page
    assert said["answered"].keys() == {"share", "right"}
    assert said["warning"] is None
    code, out, _ = run(capsys, *words)
    assert "(not stated)" in out
    assert "95 % intervals over 15 sources" in out


def test_a_report_says_when_the_model_was_trained_on_what_it_measures(
    spoken: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("evaluate", spoken / "model", spoken / "emb", "--json", "--report", spoken / "seen.html")
    _, out, err = run(capsys, *words)
    warning = json.loads(out)["warning"]
    assert "have names that the model was trained on" in warning
    assert warning in err
    assert warning in (spoken / "seen.html").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--slice-by", "gender"], "name the manifest that the store was made from with --manifest"),
        (["--slice-by", "shoes", "--manifest", "clips"], "has no column 'shoes' to slice by; it has source, fold"),
        (["--slice-by", "gender", "--manifest", "nowhere"], "there is no nowhere to tell it"),
        (["--slice-by", "gender", "--manifest", "other"], "has none of the store's keys"),
    ],
)
def test_slices_that_cannot_be_had(
    spoken: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    message: str,
) -> None:
    write_manifest(spoken / "other", [AudioItem("x", spoken / "x.wav", "x", about={"gender": "f"})])
    monkeypatch.chdir(spoken)
    code, out, err = run(capsys, "evaluate", "model", "test", *options)
    assert (code, out) == (2, "")
    assert message in err.splitlines()[-1]


def test_embed_keeps_what_the_manifest_tells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From the data set to slices without naming the manifest again; a second manifest adds its rows."""
    noise = np.random.default_rng(0).normal(0, 0.1, 16_000)
    for batch in "ab":
        items = []
        for i in range(3):
            soundfile.write(tmp_path / f"{batch}{i}.wav", noise, 16_000)
            about = {"gender": "f" if i else "m"} | ({"age": "20"} if batch == "b" else {})
            items.append(AudioItem(f"{batch}{i}", tmp_path / f"{batch}{i}.wav", f"{batch}{i}", ("Cough",), about=about))
        write_manifest(tmp_path / batch, items)
        code, _, _ = run(capsys, "embed", tmp_path / batch, "--encoder", "handcrafted", "--out", tmp_path / "emb")
        assert code == 0
    about = tmp_path / "emb" / ABOUT_FILE
    assert read_column(about, "gender") == {"a0": "m", "a1": "f", "a2": "f", "b0": "m", "b1": "f", "b2": "f"}
    assert read_column(about, "age") == {"a0": "", "a1": "", "a2": "", "b0": "20", "b1": "20", "b2": "20"}
    assert len(EmbeddingStore.open(tmp_path / "emb")) == 6


def test_a_damaged_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "manifest.parquet").write_bytes(b"PAR1 not really")
    with pytest.raises(FormatError, match="not a manifest"):
        read_column(tmp_path, "gender")
    with pytest.raises(UsageError, match="no such manifest"):
        read_column(tmp_path / "nowhere", "gender")


@pytest.mark.parametrize("offset_s", [0.0, 10.0, 3610.5])
def test_the_key_of_a_window_leads_back_to_its_item(offset_s: float) -> None:
    for key in ("a/b.wav", "c+d.wav", "x+"):
        assert item_key(window_key(key, offset_s)) == key


def test_players_hold_the_window_that_was_scored_and_stay_within_their_room(tmp_path: Path) -> None:
    time = np.arange(25 * 16_000) / 16_000
    tone = np.where(time < 10, 300, np.where(time < 20, 1000, 3000))
    soundfile.write(tmp_path / "long.wav", 0.5 * np.sin(2 * np.pi * tone * time), 16_000)
    (tmp_path / "torn.wav").write_bytes(b"RIFF")

    def example(key: str, path: str, offset_s: float) -> Example:
        return Example(key, str(tmp_path / path) if path else "", offset_s, 10.0, None, "a", 0.9, ("b",), "b", 0.1)

    wanted = [
        example("long", "long.wav", 0.0), example("long+10000", "long.wav", 10.0), example("torn", "torn.wav", 0.0),
        example("gone", "gone.wav", 0.0), example("features", "", 0.0), example("beyond", "long.wav", 40.0),
    ]  # fmt: skip
    players = load_players(wanted)
    assert set(players) == {"long", "long+10000"}
    for key, hz in (("long", 300), ("long+10000", 1000)):
        (tmp_path / "heard.mp3").write_bytes(base64.b64decode(players[key].removeprefix("data:audio/mpeg;base64,")))
        heard, rate = soundfile.read(tmp_path / "heard.mp3")
        assert len(heard) / rate == pytest.approx(10, abs=0.2)
        assert np.abs(np.fft.rfft(heard[:rate])).argmax() == pytest.approx(hz, abs=2)
    room = len(players["long"])
    assert sum(map(len, load_players(wanted, max_bytes=room).values())) <= room


def test_the_report_plays_and_links_examples_and_shows_background(tmp_path: Path) -> None:
    table = make_table(150)
    names = np.random.default_rng(0).choice(("Dog", "Siren", "Bird"), 150)  # nothing to learn: many are wrong
    ids = [f"abcdefgh{i:03}" for i in range(150)]
    table = replace(
        table, mids=[("Rain",) if i % 5 == 0 else (str(n),) for i, n in enumerate(names)], sources=ids,
        keys=[f"{source}_30000" for source in ids], start_s=np.full(150, 30.0),
    )  # fmt: skip
    small = {"costs": [1.0], "gammas": [0.1]}
    settings = TrainSettings(classes="Dog;Siren;Bird", head="svc", background=20, head_changes=small)
    trained = train(table, make_spec(), settings, command="earshot train")
    assert trained.measured is not None
    chosen = choose_examples(trained.measured)
    assert len(chosen.wrong) == len(chosen.hardest) == 6
    assert chosen.focused == ()
    assert len({one.key for one in chosen}) == 12
    assert all(one.said not in one.true for one in chosen.wrong)
    scores = [one.said_score for one in chosen.wrong]
    assert scores == sorted(scores, reverse=True)
    players = {chosen.wrong[0].key: "data:audio/mpeg;base64,SUQz"}
    page = check_page(text := render_report(trained.info, trained.measured, players=players))
    assert len(page.loads) == 1
    assert f"https://www.youtube.com/watch?v={chosen.wrong[0].key[:11]}&t=30s" in page.links
    assert "None of these" in text


@pytest.mark.parametrize("name", ["Dog", "鳥", "🐕 dog", "Größe", "a\u0301", "new\nline", "x" * 90, "鳥" * 40, ""])
def test_a_name_takes_the_columns_that_it_is_given(name: str) -> None:
    width = columns_of("class", name)
    assert width <= MAX_COLUMNS
    for given in (width, width + 3):
        cell = padded(name, given)
        wide = sum(unicodedata.east_asian_width(c) in "WF" for c in cell)
        assert len(cell) + wide - sum(map(bool, map(unicodedata.combining, cell))) == given
        assert "\n" not in cell
    assert (padded(name, width).rstrip() == " ".join(name.split())) == (len(name) < 40)


def test_background_is_no_share_of_a_class_without_rows() -> None:
    found = Rejection(
        n=4, auc=0.4, keep=0.9, accepted_at_keep=1.0, kept=0.9, accepted=1.0, shares={"a": 0.0, "b": 1.0},
        largest_share_ratio=None, n_unrelated=4, auc_unrelated=0.4, accepted_unrelated=1.0,
    )  # fmt: skip
    assert rejection_lines(found).endswith("it is taken for b (100%)")


@pytest.mark.parametrize("mode", ["single", "multi"])
def test_what_is_measured_can_be_measured_again_from_its_rows(
    mode: str, spoken: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from sklearn.metrics import average_precision_score, precision_recall_fscore_support

    mids = sorted({mid for row in EmbeddingStore.open(spoken / "emb").load().mids for mid in row})
    problem = "".join(f'[[classes]]\nname = "{mid} it is"\nmids = ["{mid}"]\n' for mid in mids)
    (tmp_path / "problem.toml").write_text(f'title = "Spoken"\nmode = "{mode}"\n{problem}')
    words = (
        "train",
        spoken / "emb",
        "--classes",
        tmp_path / "problem.toml",
        "--head",
        "logistic",
        "--set",
        "search=none",
    )
    code, out, _ = run(capsys, *words, "--out", tmp_path / "model", "--rows", tmp_path / "rows.csv", "--json")
    assert code == 0
    said = json.loads(out)["metrics"]
    header, *rows = csv.reader((tmp_path / "rows.csv").read_text().splitlines())
    names = header[6:]
    assert header[:6] == ["key", "source", "start_s", "end_s", "truth", "answer"]
    assert names == said["class_names"]
    scores = np.array([row[6:] for row in rows], float)
    truth, answer = (np.array([[name in row[i].split(";") for name in names] for row in rows]) for i in (4, 5))
    assert (truth == answer).all(axis=1).mean() == pytest.approx(said["accuracy"])
    assert average_precision_score(truth, scores) == pytest.approx(said["mAP"])
    for i, measured in enumerate(precision_recall_fscore_support(truth, answer, zero_division=0)[:3]):
        kind = ("precision", "recall", "f1")[i]
        assert measured == pytest.approx([said["per_class"][name][kind] or 0 for name in names])
    code, _, _ = run(capsys, "evaluate", tmp_path / "model", spoken / "test", "--rows", tmp_path / "test.csv")
    assert code == 0
    assert len((tmp_path / "test.csv").read_text().splitlines()) == 1 + 60


def test_rows_of_what_is_not_measured_are_refused(spoken: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("train", spoken / "emb", "--protocol", "none", "--out", spoken / "no", "--rows", spoken / "no.csv")
    code, _, err = run(capsys, *words)
    assert code == 2
    assert "--rows: with --protocol none no row is measured" in err
