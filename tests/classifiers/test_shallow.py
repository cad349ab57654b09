"""One contract for every shallow row of the table of heads, and what sets their parts apart."""

import importlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args
from zipfile import BadZipFile

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from classifiers.heads import HEADS, FittedHead, TrainingData, fit_head, load_head
from classifiers.shallow import choosing, fitting, svc
from classifiers.shallow.families import FAMILIES
from classifiers.shallow.light import trees_score
from classifiers.shallow.machines import FittedMachines
from classifiers.shallow.pooling import POOLINGS, pool
from classifiers.shallow.search import Parameter, Space, read_spaces
from ingest.audioset.class_sets import Mode
from ingest.errors import FormatError, UsageError
from tests.classifiers.generated import CLASSES, make_spec, make_table

ROWS = [row.name for row in HEADS.values() if row.module == "classifiers.shallow.head"]
MODES = get_args(Mode)
SMALL = {"n_estimators": 8, "max_iter": 40, "estimator__n_estimators": 4, "n_components": 30}
"""What makes a machine quick, where its family has such a parameter."""


def make_data(mode: str = "single", n: int = 60, seed: int = 0, classes: tuple[str, ...] = CLASSES) -> TrainingData:
    table = make_table(n, seed=seed, classes=classes)
    targets = np.array([[name in mids for name in classes] for mids in table.mids], np.float32)
    spec = make_spec("uint8")
    return TrainingData(table.vectors, table.mask, targets, table.sources, table.mids, classes, mode, spec)  # type: ignore[arg-type]


def fit(name: str, data: TrainingData, seed: int = 0, **changes: Any) -> FittedHead:
    space = read_spaces()[HEADS[name].settings["family"]]
    small = {key: value for key, value in SMALL.items() if key in space.parameters}
    return fit_head(name, data, seed, changes={"trials": 1, "pooling": "mean"} | small | changes)


@pytest.fixture(scope="module", params=[(name, mode) for name in ROWS for mode in MODES], ids=str)
def fitted(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Mode, Any, Path]:
    name, mode = request.param
    head, folder = fit(name, make_data(mode)), tmp_path_factory.mktemp(name)
    head.save(folder)
    return name, mode, head, folder


def test_it_learns_and_its_scores_are_in_range(fitted: tuple[str, Mode, Any, Path]) -> None:
    _, mode, head, _ = fitted
    unseen = make_data(mode, seed=1)
    scores = head.predict(unseen.vectors, unseen.mask).scores
    assert scores.dtype == np.float32
    assert scores.shape == unseen.targets.shape
    assert (scores.argmax(axis=1) == unseen.targets.argmax(axis=1)).mean() > 0.8
    assert scores.min() >= 0
    assert scores.max() <= 1
    if mode == "single":
        np.testing.assert_allclose(scores.sum(axis=1), 1, atol=1e-5)


def test_garbage_outside_the_mask_changes_nothing(fitted: tuple[str, Mode, Any, Path]) -> None:
    name, mode, head, folder = fitted
    data = make_data(mode, seed=1)
    noise = np.random.default_rng(2).integers(0, 256, data.vectors.shape).astype(np.uint8)
    dirty = np.where(data.mask[..., None], data.vectors, noise)
    for one in (head, load_head(name, folder, mode, "light")):
        clean, noisy = one.predict(data.vectors, data.mask), one.predict(dirty, data.mask)
        np.testing.assert_array_equal(clean.scores, noisy.scores)


def test_saved_and_loaded_it_says_the_same(fitted: tuple[str, Mode, Any, Path]) -> None:
    name, mode, head, folder = fitted
    row, data = HEADS[name], make_data(mode, seed=1)
    assert {path.name for path in folder.iterdir()} == {row.full_file, row.light_file}
    said = head.predict(data.vectors, data.mask).scores
    for runtime in ("light", "full"):
        loaded = load_head(name, folder, mode, runtime).predict(data.vectors, data.mask).scores  # type: ignore[arg-type]
        np.testing.assert_allclose(loaded, said, atol=1e-6)


