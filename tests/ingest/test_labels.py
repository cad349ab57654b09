"""AudioSet's labels: the table against its originals, and what can be asked of it."""

import csv
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.audioset.labels import LABELS_CSV, descendants, display_name, load_labels, mid_of
from ingest.errors import UsageError

MIDS = sorted(load_labels().by_mid)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_holds_what_the_originals_hold(shared):
    nodes = json.loads((shared / "audioset/ontology.json").read_text())
    audioset = {row["mid"]: row["index"] for row in rows(shared / "audioset/class_labels_indices.csv")}
    yamnet = {row["mid"]: row["index"] for row in rows(shared / "models/yamnet_class_map.csv")}
    expected = [
        {
            "mid": node["id"],
            "name": node["name"],
            "audioset_index": audioset.get(node["id"], ""),
            "yamnet_index": yamnet.get(node["id"], ""),
            "parents": " ".join(sorted(other["id"] for other in nodes if node["id"] in other["child_ids"])),
        }
        for node in sorted(nodes, key=lambda node: node["id"])
    ]
    assert rows(LABELS_CSV) == expected


def test_the_published_counts():
    labels = load_labels()
    assert (len(labels.by_mid), len(labels.audioset), len(labels.yamnet)) == (632, 527, 521)
    assert labels.audioset[0] == labels.yamnet[0] == mid_of("Speech") == "/m/09x0r"


@given(st.sampled_from(MIDS))
def test_name_and_mid_lead_to_each_other(mid):
    assert mid_of(display_name(mid)) == mid
    assert mid_of(display_name(mid).upper()) == mid
    assert mid_of(mid) == mid


@given(st.sampled_from(MIDS))
def test_descendants_are_the_children_and_theirs(mid):
    children = load_labels().children.get(mid, ())
    below = descendants(mid)
    assert mid not in below
    assert below == set(children).union(*(descendants(child) for child in children))
    assert all(mid in load_labels().by_mid[child].parents for child in children)


def test_dogs_bark():
    assert mid_of("Bark") in descendants(mid_of("Dog"))
    assert mid_of("Bark") in descendants(mid_of("Animal"))


def test_an_unknown_mid_is_its_own_name():
    assert display_name("Dog bark") == "Dog bark"


def test_an_unknown_name_is_the_users_mistake_with_suggestions():
    with pytest.raises(UsageError, match="'Jackhammer'"):
        mid_of("Jakhammer")
