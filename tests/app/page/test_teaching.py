"""What is taught is what `earshot ingest folder` reads, and what the shown commands train on."""

import json
import shlex
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from app.cli import main
from app.live.chunks import from_waveform
from app.live.recording import to_segment
from app.page import teaching
from app.page.teaching import UNSORTED, Mark
from classifiers.bundle import Bundle, load_bundle
from ingest.audio.windows import read_clip
from ingest.audioset.class_sets import NONE_OF_THESE, ClassSet, SoundClass
from ingest.datasets import choose_dataset
from ingest.errors import UsageError
from tests.app.live.doubles import make_engine, noise
from tests.app.page.doubles import make_prediction, tree

AT = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)


def bundle_of(*classes: tuple[str, str]) -> Bundle:
    bundle = make_engine().bundle
    class_set = ClassSet("x", "single", tuple(SoundClass(name, (mid,)) for name, mid in classes))
    return replace(bundle, info=replace(bundle.info, class_set=class_set))


BUNDLE = bundle_of(("Dog", "/m/0bt9lr"), ("Rain", "/m/06mb1"))


def keep(folder: Path, truth: str, *, right: bool = False, second: int = 0, source: str = "s") -> Path:
    segment = to_segment(from_waveform(noise(2, seed=second), 16_000))
    at = AT + timedelta(seconds=second)
    return teaching.keep(folder, segment, Mark(right, truth), make_prediction(), BUNDLE, source=source, at=at)


def test_ingest_folder_reads_what_was_taught(tmp_path: Path) -> None:
    folder = tmp_path / "taught"
    for second, truth in enumerate(("Dog", "Rain", "Lawn mower", NONE_OF_THESE, UNSORTED, "Dog")):
        keep(folder, truth, right=truth == "Dog", second=second, source=f"live-{second // 2}, a")
    items = choose_dataset(folder).items(folder)
    labels = {item.path.parent.name: item.mids for item in items}
    assert labels == {
        "Dog": ("/m/0bt9lr",),
        "Rain": ("/m/06mb1",),
        "Lawn mower": ("Lawn mower",),
        NONE_OF_THESE: (NONE_OF_THESE,),
    }
    assert len(items) == 5, "what nobody could name is kept, and not trained on"
    assert {item.source for item in items} == {"live-0, a", "live-1, a", "live-2, a"}
    assert abs(read_clip(items[0].path).waveform[:32_000] - noise(2)).max() < 1e-3
    assert teaching.counts(folder) == {"Dog": 2, "Rain": 1, "Lawn mower": 1, NONE_OF_THESE: 1, UNSORTED: 1}
    marks = [json.loads(line) for line in (folder / teaching.MARKS).read_text().splitlines()]
    assert [mark["truth"] for mark in marks][3:5] == [NONE_OF_THESE, UNSORTED]
    assert all((folder / mark["path"]).is_file() and mark["answer"] == "Dog" for mark in marks)
    assert not [name for name in tree(folder) if name.endswith(".tmp")]


def test_marks() -> None:
    assert teaching.mark_right(make_prediction()) == Mark(True, "Dog")
    assert teaching.mark_right(make_prediction(answer=None)) == Mark(True, NONE_OF_THESE)
    assert teaching.mark_wrong("  Lawn   mower ") == Mark(False, "Lawn mower")
    assert teaching.mark_wrong("Rain", "Dog", "Rain") == Mark(False, "Rain", ("Dog",))
    assert teaching.mark_wrong() == Mark(False, UNSORTED)


def test_all_the_classes_that_were_there_are_taught(tmp_path: Path) -> None:
    several = replace(make_prediction(), present=np.array([True, False, True]))
    mark = teaching.mark_right(several)
    assert mark == Mark(True, "Dog", ("Siren",)), "a clip marked as Dog alone would teach that no siren was there"
    segment = to_segment(from_waveform(noise(2, seed=1), 16_000))
    folder = tmp_path / "taught"
    teaching.keep(folder, segment, mark, several, BUNDLE, source="s", at=AT)
    (item,) = choose_dataset(folder).items(folder)
    assert item.mids == ("/m/0bt9lr", "Siren")


@pytest.mark.parametrize("name", ["", "   ", "..", ".hidden", "a/b", "a\\b", "x" * 61, "a\x00b", "a;b"])
def test_a_name_from_a_text_field_stays_in_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="choose another name"):
        teaching.mark_wrong(name)
    with pytest.raises(UsageError):
        keep(tmp_path / "taught", name)
    assert not tree(tmp_path)


def test_without_the_old_sounds_it_learns_from_the_clips_alone(tmp_path: Path) -> None:
    info = replace(BUNDLE.info, command="earshot train gone --classes 'Dog;Rain' --head svc --out old")
    bundle = replace(BUNDLE, info=replace(info, trained_on={"store": str(tmp_path / "gone")}), folder=Path("models/x"))
    keep(tmp_path, "Lawn mower")
    train = shlex.split(teaching.commands(tmp_path, bundle)[-1])
    assert train == [
        "earshot",
        "train",
        f"{tmp_path}-emb",
        "--classes",
        "Dog;Rain",
        "--head",
        "svc",
        "--out",
        "models/x-taught",
    ]
    assert teaching.strangers(tmp_path, bundle) == ["Lawn mower"]
    native = replace(bundle, info=replace(bundle.info, command="earshot models native --classes city10 --out city"))
    assert shlex.split(teaching.commands(tmp_path, native)[-1])[3:] == [
        *("--classes", "city10", "--head", "attention", "--out", "models/x-taught")
    ]


@pytest.mark.slow
def test_the_commands_that_are_shown_train_with_what_was_taught(
    model: Path, shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EARSHOT_WEIGHTS", str(shared / "models"))
    bundle, folder = load_bundle(model), tmp_path / "taught sounds"
    rows = bundle.info.trained_on["rows"]
    names = sorted((shared / "esc10").iterdir())
    for second, (place, truth) in enumerate(((names[0], "Dog bark"), (names[1], "Rain"), (names[1], "Rain"))):
        path = sorted(place.glob("*.ogg"))[-1 - second]
        segment = to_segment(from_waveform(np.array(read_clip(path).waveform), 16_000))
        mark = Mark(False, truth)
        teaching.keep(
            folder, segment, mark, make_prediction(), bundle, source=path.name, at=AT + timedelta(seconds=second)
        )
    for command in teaching.commands(folder, bundle):
        words = shlex.split(command)
        assert words.pop(0) == "earshot"
        if words[0] == "train":
            words[words.index("--out") + 1] = str(tmp_path / "model-taught")
        with pytest.raises(SystemExit) as left:
            main(words)
        assert not left.value.code, capsys.readouterr().err
    learned = load_bundle(tmp_path / "model-taught")
    assert learned.class_names == ("Dog bark", "Rain", "Rooster", "Sea waves"), "the new class stands beside the old"
    assert learned.info.trained_on["rows"] == rows + 3