@pytest.mark.parametrize("name", ROWS)
def test_the_same_seed_gives_the_same_head(name: str) -> None:
    data = make_data(n=42)
    one, other = (fit(name, data, seed=3).predict(data.vectors, data.mask).scores for _ in "12")
    np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("name", [name for name in ROWS if HEADS[name].light_file == "head.npz"])
@pytest.mark.parametrize(("mode", "classes"), [("single", ("Dog", "Siren")), ("multi", ("Dog",))])
def test_few_classes_have_a_light_form_too(name: str, mode: str, classes: tuple[str, ...], tmp_path: Path) -> None:
    """Two classes, and one alone against the rest, are where scikit-learn's arrays have other shapes."""
    data = make_data(mode, n=40, classes=("Dog", "Siren"))
    data = replace(data, targets=data.targets[:, : len(classes)], class_names=classes)
    head = fit(name, data)
    head.save(tmp_path)
    said = head.predict(data.vectors, data.mask).scores
    for runtime in ("light", "full"):
        loaded = load_head(name, tmp_path, mode, runtime).predict(data.vectors, data.mask).scores  # type: ignore[arg-type]
        np.testing.assert_allclose(loaded, said, atol=1e-6)
    assert ((said[:, 0] > 0.5) == (data.targets[:, 0] > 0)).mean() > 0.9


