import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from classifiers.targets import (
    ALL_BACKGROUND,
    add_background,
    make_targets,
    resolve_class_set,
    rows_of_strangers,
    without_rare,
)
from ingest.audioset.class_sets import ClassSet, SoundClass, class_set_names, find_class_set, read_class_set
from ingest.audioset.labels import load_labels
from ingest.datasets.esc import _CLASSES as ESC50
from ingest.errors import FormatError, UsageError

LABELS = st.lists(st.lists(st.sampled_from("abcd"), max_size=3, unique=True).map(tuple), max_size=30)
AB_C = ClassSet("t", "single", (SoundClass("AB", ("a", "b")), SoundClass("C", ("c",))))

OWN_NAMES = {name.casefold() for name in (*ESC50, "dog bark", "baby cry", "person sneeze", "fire crackling")} | {
    "air conditioner", "car horn", "children playing", "drilling", "engine idling", "gun shot", "jackhammer", "siren",
    "street music",
}  # fmt: skip
"""What ESC-50, ESC-10 and UrbanSound8K call their classes."""


@pytest.mark.parametrize("name", class_set_names())
def test_every_class_set_reads_and_speaks_of_labels_that_exist(name: str) -> None:
    class_set = find_class_set(name)
    assert class_set is not None
    labels = {mid for c in class_set.classes for mid in c.mids}
    mids = {label for label in labels if label.startswith(("/m/", "/t/", "/g/"))}
    assert mids <= set(load_labels().by_mid)
    assert all(set(c.mids) & set(load_labels().audioset) for c in class_set.classes)
    assert {name.casefold() for name in labels - mids} <= OWN_NAMES
    assert ClassSet.from_json(class_set.to_json()) == class_set


def test_audioset527_is_every_label_in_the_order_of_the_released_data() -> None:
    class_set = find_class_set("audioset527")
    assert class_set is not None
    assert class_set.mode == "multi"
    assert len(class_set.classes) == 527
    assert class_set.names[:2] == ("Speech", "Male speech, man speaking")
    assert not any(";" in name for name in class_set.names)


def test_city10_of_the_balanced_list_is_1062_rows(shared: Path) -> None:
    with (shared / "audioset" / "balanced_train_segments.csv").open() as file:
        rows = [line for line in csv.reader(file, skipinitialspace=True) if not line[0].startswith("#")]
    labels = [tuple(row[3].split(",")) for row in rows]
    targets = make_targets(labels, resolve_class_set("city10", labels))
    assert len(targets.rows) == 1062
    assert targets.values.sum(axis=0).astype(int).tolist() == [60, 58, 271, 59, 206, 59, 60, 59, 59, 171]


@given(LABELS)
def test_single_mode_accounts_for_every_row(labels: list[tuple[str, ...]]) -> None:
    counts = [("a" in row or "b" in row) + ("c" in row) for row in labels]
    present = [any({"a", "b"} & set(row) for row, n in zip(labels, counts, strict=True) if n == 1),
               any("c" in row for row, n in zip(labels, counts, strict=True) if n == 1)]  # fmt: skip
    if not all(present):
        together = 2 in counts  # a class has rows, but none without the other
        with pytest.raises(UsageError, match="all have another of the classes" if together else "no row has"):
            make_targets(labels, AB_C)
        return
    targets = make_targets(labels, AB_C)
    assert targets.rows.tolist() == [i for i, n in enumerate(counts) if n == 1]
    assert (targets.left_out_none, targets.left_out_several) == (counts.count(0), counts.count(2))
    assert (targets.values.sum(axis=1) == 1).all()


def test_multi_mode_uses_rows_with_none_and_with_several() -> None:
    class_set = ClassSet("t", "multi", AB_C.classes)
    targets = make_targets([("a",), ("b", "c"), ("d",), ()], class_set)
    np.testing.assert_array_equal(targets.values, [[1, 0], [1, 1], [0, 0], [0, 0]])
    assert targets.rows.tolist() == [0, 1, 2, 3]


def test_a_balanced_set_has_as_many_rows_without_as_with_and_no_relatives() -> None:
    speech, human, dog, own = "/m/09x0r", "/m/09l8g", "/m/0bt9lr", "hum"
    class_set = ClassSet("t", "multi", (SoundClass("Speech", (speech,)),), balanced=True)
    labels = [(speech,)] * 4 + [(speech, dog)] * 2 + [(human,)] * 9 + [(dog,), (own,), ()] * 10
    targets = make_targets(labels, class_set)
    assert targets.values.sum() == 6
    assert len(targets.rows) == 12
    assert all(labels[row] not in ((human,), ()) for row in targets.rows)
    assert (make_targets(labels, class_set).rows == targets.rows).all()
    few = make_targets([(speech,)] * 9 + [(dog,)] * 2, class_set)
    assert (len(few.rows), few.values.sum()) == (4, 2)
    for need_all in (True, False):
        with pytest.raises(UsageError, match=r"as many rows without Speech as with it.*of 2 rows none.*embed other"):
            make_targets([(speech,), (speech, "x")], class_set, need_all=need_all)
    with pytest.raises(UsageError, match="no row has 'Speech'"):
        make_targets([("x",)], class_set)
    with pytest.raises(FormatError, match="balanced"):
        ClassSet("t", "single", AB_C.classes, balanced=True)


