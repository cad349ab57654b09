"""What is chosen obeys the choice, depends on nothing but seed and keys, and is as balanced as rows allow."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.audioset.choose import Choice, balanced, choose, relatives
from ingest.audioset.class_sets import SoundClass, classes_named
from ingest.audioset.labels import ancestors, descendants
from ingest.audioset.quality import Quality
from ingest.audioset.segments import Segment, read_segments
from ingest.errors import UsageError

DOG, BARK, ANIMAL, SIREN, SPEECH, MUSIC = (
    "/m/0bt9lr",
    "/m/05tny_",
    "/m/0jbk",
    "/m/03kmc9",
    "/m/09x0r",
    "/m/04rlf",
)
ALL = [DOG, BARK, ANIMAL, SIREN, SPEECH, MUSIC]
LISTS = st.lists(st.sets(st.sampled_from(ALL), max_size=4).map(sorted), max_size=40).map(
    lambda labels: [Segment(f"video{n:06}", 0.0, 10.0, tuple(mids)) for n, mids in enumerate(labels)]
)
ROWS = st.lists(st.sets(st.integers(0, 5), max_size=4).map(lambda row: tuple(sorted(row))), max_size=60)


def one(mid: str) -> tuple[SoundClass, ...]:
    return (SoundClass(mid, (mid,)),)


@given(rows=ROWS, per_class=st.integers(1, 20))
def test_every_class_has_its_number_or_all_there_are_and_no_row_is_idle(rows, per_class):
    places = balanced(rows, per_class)
    assert places == sorted(set(places))
    for c in range(6):
        available = sum(c in row for row in rows)
        assert sum(c in rows[place] for place in places) >= min(per_class, available)
    assert len(places) <= per_class * 6
    assert all(rows[place] for place in places)


@given(
    segments=LISTS, seed=st.integers(0, 5), per_class=st.none() | st.integers(1, 5), limit=st.none() | st.integers(0, 9)
)
def test_the_order_of_the_list_does_not_matter_and_the_seed_does_it_all(segments, seed, per_class, limit):
    choice = Choice(classes=one(DOG) + one(SIREN), per_class=per_class, limit=limit, seed=seed)
    shuffled = random.Random(seed).sample(segments, len(segments))
    assert choose(shuffled, choice) == choose(segments, choice)


@given(segments=LISTS, small=st.integers(0, 20), more=st.integers(0, 20))
def test_a_smaller_limit_is_the_beginning_of_a_larger_one(segments, small, more):
    few, many = (choose(segments, Choice(limit=n)).segments for n in (small, small + more))
    assert many[: len(few)] == few
    assert len(many) == min(len(segments), small + more)


@given(segments=LISTS, background=st.integers(0, 8), children=st.booleans(), per_class=st.none() | st.integers(1, 4))
def test_classes_exclusions_and_background_are_what_they_say(segments, background, children, per_class):
    choice = Choice(
        classes=one(DOG), exclude=one(SPEECH), background=background, with_children=children, per_class=per_class
    )
    found = choose(segments, choice)
    wanted = {DOG} | (descendants(DOG) if children else set())
    assert not [s for s in found.segments if SPEECH in s.mids]
    dogs = [s for s in found.segments if wanted.intersection(s.mids)]
    others = [s for s in found.segments if not wanted.intersection(s.mids)]
    available = sum(bool(wanted.intersection(s.mids)) and SPEECH not in s.mids for s in segments)
    assert len(dogs) == (available if per_class is None else min(available, per_class))
    assert all(s.mids and relatives(wanted).isdisjoint(s.mids) for s in others)
    assert len(others) == min(
        background,
        sum(bool(s.mids) and relatives(wanted).isdisjoint(s.mids) and SPEECH not in s.mids for s in segments),
    )
    assert found.classes[0].available == available and found.classes[0].chosen == len(dogs)
    assert (found.background is None) == (background == 0)


def test_relatives_are_those_above_and_below():
    assert {DOG, BARK, ANIMAL} <= relatives([DOG])
    assert SIREN not in relatives([DOG])
    assert all(mid in descendants(above) for mid in ALL for above in ancestors(mid))


def test_a_label_counts_only_when_raters_found_it_right_often_enough():
    segments = [Segment(f"{n}", 0, 10, (mid,)) for n, mid in enumerate([DOG, BARK, SIREN, SPEECH])]
    quality = {DOG: Quality(10, 8), BARK: Quality(10, 7), SIREN: Quality(0, 0)}
    found = choose(segments, Choice(min_quality=0.8), quality)
    assert [s.mids for s in found.segments] == [(DOG,)]
    assert set(found.distrusted) == {BARK, SIREN, SPEECH}  # too low, rated 0 times, not in the file
    dogs = Choice(classes=one(DOG), with_children=True, min_quality=0.8, background=9)
    assert [s.mids for s in choose(segments, dogs, quality).segments if s.mids[0] in (DOG, BARK)] == [(DOG,)]


def test_every_segment_is_chosen_when_nothing_is_asked():
    segments = [Segment("a", 0, 10), Segment("b", 0, 10, (DOG,)), Segment("c", 0, 10, ("own label",))]
    assert {s.youtube_id for s in choose(segments, Choice()).segments} == {"a", "b", "c"}


def test_contradictions_are_the_users_mistakes():
    with pytest.raises(UsageError, match="--background"):
        Choice(background=3)
    with pytest.raises(UsageError, match="'Dog' is among --classes too"):
        Choice(classes=one(DOG), exclude=one(DOG))


def test_names_mids_and_sets_become_classes():
    assert classes_named("Dog; /m/03kmc9;/t/dd99999") == (
        SoundClass("Dog", (DOG,)),
        SoundClass("Siren", (SIREN,)),
        SoundClass("/t/dd99999", ("/t/dd99999",)),
    )
    with pytest.raises(UsageError, match="did you mean 'Siren'"):
        classes_named("Sirenn")
    with pytest.raises(UsageError, match="needs a name"):
        classes_named(" ; ")


def test_balance_on_the_real_list(shared):
    segments = read_segments(shared / "audioset" / "balanced_train_segments.csv").segments
    found = choose(segments, Choice(per_class=20, background=0))
    assert len(found.classes) == 527
    assert all(c.chosen >= min(20, c.available) for c in found.classes)
    assert sorted(c.chosen for c in found.classes)[527 // 2] == 20
    assert len(found.segments) < 0.75 * 20 * 527  # fewer than one by one: rows serve several classes
