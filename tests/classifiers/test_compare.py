"""Heads compared: the same splits for all, what is resumed, what is refused, and whether differences are real."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from classifiers import heads
from classifiers.comparison import fold_results
from classifiers.comparison.compare import CompareSettings, Comparison, choose_heads, compare, family_of
from classifiers.heads import HeadRow, HeadScores, TrainingData
from classifiers.measures.intervals import OVERALL
from classifiers.report.comparison_pages import render_csv, render_markdown, render_page, seconds_text
from embeddings.encoders import encoder_row
from ingest.errors import EarshotError, UsageError
from tests.classifiers.generated import make_spec, make_table
from tests.classifiers.pages import check_page

FITS: list[tuple[float, int, frozenset[str]]] = []
"""noise, seed and sources of every fit of the nearest head."""


class Nearest:
    """Answers with the class of the nearest mean; `noise` makes it worse."""

    def __init__(self, data: TrainingData, noise: float, seed: int) -> None:
        pooled = self._pool(data.vectors, data.mask)
        self.means = np.stack([pooled[column > 0].mean(axis=0) for column in data.targets.T])
        self.noise, self.rng = noise, np.random.default_rng(seed)
        self.settings: dict[str, Any] = {"noise": noise, "chosen": {"k": 1}}

    @staticmethod
    def _pool(vectors: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return (vectors * mask[..., None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)

    def predict(self, vectors: np.ndarray, mask: np.ndarray) -> HeadScores:
        far = np.linalg.norm(self._pool(vectors, mask)[:, None] - self.means, axis=2)
        far += self.rng.normal(0, self.noise, far.shape)
        scores = np.exp(-(far - far.min(axis=1, keepdims=True)) / 10)
        return HeadScores((scores / scores.sum(axis=1, keepdims=True)).astype(np.float32))

    def save(self, folder: Path) -> None:
        """Nothing is ever saved."""


class Timid(Nearest):
    """Knows well which rows have its one class, and never scores above .1."""

    def predict(self, vectors: np.ndarray, mask: np.ndarray) -> HeadScores:
        far = np.linalg.norm(self._pool(vectors, mask) - self.means[0], axis=1)
        return HeadScores(np.float32(0.1) * np.exp(-far / 50).astype(np.float32)[:, None])


@pytest.fixture(autouse=True)
def few_heads(monkeypatch: pytest.MonkeyPatch) -> None:
    """A table of three heads that learn in no time: a good one, a bad one, and one that refuses all data."""

    def fit(
        row: HeadRow, data: TrainingData, changes: Mapping[str, Any], seed: int, progress: object
    ) -> Nearest | Timid:
        if row.name in ("picky", "fussy"):
            raise UsageError("picky: takes at most 3 rows; choose another head")
        noise = {**row.settings, **changes}["noise"]
        FITS.append((noise, seed, frozenset(data.sources)))
        return (Timid if row.name == "timid" else Nearest)(data, noise, seed)

    module = ModuleType("tests_nearest")
    module.fit = fit  # type: ignore[attr-defined]
    monkeypatch.setitem(__import__("sys").modules, "tests_nearest", module)
    rows = (
        HeadRow("good", "", "tests_nearest", "a", "b", {"noise": 8.0}),
        HeadRow("bad", "", "tests_nearest", "a", "b", {"noise": 40.0}),
        HeadRow("picky", "", "tests_nearest", "a", "b"),
    )
    table = {row.name: row for row in rows}
    monkeypatch.setattr(heads, "HEADS", table)
    for module_with_table in ("classifiers.comparison.compare", "classifiers.comparison.fold_results"):
        monkeypatch.setattr(f"{module_with_table}.HEADS", table)
    FITS.clear()


def made(folder: Path, **changes: Any) -> Comparison:
    settings = CompareSettings(heads=("bad", "picky", "good"), **changes)
    return compare(make_table(150), make_spec(), settings, folder)


def test_heads_are_ranked_and_the_difference_is_told_from_chance(tmp_path: Path) -> None:
    result = made(tmp_path)
    good, bad, picky = result.heads
    assert [row.head for row in result.heads] == ["good", "bad", "picky"]
    assert (good.behind, good.interval) == (0, None)
    assert bad.behind is not None
    assert bad.interval is not None
    assert 0 < bad.interval[0] < bad.behind < bad.interval[1]
    assert picky.refused == "picky: takes at most 3 rows; choose another head"
    for row in (good, bad):
        assert set(row.measures) == set(OVERALL)
        measure = row.measures["accuracy"]
        assert measure.mean is not None
        assert measure.spread is not None
        assert measure.interval is not None
        assert measure.interval[0] < measure.mean < measure.interval[1]
        assert row.metrics is not None
        assert row.metrics.n == 150
    assert (result.protocol, len(result.folds), result.rows, result.sources) == ("cv5", 5, 150, 75)


def test_two_names_of_one_head_cannot_be_told_apart(tmp_path: Path) -> None:
    HEADS_NOW = heads.HEADS
    HEADS_NOW["twin"] = replace(HEADS_NOW["good"], name="twin")
    result = compare(make_table(60), make_spec(), CompareSettings(heads=("good", "twin")), tmp_path)
    assert [row.behind for row in result.heads] == [0, 0]
    assert result.heads[1].interval == (0, 0)


def test_mean_spread_and_interval_are_of_the_same_answers(tmp_path: Path) -> None:
    heads.HEADS["timid"] = replace(heads.HEADS["good"], name="timid")
    (row,) = compare(make_table(150), make_spec(), CompareSettings(heads=("timid",), classes="Dog"), tmp_path).heads
    measure = row.measures["balanced_accuracy"]
    assert measure.mean is not None and measure.interval is not None and row.metrics is not None
    assert row.metrics.balanced_accuracy > 0.8  # at .5 nothing would be present, and this one half
    assert measure.mean == pytest.approx(row.metrics.balanced_accuracy, abs=0.05)
    assert measure.interval[0] <= measure.mean <= measure.interval[1]


def test_background_accepted_is_told_at_the_share_that_is_asked_for(tmp_path: Path) -> None:
    table = make_table(150, classes=("Dog", "Siren", "Bird", "Rain"))
    accepted = []
    for keep in (0.3, 0.9):
        settings = CompareSettings(heads=("bad",), classes="Dog;Siren;Bird", background=30, keep=keep)
        result = compare(table, make_spec(), settings, tmp_path)
        accepted.append(result.heads[0].rejected["accepted_at_keep"])
        assert f"| let in, {keep:.0%} kept |" in render_markdown(result)
        check_page(render_page(result, store="emb", command="earshot compare emb"))
    assert accepted[0] < accepted[1]


@pytest.mark.parametrize(("protocol", "rows"), [("split", 22), ("cv5", 114)])
def test_how_many_rows_were_tested_is_told(tmp_path: Path, protocol: Any, rows: int) -> None:
    table = make_table(150, classes=("Dog", "Siren", "Bird", "Rain"))
    settings = CompareSettings(heads=("good",), classes="Dog;Siren;Bird", background=30, protocol=protocol)
    result = compare(table, make_spec(), settings, tmp_path)
    assert result.heads[0].metrics is not None
    assert result.tested == result.to_json()["tested"] == result.heads[0].metrics.n == rows
    assert f"{rows} rows." in render_markdown(result)


def test_all_heads_learn_from_the_same_splits_and_seeds_differ(tmp_path: Path) -> None:
    made(tmp_path, seeds=2)
    of = {(noise, seed): [sources for n, s, sources in FITS if (n, s) == (noise, seed)] for noise, seed, _ in FITS}
    assert len(FITS) == 20
    assert {len(sources) for _, _, sources in FITS} == {60}  # of 75: nothing of the fold that is tested
    assert of[8.0, 0] == of[40.0, 0]
    assert of[8.0, 1] == of[40.0, 1]
    assert of[8.0, 0] != of[8.0, 1]


def test_what_was_stopped_goes_on_and_ends_with_the_same_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(BaseException):
        pass

    whole, write = made(tmp_path / "whole"), fold_results.write_result
    written: list[Path] = []

    def write_seven(path: Path, result: fold_results.FoldResult) -> None:
        if len(written) == 7:
            raise Killed
        write(path, result)
        written.append(path)

    FITS.clear()
    monkeypatch.setattr("classifiers.comparison.fold_runs.write_result", write_seven)
    with pytest.raises(Killed):
        made(tmp_path / "killed")
    monkeypatch.setattr("classifiers.comparison.fold_runs.write_result", write)
    (tmp_path / "killed" / written[2].name).write_bytes(written[3].read_bytes()[:700])  # as after a failing disk
    FITS.clear()
    resumed = made(tmp_path / "killed")
    assert len(FITS) == 10 - 7 + 1
    assert [row.measures for row in resumed.heads] == [row.measures for row in whole.heads]
    FITS.clear()
    assert made(tmp_path / "killed").to_json() == resumed.to_json()
    assert FITS == []


def test_other_settings_rows_or_sources_are_other_results(tmp_path: Path) -> None:
    table, settings = make_table(60), CompareSettings(heads=("good",))
    compare(table, make_spec(), settings, tmp_path)
    changed = np.array(table.vectors)
    changed[0, 0, 0] ^= 1
    for other, other_settings in (
        (table, replace(settings, head_changes={"good": {"noise": 9.0}})),
        (table, replace(settings, seed=1)),
        (table, replace(settings, classes="Dog;Bird")),
        (replace(table, vectors=changed), settings),
        (replace(table, sources=[f"other{s}" for s in table.sources]), settings),
    ):
        FITS.clear()
        compare(other, make_spec(), other_settings, tmp_path)
        assert len(FITS) == 5


def test_heads_are_named_by_name_family_or_all() -> None:
    def chosen(text: str) -> tuple[str, ...]:
        return choose_heads(text, make_spec())[0]

    assert chosen("all") == ("good", "bad", "picky")
    assert chosen(" bad, good,bad") == ("bad", "good")
    assert chosen("tests_nearest") == chosen("tests_nearest-family") == ("good", "bad", "picky")
    heads.HEADS["tests_nearest"] = replace(heads.HEADS["good"], name="tests_nearest")
    assert chosen("tests_nearest") == ("tests_nearest",)
    assert chosen("tests_nearest-family") == ("good", "bad", "picky", "tests_nearest")
    del heads.HEADS["tests_nearest"]
    assert family_of("good") == "tests_nearest"
    with pytest.raises(UsageError, match="no head or family named 'tree'; choose of good, bad"):
        chosen("good,tree")
    with pytest.raises(UsageError, match="names no head"):
        chosen(" , ")


def test_all_means_the_heads_that_the_store_is_for_and_what_is_named_is_tried() -> None:
    heads.HEADS["bad"] = replace(heads.HEADS["bad"], reads=("patch",))
    heads.HEADS["picky"] = replace(heads.HEADS["picky"], reads=("frame",))
    spectrograms = encoder_row("mfcc").spec()
    assert choose_heads("all", make_spec()) == (("good", "bad"), ("picky",))
    assert choose_heads("all", spectrograms) == (("good", "picky"), ("bad",))
    assert choose_heads("all,bad", spectrograms) == (("good", "picky", "bad"), ())
    assert choose_heads("tests_nearest", spectrograms) == (("good", "bad", "picky"), ())


def test_nothing_to_compare_by_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--protocol none"):
        made(tmp_path, protocol="none")


def test_where_every_head_refuses_there_is_no_table_and_a_line_says_why(tmp_path: Path) -> None:
    heads.HEADS["fussy"] = replace(heads.HEADS["picky"], name="fussy")

    with pytest.raises(EarshotError, match=r"^--heads: nothing .* picky refuses .*; so do fussy\. picky: picky: takes"):
        compare(make_table(60), make_spec(), CompareSettings(heads=("picky", "fussy")), tmp_path)


def test_the_table_as_csv_markdown_json_and_page(tmp_path: Path) -> None:
    result = made(tmp_path)
    lines = list(csv.DictReader(io.StringIO(render_csv(result))))
    assert [line["head"] for line in lines] == ["good", "bad", "picky"]
    assert float(lines[1]["behind_low"]) < float(lines[1]["behind_best"])
    assert lines[2]["refused"].startswith("picky")
    assert lines[2]["accuracy"] == ""
    text = render_markdown(result)
    assert "| good " in text
    assert "| best " in text
    assert "- picky was left out: picky: takes at most 3 rows" in text
    said = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert said["heads"][0]["behind_best"] == {"difference": 0, "interval": None}
    page = render_page(result, store="emb", command="earshot compare emb --heads 'a<b'")
    check_page(page)
    assert "a&lt;b" in page
    assert "picky" in page


@pytest.mark.parametrize(("value", "text"), [(None, "–"), (0.0123, "12 ms"), (3.21, "3.2 s"), (125.0, "125 s")])
def test_seconds_as_people_read_them(value: float | None, text: str) -> None:
    assert seconds_text(value) == text