def test_children_are_taken_in_once_and_never_from_another_class(tmp_path: Path) -> None:
    cough, throat, bark = "/m/01b_21", "/m/0dl9sf8", "/m/05tny_"
    path = tmp_path / "children.toml"
    classes = {"C": cough, "T": throat, "D": "/m/0bt9lr"}
    tables = "".join(f'[[classes]]\nname = "{name}"\nmids = ["{mid}"]\n' for name, mid in classes.items())
    path.write_text('title = "T"\nmode = "multi"\nchildren = true\n' + tables)
    class_set = read_class_set(path)
    assert class_set.classes[0].mids == (cough,)
    assert bark in class_set.classes[2].mids
    assert ClassSet.from_json(class_set.to_json()) == class_set


def test_to_train_a_class_may_not_be_everywhere() -> None:
    rows = [("a",), ("a", "b"), ("a",)]
    class_set = ClassSet("x", "multi", (SoundClass("A", ("a",)), SoundClass("B", ("b",))))
    with pytest.raises(UsageError, match="every row has 'A'"):
        make_targets(rows, class_set)
    assert len(make_targets(rows, class_set, need_all=False).rows) == 3


def test_to_measure_a_class_may_be_missing_but_not_all() -> None:
    assert make_targets([("a",)], AB_C, need_all=False).values.tolist() == [[1, 0]]
    with pytest.raises(UsageError, match="'AB', 'C'"):
        make_targets([("d",)], AB_C, need_all=False)


def test_without_classes_every_label_of_the_store_is_one() -> None:
    single = resolve_class_set(None, [("dog",), ("cat",)])
    assert (single.mode, single.names) == ("single", ("cat", "dog"))
    assert resolve_class_set(None, [("dog", "cat"), ("cat",)]).mode == "multi"
    assert resolve_class_set(None, [("/m/0bt9lr",), ("x",)]).names == ("Dog", "x")
    stray = [("dog",), (), ("cat",)]  # a row without labels says nothing of how labels stand together
    assert resolve_class_set(None, stray).mode == "single"
    assert make_targets(stray, resolve_class_set(None, stray)).left_out_none == 1
    with pytest.raises(UsageError, match="no labels"):
        resolve_class_set(None, [(), ()])


def test_a_name_and_the_mid_that_people_call_so_are_one_class() -> None:
    rows = [("Dog",), ("/m/0bt9lr",), ("Dog", "/m/0bt9lr"), ("x",)]
    class_set = resolve_class_set(None, rows)
    assert (class_set.mode, class_set.names) == ("single", ("Dog", "x"))
    assert set(class_set.classes[0].mids) == {"Dog", "/m/0bt9lr"}
    assert make_targets(rows, class_set).values.tolist() == [[1, 0], [1, 0], [1, 0], [0, 1]]


def test_a_label_is_a_class_by_its_name_too() -> None:
    """Models of AudioSet's labels can be measured on folders that are named as AudioSet names them."""
    dog, siren, bark = "/m/0bt9lr", "/m/03kmc9", "/m/05tny_"
    audioset = ClassSet("t", "single", (SoundClass("Dog", (dog,)), SoundClass("Siren", (siren,))))
    rows = [("dog",), ("Siren",), (dog,), ("bark",), (bark,), ("rain",), (), ("Dog", dog)]
    targets = make_targets(rows, audioset)
    assert targets.rows.tolist() == [0, 1, 2, 7]
    assert targets.values.tolist() == [[1, 0], [0, 1], [1, 0], [1, 0]]
    assert rows_of_strangers(rows, audioset, relatives_too=True).tolist() == [3, 4, 5]
    assert rows_of_strangers(rows, audioset).tolist() == [5]
    folders = ClassSet("t", "single", (SoundClass("dog", ("dog",)), SoundClass("siren", ("siren",))))
    assert make_targets(rows, folders).rows.tolist() == [0, 1, 2, 7]
    apart = ClassSet("t", "single", (SoundClass("mine", ("dog",)), SoundClass("theirs", (dog,))))
    assert make_targets([("dog",), (dog,)], apart).values.tolist() == [[1, 0], [0, 1]]