def test_light_heads_need_no_engine(tmp_path: Path) -> None:
    names = [name for name in ROWS if HEADS[name].light_file == "head.npz"]
    for name in names:
        (tmp_path / name).mkdir()
        fit(name, make_data(n=24), search="none").save(tmp_path / name)
    code = (
        "import sys, numpy\nfrom pathlib import Path\nfrom classifiers.heads import load_head\n"
        f"for name in {names!r}:\n"
        f"    head = load_head(name, Path({str(tmp_path)!r}) / name, 'single', 'light')\n"
        "    head.predict(numpy.zeros((1, 4, 12), 'uint8'), numpy.ones((1, 4), bool))\n"
        "print(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert not {"tensorflow", "keras", "sklearn", "skops", "xgboost"} & set(done.stdout.split())


def test_labels_that_stand_together_are_learnt_together() -> None:
    """In "multi" a row may have several classes: a mix of two classes' patches is given both."""
    data = make_data("multi", n=90)
    pairs = (np.arange(90) + 2) % 90  # the next source: another class
    vectors = np.concatenate([data.vectors, data.vectors[pairs]], axis=1)
    mask = np.concatenate([data.mask, data.mask[pairs]], axis=1)
    both = replace(data, vectors=vectors, mask=mask, targets=np.maximum(data.targets, data.targets[pairs]))
    scores = fit("logistic", both).predict(vectors, mask).scores
    assert ((scores > 0.5) == (both.targets > 0)).mean() > 0.9


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("logistic", {"search": "all"}, "--set search: must be one of random, grid, none"),
        ("logistic", {"pooling": "median"}, "--set pooling"),
        ("logistic", {"folds": 1}, "--set folds"),
        ("logistic", {"depth": 3}, "no such setting; it has .*pooling.* and to hold at a value C, class_weight"),
        ("logistic", {"C": "much"}, "--set C: takes a value like 0.1"),
        ("xgboost", {"one_vs_rest": True}, "one_vs_rest"),
    ],
)
def test_wrong_settings_are_one_line(name: str, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as error:
        fit(name, make_data(n=24), **changes)
    assert "\n" not in str(error.value)


def test_what_it_cannot_learn_is_refused() -> None:
    data = make_data(n=24)
    with pytest.raises(UsageError, match="no row with 'Bird'"):
        fit("forest", data.select(np.flatnonzero(data.targets[:, 2] == 0)))
    many = replace(
        data,
        targets=np.eye(101, dtype=np.float32)[np.arange(24)],
        class_names=tuple(map(str, range(101))),
    )
    with pytest.raises(UsageError, match=r"at most 100 classes .* got 101"):
        fit("forest", many)
    with pytest.raises(UsageError, match="two sources"):
        fit("linear-svc", make_data(n=6))


def test_too_few_recordings_take_the_defaults(caplog: pytest.LogCaptureFixture) -> None:
    head = fit("logistic", make_data(n=6), trials=5)
    assert head.settings["chosen"]["inner_score"] is None
    assert "the defaults are taken" in caplog.text


def test_a_class_of_one_recording_is_passed_over_in_the_search() -> None:
    data = make_data(n=60)
    rare = np.flatnonzero(data.targets[:, 2] > 0)[2:]
    head = fit("logistic", data.select(np.setdiff1d(np.arange(60), rare)), trials=3)
    assert head.settings["chosen"]["inner_score"] > 0.6
    assert head.predict(data.vectors, data.mask).scores.shape == (60, 3)


def test_pooling_and_parameters_are_chosen_out_of_fold() -> None:
    """Classes that differ in spread alone: only the pooling that sees it will do."""
    rng = np.random.default_rng(0)
    loud = np.arange(80) // 2 % 2
    vectors = (rng.normal(0, 1, (80, 10, 6)) * (1 + 3 * loud[:, None, None])).astype(np.float32)
    data = TrainingData(
        vectors=vectors,
        mask=np.ones((80, 10), np.bool_),
        targets=np.eye(2, dtype=np.float32)[loud],
        sources=[f"s{i // 2}" for i in range(80)],
        labels=[()] * 80,
        class_names=("quiet", "loud"),
        mode="single",
        spec=make_spec("float32", dim=6),
    )
    chosen = fit("logistic", data, pooling="auto", trials=3).settings["chosen"]
    assert chosen["pooling"] != "mean"
    assert chosen["inner_score"] > 0.95


def test_a_large_problem_is_searched_in_part_and_learnt_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(choosing, "SEARCH_ROWS", 40)
    monkeypatch.setattr(choosing, "SEARCH_CLASSES", 2)
    monkeypatch.setattr(choosing, "inner_score", lambda data, scores: seen.append(data.targets.shape) or 0.5)
    head = fit("logistic", make_data("multi", n=90))
    assert seen == [(40, 2)]
    unseen = make_data("multi", seed=1)
    scores = head.predict(unseen.vectors, unseen.mask).scores
    assert scores.shape == (60, 3)
    assert (scores.argmax(axis=1) == unseen.targets.argmax(axis=1)).mean() > 0.9


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize(
    ("name", "engine", "api", "limit"),
    [
        ("logistic", "sklearn.linear_model.LogisticRegression", "blas", "THREADS_FROM"),
        ("rbf-nystroem", "sklearn.kernel_approximation.Nystroem", "blas", "THREADS_FROM"),
        ("hist-boosting", "sklearn.ensemble.HistGradientBoostingClassifier", "openmp", "TREE_THREADS_FROM"),
    ],
)
def test_a_small_fit_waits_for_no_other_thread(  # noqa: PLR0917
    name: str, engine: str, api: str, limit: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither machines nor what stands before them, in the search as at the end."""
    module, _, kind = engine.rpartition(".")
    asked = getattr(importlib.import_module(module), kind)
    learn, seen = asked.fit, list[list[int]]()

    def threads() -> list[int]:
        return [library["num_threads"] for library in threadpool_info() if library["user_api"] == api]

    monkeypatch.setattr(asked, "fit", lambda *given: seen.append(threads()) or learn(*given))
    monkeypatch.setattr(fitting, limit, 0 if large else 10**9)
    with threadpool_limits(2, api):
        fit(name, make_data(n=42))
        before = threads()
    assert len(seen) == 4  # three folds and the end
    assert before and set(before) == {2}
    assert all(told == (before if large else [1] * len(before)) for told in seen)


def test_fewer_rows_than_give_a_tree_a_branch_are_refused() -> None:
    with pytest.raises(UsageError, match="nothing of the sounds from fewer than 40 rows, got 36"):
        fit("hist-boosting", make_data(n=36))
    assert np.ptp(fit("hist-boosting", make_data(n=40)).predict(*_unseen()).scores) > 0.01


def _unseen() -> tuple[np.ndarray, np.ndarray]:
    data = make_data(seed=1)
    return data.vectors, data.mask


def test_vectors_too_large_for_it_unscaled_are_named() -> None:
    data = make_data(n=24)
    huge = replace(data, vectors=(data.vectors.astype(np.float64) * 1e300), spec=make_spec("float32"))
    with pytest.raises(UsageError, match="use --head sgd-standardised"):
        fit("sgd", huge)


@pytest.mark.parametrize("mode", MODES)
def test_how_sure_a_head_is_does_not_hang_on_what_its_search_chose(mode: str) -> None:
    """Else calibration and thresholds, chosen on the heads of folds, would be of no use to the head of all rows."""
    data, unseen = make_data(mode), make_data(mode, seed=1)
    means = []
    for cost in (1e-2, 1e-1, 1.0):
        scores = fit("logistic", data, C=cost).predict(unseen.vectors, unseen.mask).scores
        assert (scores.argmax(axis=1) == unseen.targets.argmax(axis=1)).mean() > 0.9
        means.append(scores[unseen.targets > 0].mean())
    assert min(means) > 0.8
    left_alone = fit("logistic", data, C=1e-2, search="none").predict(unseen.vectors, unseen.mask).scores
    assert left_alone[unseen.targets > 0].mean() < 0.7


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("name", ROWS)
def test_vectors_that_are_all_the_same_are_scored_alike_or_refused(name: str, mode: str) -> None:
    """A microphone that was off: nothing to learn, and no error of a library's."""
    data = make_data(mode, n=42)
    data = replace(data, vectors=np.full_like(data.vectors, 100))
    try:
        scores = fit(name, data).predict(data.vectors, data.mask).scores
    except UsageError as error:
        assert "none of what it boosts is better than chance" in str(error)
        return
    np.testing.assert_allclose(scores, np.broadcast_to(scores[0], scores.shape), atol=1e-6)
    assert np.isfinite(scores).all()


def test_rows_beyond_the_ceiling_go_to_nystroem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(svc, "MAX_ROWS", 50)
    data = make_data()
    head = fit_head("svc", data, 0)
    assert "60 rows are too many for exact kernels (at most 50)" in caplog.text
    assert head.settings["family"] == "rbf-nystroem"
    head.save(tmp_path)
    said = head.predict(data.vectors, data.mask).scores
    for runtime in ("light", "full"):
        loaded = load_head("svc", tmp_path, "single", runtime).predict(data.vectors, data.mask).scores  # type: ignore[arg-type]
        np.testing.assert_allclose(loaded, said, atol=1e-6)


def test_a_file_with_foreign_types_is_refused(tmp_path: Path) -> None:
    import skops.io

    head = fit("logistic", make_data(n=24))
    assert isinstance(head, FittedMachines)
    parts = {
        "family": "logistic",
        "pooling": "mean",
        "native": True,
        "transforms": [],
        "machines": [Parameter(1, (1,))],
    }
    skops.io.dump(parts, tmp_path / "head.skops")
    with pytest.raises(FormatError, match=r"holds classifiers.shallow.search.Parameter"):
        load_head("logistic", tmp_path, "single", "full")


@pytest.mark.parametrize("name", ["logistic", "xgboost"])
def test_damaged_files_are_told_from_bugs(name: str, tmp_path: Path) -> None:
    """Errors that `load_bundle` turns into one line."""
    fit(name, make_data(n=24)).save(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    for runtime in ("light", "full"):
        with pytest.raises((OSError, ValueError, KeyError, BadZipFile)):
            load_head(name, tmp_path, "single", runtime)  # type: ignore[arg-type]


class TestPooling:
    def test_against_numpy_row_by_row(self) -> None:
        data = make_data(n=20)
        for how, statistics in {"mean": 1, "mean+std": 2, "mean+std+max": 3}.items():
            rows = [row[mask].astype(float) for row, mask in zip(data.vectors, data.mask, strict=True)]
            expected = [[row.mean(axis=0), row.std(axis=0), row.max(axis=0)][:statistics] for row in rows]
            np.testing.assert_allclose(pool(data.vectors, data.mask, how), np.array(expected).reshape(20, -1))

    def test_no_rows(self) -> None:
        assert pool(np.zeros((0, 3, 4), np.uint8), np.zeros((0, 3), bool), "mean+std").shape == (0, 8)


class TestSearch:
    def test_every_family_has_a_space_that_holds_its_default(self) -> None:
        assert read_spaces().keys() == FAMILIES.keys() - {"svc"}
        for space in read_spaces().values():
            for parameter in space.parameters.values():
                low, high = parameter.range or (0, 0)
                assert parameter.default in parameter.grid or low <= parameter.default <= high

    def test_candidates(self) -> None:
        space = Space(5, {"a": Parameter(1, (1, 2, 3), (1, 9)), "b": Parameter("x", ("x", "y"))})
        rng = np.random.default_rng(0)
        assert space.candidates("none", 5, rng) == [{"a": 1, "b": "x"}]
        assert len(space.candidates("grid", 5, rng)) == 6
        drawn = space.candidates("random", 5, rng)
        assert drawn[0] == space.default
        assert len(drawn) <= 5
        assert all(1 <= candidate["a"] <= 9 and candidate["b"] in ("x", "y") for candidate in drawn)
        held = space.fixed("a", 7)
        assert {candidate["a"] for candidate in held.candidates("grid", 5, rng)} == {7}

    def test_a_logarithmic_range_is_drawn_evenly_in_the_logarithm(self) -> None:
        parameter, rng = Parameter(1.0, (1.0,), (1e-4, 1e4), log=True), np.random.default_rng(0)
        logs = np.log10([parameter.draw(rng) for _ in range(2000)])
        assert logs.min() >= -4
        assert logs.max() <= 4
        assert abs(logs.mean()) < 0.2

    def test_pooling_names_are_those_of_the_settings(self) -> None:
        assert list(POOLINGS) == ["mean", "mean+std", "mean+std+max"]


TREE = {
    "roots": np.array([0]),
    "left": np.array([1, 1, 2], np.int32),
    "right": np.array([2, 1, 2], np.int32),
    "feature": np.array([1, 0, 0], np.int32),
    "threshold": np.array([0.5, 0.0, 0.0]),
    "values": np.array([[0.5, 0.5], [1.0, 0.0], [0.0, 1.0]]),
}


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("feature", [1, 0, -(1 << 31)]),
        ("feature", [2, 0, 0]),
        ("left", [1, 0, 2]),
        ("right", [3, 1, 2]),
        ("threshold", [0.5]),
        ("values", [[0.5, 0.5], [1.0, 0.0], [0.0, 1e30]]),
        ("values", [[0.5, 0.5], [1.0, 0.0], [0.0, np.nan]]),
        ("roots", [3]),
    ],
)
def test_damaged_trees_are_refused_though_no_row_comes_by_the_damage(name: str, values: list[float]) -> None:
    rows = np.array([[0.0, 0.0]])
    np.testing.assert_array_equal(trees_score(TREE, rows), [[1.0, 0.0]])
    with pytest.raises(ValueError, match="the trees are damaged"):
        trees_score({**TREE, name: np.array(values)}, rows)
