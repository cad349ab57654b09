"""The wide head: what it learns beside the classes, and what it makes of sounds that are none of them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifiers.bundle import load_bundle, save_bundle
from classifiers.heads import TrainingData, fit_head
from classifiers.networks import ensemble
from classifiers.networks.attention_graph import average
from classifiers.networks.wide import lessons
from classifiers.train import TrainSettings, evaluate, train
from ingest.errors import UsageError
from tests.classifiers.generated import CLASSES, make_spec, make_table
from tests.classifiers.test_train import with_strangers

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")

QUICK: dict[str, Any] = {"hidden": 64, "specialists": 1}


def data_of(labels: list[tuple[str, ...]], classes: tuple[str, ...] = ("Dog", "Siren")) -> TrainingData:
    table = make_table(len(labels))
    targets = np.array([[name in row for name in classes] for row in labels], np.float32)
    return TrainingData(table.vectors, table.mask, targets, table.sources, labels, classes, "single", make_spec())


def test_lessons_are_the_classes_then_every_frequent_label_that_is_no_class_already() -> None:
    rows = [("Dog", "Bark"), ("Dog", "Bark"), ("Siren", "Bark"), ("Rain",), ("Rain", "Rare"), ("Siren",)]
    learned = lessons(data_of(rows), 2)
    np.testing.assert_array_equal(learned[:, :2], [[1, 0], [1, 0], [0, 1], [0, 0], [0, 0], [0, 1]])
    np.testing.assert_array_equal(learned[:, 2:], [[1, 0], [1, 0], [1, 0], [0, 1], [0, 1], [0, 0]])
    assert lessons(data_of([("Dog",), ("Siren",)] * 4), 1).shape == (8, 2)  # nothing but the classes: they are enough


@pytest.mark.slow
@pytest.mark.tensorflow
def test_it_learns_classes_and_background_and_travels(tmp_path: Path) -> None:
    settings = TrainSettings(
        head="wide", classes=";".join(CLASSES), background=-1, protocol="split", head_changes=QUICK, keep=0.9
    )
    result = train(with_strangers(90, 60), make_spec(), settings)
    assert result.info.trained_on["background"] == 60
    assert result.info.head_settings["labels_learned"] == 4  # Rain, too
    assert result.measured is not None
    assert result.measured.rejection is not None
    save_bundle(tmp_path / "m", result.info, result.head, sources=result.sources, pages={})
    unseen = with_strangers(60, 30, seed=9)
    light, full = (load_bundle(tmp_path / "m", runtime) for runtime in ("light", "full"))  # type: ignore[arg-type]
    ours, theirs = (bundle.predict(unseen.vectors, unseen.mask) for bundle in (light, full))
    assert ours.known is not None
    assert theirs.known is not None
    np.testing.assert_allclose(ours.known, theirs.known, atol=1e-4)
    np.testing.assert_allclose(ours.scores, theirs.scores, atol=1e-4)
    assert 0 <= ours.known.min() <= ours.known.max() <= 1
    measured = evaluate(light, unseen)
    assert measured.metrics.accuracy > 0.9
    assert measured.rejection is not None
    assert measured.rejection.auc > 0.95


@pytest.mark.slow
@pytest.mark.tensorflow
def test_without_background_it_gives_none_and_without_specialists_the_generalists_patches() -> None:
    rows = data_of(make_table(60).mids, CLASSES)
    head = fit_head("wide", rows, 0, changes={**QUICK, "specialists": 0})
    said = head.predict(rows.vectors, rows.mask)
    assert said.known is None
    assert said.attention is not None
    assert said.patch_scores is not None
    np.testing.assert_allclose(said.attention.sum(axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(said.scores.sum(axis=1), 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.tensorflow
def test_the_generalist_is_the_mean_of_the_heads_named(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, told, kept = data_of(make_table(30).mids, CLASSES), [], []
    names = ("decision", "transformer")
    monkeypatch.setattr(ensemble, "average", lambda cores, dim: kept.extend(cores) or average(cores, dim))
    changes = {"hidden": 16, "epochs": 1, "generalists": names, "specialists": 1}
    head = fit_head("wide", rows, 0, changes=changes, progress=lambda done, total: told.append(done / total))
    assert len(kept) == 2
    assert head.settings["generalists"] == names
    assert told == sorted(told) and told[-1] == 1
    np.testing.assert_allclose(head.predict(rows.vectors, rows.mask).scores.sum(axis=1), 1, atol=1e-5)
    with pytest.raises(UsageError, match=r"--set generalists: .*attention family, got 'svc'"):
        fit_head("wide", rows, 0, changes={"generalists": ("svc",)})


def test_background_of_all_takes_relatives_too() -> None:
    table = with_strangers(60, 30)
    table = replace(table, mids=[*table.mids[:-4], *[("Bark",)] * 4])
    quick = {"costs": [1.0], "gammas": [0.1]}
    settings = TrainSettings(head="svc", classes=";".join(CLASSES), protocol="none", head_changes=quick)
    rows = [
        train(table, make_spec(), replace(settings, background=n)).info.trained_on["background"] for n in (-1, 1000, 5)
    ]
    assert rows == [30, 26, 5]  # a bark is a relative of the dog