def test_rare_classes_are_left_out_by_their_sources() -> None:
    rows, sources = [("a",), ("a",), ("b",), ("b",), ("c",), ("a", "c")], ["1", "1", "2", "3", "4", "5"]
    whole = ClassSet("t", "single", tuple(SoundClass(name.upper(), (name,)) for name in "abc"))
    with pytest.raises(UsageError, match="leaves 1 of 3 classes, the most frequent with sounds of 2 sources"):
        without_rare(whole, rows, sources, 2)
    assert without_rare(whole, rows, sources, 1) == whole
    several = replace(whole, mode="multi")
    assert without_rare(several, rows, sources, 2).names == ("A", "B", "C")
    assert without_rare(several, rows[:5], sources[:5], 2).names == ("B",)


def test_a_message_names_a_few_of_many_classes() -> None:
    with pytest.raises(UsageError, match=r"no row has 'Speech', .* and 521 more \("):
        make_targets([("/m/0bt9lr",)], resolve_class_set("audioset527", []))


def test_names_mean_the_stores_labels_first_then_audiosets() -> None:
    class_set = resolve_class_set("Rooster; Dog", [("Rooster",), ("/m/0bt9lr",)])
    assert [c.mids for c in class_set.classes] == [("Rooster",), ("/m/0bt9lr",)]
    assert class_set.mode == "single"
    assert resolve_class_set("Dog", [()]).mode == "multi"
    assert resolve_class_set("dog;ROOSTER", [("Rooster",), ("/m/0bt9lr",)]).classes[1].mids == ("Rooster",)
    assert resolve_class_set("Dog", [("dog",), ("/m/0bt9lr",)]).classes[0].mids == ("/m/0bt9lr",)
    assert resolve_class_set("Dog", [("dog",)]).classes[0].mids == ("dog",)
    assert resolve_class_set("Dog;Bird;Dog", [("Dog",)]).names == ("Dog", "Bird")
    assert resolve_class_set("Dog;Bird;Dog", [("Dog",)]).title == "Dog, Bird"
    assert resolve_class_set("Dog;Bird;Cat;Horse;Siren", []).title == "Dog, Bird, Cat and 2 more"
    with pytest.raises(UsageError, match="did you mean 'Door slam'"):
        resolve_class_set("Door slamm", [("Door slam",)])


def test_a_path_is_read(tmp_path: Path) -> None:
    path = tmp_path / "two.toml"
    path.write_text('title = "T"\nmode = "multi"\n[[classes]]\nname = "A"\nmids = ["a"]\n')
    assert resolve_class_set(str(path), [("a",)]) == ClassSet("T", "multi", (SoundClass("A", ("a",)),))


@pytest.mark.parametrize("text", ["no such class", "Dog;no such class", " ; ", "missing.toml"])
def test_what_names_nothing_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError, match="--classes"):
        resolve_class_set(text, [("a",)])


@pytest.mark.parametrize(
    "text",
    [
        "not toml",
        'title = "T"',
        'title = "T"\nmode = "both"\n[[classes]]\nname = "A"\nmids = ["a"]',
        'title = "T"\nmode = "multi"\n[[classes]]\nname = "A"\nmids = []',
        'title = "T"\nmode = "single"\n[[classes]]\nname = "A"\nmids = ["a"]',
        'title = "T"\nmode = "multi"\n[[classes]]\nname = "A"\nmids = ["a"]\n[[classes]]\nname = "B"\nmids = ["a"]',
        'title = "T"\nmode = "multi"\n[[classes]]\nname = "A"\nmids = ["a"]\n[[classes]]\nname = "A"\nmids = ["b"]',
    ],
)
def test_a_bad_file_is_the_users_mistake_in_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "bad.toml"
    path.write_text(text)
    with pytest.raises(UsageError, match=r"bad\.toml: ") as error:
        read_class_set(path)
    assert "\n" not in str(error.value)


def test_sounds_of_none_of_the_classes_are_no_class_and_may_be_background() -> None:
    labels = [("Dog",), ("Rain",), ("Dog",), ("Rain",), ("none of these",)]
    class_set = resolve_class_set(None, labels)
    assert (class_set.mode, class_set.names) == ("single", ("Dog", "Rain"))
    targets = make_targets(labels, class_set)
    assert targets.left_out_none == 1
    for n in (5, ALL_BACKGROUND):
        wider = add_background(targets, labels, class_set, n, np.random.default_rng(0))
        assert (wider.background, wider.rows.tolist()) == (1, [0, 1, 2, 3, 4])
