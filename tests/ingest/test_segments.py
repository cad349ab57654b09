"""Every row of a list of segments becomes a segment or a bad row with its line number, whatever wrote the list."""

import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingest.audioset.segments import Segment, StrongEvent, read_segments
from ingest.errors import UsageError

HEADER = (
    "# Segments csv created Sun Mar  5 10:54:31 2017\n"
    "# num_ytids=2, num_segs=2, num_unique_labels=3, num_positive_labels=3\n"
    "# YTID, start_seconds, end_seconds, positive_labels\n"
)
IDS = st.text("ABCabc019-_", min_size=11, max_size=11)
MIDS = st.sampled_from(["/m/09x0r", "/t/dd00088", "/m/0bt9lr", "/m/07yv9", "/g/122z_qxw"])
SEGMENTS = st.lists(
    st.builds(
        lambda id_, start_ms, length_ms, mids: Segment(
            id_, start_ms / 1000, (start_ms + length_ms) / 1000, tuple(mids)
        ),
        IDS,
        st.integers(0, 10**7) | st.integers(0, 10**10 - 10_001),
        st.integers(1, 10_000),
        st.lists(MIDS, min_size=1, max_size=4, unique=True),
    ),
    min_size=1,
    max_size=20,
    unique_by=lambda s: s.key,
)


def official(s: Segment) -> str:
    return f'{s.youtube_id}, {s.start_s:.3f}, {s.end_s:.3f}, "{",".join(s.mids)}"'


def every_field_quoted(s: Segment) -> str:
    return f'"{s.youtube_id}","{s.start_s:.3f}","{s.end_s:.3f}","{",".join(s.mids)}"'


def unquoted(s: Segment) -> str:
    return f"{s.youtube_id},{s.start_s:.3f},{s.end_s:.3f},{','.join(s.mids)}"


def write(folder: Path, text: str, name: str = "list.csv") -> Path:
    path = folder / name
    path.write_bytes(text.encode(errors="surrogateescape"))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("lists")


def test_key_is_id_and_start_in_ms():
    assert Segment("-a_b", 30.0, 40.0).key == "-a_b_30000"
    assert Segment("x", 0.029, 10.029).key == "x_29"


@given(
    segments=SEGMENTS,
    row=st.sampled_from([official, every_field_quoted, unquoted]),
    header=st.sampled_from(["", HEADER, HEADER.splitlines()[2] + "\n", "YTID,start,end,labels\n", "\ufeff"]),
    newline=st.sampled_from(["\n", "\r\n"]),
)
def test_what_was_written_is_read(folder, segments, row, header, newline):
    found = read_segments(write(folder, header + newline.join(map(row, segments)) + newline))
    assert found.segments == segments
    assert not found.bad_rows and not found.strong


@given(
    segments=SEGMENTS, noise=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n\t")), max_size=20)
)
def test_every_row_is_a_segment_or_a_bad_row_and_none_is_fatal(folder, segments, noise):
    rows = [official(s) for s in segments] + noise
    random.Random(0).shuffle(rows)
    found = read_segments(write(folder, HEADER + "\n".join(rows)))
    assert {s.key for s in segments} <= {s.key for s in found.segments}
    told = [row for row in rows if row.strip() and not row.strip().startswith("#")]
    assert len(found.segments) + len(found.bad_rows) in (len(told), len(told) - 1)  # the first may be a header
    for bad in found.bad_rows:
        assert rows[bad.line - 4].strip().startswith(bad.text.removesuffix("..."))


@pytest.mark.parametrize(
    ("row", "segment"),
    [
        ("--PJHxphWEs,30,40,/m/09x0r", Segment("--PJHxphWEs", 30.0, 40.0, ("/m/09x0r",))),
        ("--PJHxphWEs,30,40", Segment("--PJHxphWEs", 30.0, 40.0)),
        ("--PJHxphWEs,30,40,", Segment("--PJHxphWEs", 30.0, 40.0)),
        ('a_b_c_d_e_f ,  0.5 , 1.25 , " /m/1 , /m/2,/m/1"', Segment("a_b_c_d_e_f", 0.5, 1.25, ("/m/1", "/m/2"))),
    ],
)
def test_variants_in_the_wild(tmp_path, row, segment):
    assert read_segments(write(tmp_path, row)).segments == [segment]


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ("only-an-id", "a row needs id,start,end"),
        ("bad id!,0,10", "the id must be"),
        ("#NAME?x,0,10", None),
        ("abcdefghijk,zero,10", "the start must be seconds"),
        ("abcdefghijk,0,nan", "the end must be seconds"),
        ("abcdefghijk,-1,10", "the start must be seconds"),
        ("abcdefghijk,0,10000000", "the end must be seconds, 0 or more and less than ten million"),
        (f"abcdefghijk,0,{'9' * 400}", "the end must be seconds"),  # infinite, as a float
        ("abcdefghijk,10,10", "the end must come after the start"),
        ('abcdefghijk,0,10,"/m/09x0r,/t/dd0', "the quotes do not close"),  # cut: another label, or one less
        ('abcdefghijk,0,10,"/m/09x0r""/t/dd00088"', "a label must be"),
        ("abcdefghijk,0,10,/m/09\x00x0r", "a label must be"),
        ("abcdefghijk,0,10,/m/09\udc80x0r", "a label must be"),  # a byte that is not UTF-8
        ("first______,30,40", "the segment stands in the list already"),
        ("YTID,start,end", "the start must be seconds"),
    ],
)
def test_a_bad_row_is_reported_with_line_and_rule(tmp_path, row, rule):
    found = read_segments(write(tmp_path, f"first______,30.000,40\n{row}\nfirst______,31,41\n"))
    assert [s.key for s in found.segments] == ["first_______30000", "first_______31000"]
    assert [(bad.line, bad.rule[: len(rule)]) for bad in found.bad_rows] == ([(2, rule)] if rule else [])


@pytest.mark.parametrize("character", ["x", "\ud7ff", "\x00", "\U000e0001", "'", "\\"])
def test_a_bad_row_is_quoted_in_sixty_characters_whatever_they_are(tmp_path, character):
    text = f"first______,30,40\n{character * 500}\nabc,{character},1"
    for bad in read_segments(write(tmp_path, text)).bad_rows:
        assert len(str(bad)) - len(f"line 2: {bad.rule}, got ''") <= len("...") + 60
        assert str(bad).isprintable()


def test_a_file_of_another_kind_is_refused_in_one_line(tmp_path):
    for content in ["", HEADER, "PAR1\x00\x01\n" * 3]:
        with pytest.raises(UsageError, match="holds no segment"):
            read_segments(write(tmp_path, content))
    with pytest.raises(UsageError, match="cannot be read"):
        read_segments(tmp_path / "missing.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read_segments(tmp_path)


def test_strong_labels_become_segments_with_their_events(tmp_path):
    text = (
        "segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
        "b0RFKhbp_JA_30000\t0.000\t10.000\t/m/03m9d0z\n"
        "b0RFKhbp_JA_30000\t0.600\t0.870\t/t/dd00138\n"
        "-_-_-_-_-_-_0\t1.5\t2\t/m/03m9d0z\n"
        "b0RFKhbp_JA_30000\t2\t1\t/m/03m9d0z\n"
        "b0RFKhbp_JA_30000\t0.000\t1.0\t/m/03m9d0z\tNOT_PRESENT\n"
        "b0RFKhbp_JA_30000\t3\t4\t/m/03m9d0z\n"
        "b0RFKhbp_JA_30000\t5\t6\t/m/03m\udc80d0z\n"
    )
    found = read_segments(write(tmp_path, text, "strong.tsv"))
    assert found.segments == [
        Segment("b0RFKhbp_JA", 30.0, 40.0, ("/m/03m9d0z", "/t/dd00138")),
        Segment("-_-_-_-_-_-", 0.0, 10.0, ("/m/03m9d0z",)),
    ]
    assert found.strong["-_-_-_-_-_-_0"] == [StrongEvent(1.5, 2.0, "/m/03m9d0z")]
    assert len(found.strong["b0RFKhbp_JA_30000"]) == 3
    assert [bad.line for bad in found.bad_rows] == [5, 6, 8]


def test_no_time_of_an_event_is_infinite(tmp_path):
    text = f"a_0\t0\t1\t/m/1\na_0\t0\t{'9' * 400}\t/m/2\na_0\t0\t9999999.9\t/m/3\n"
    found = read_segments(write(tmp_path, text, "strong.tsv"))
    assert found.strong["a_0"] == [StrongEvent(0.0, 1.0, "/m/1"), StrongEvent(0.0, 9999999.9, "/m/3")]
    assert [bad.line for bad in found.bad_rows] == [2]


@pytest.mark.parametrize("clip_ms", ["30000300003000030000", "9" * 400, "9" * 5000])
def test_a_clip_that_starts_beyond_every_video_has_no_events_under_a_key_of_their_own(tmp_path, clip_ms):
    text = f"a_30000\t0\t1\t/m/1\na_{clip_ms}\t0\t1\t/m/2\n"
    found = read_segments(write(tmp_path, text, "strong.tsv"))
    assert [s.key for s in found.segments] == list(found.strong) == ["a_30000"]
    assert [bad.line for bad in found.bad_rows] == [2]


@given(segments=SEGMENTS)
def test_strong_keys_are_the_keys_of_the_weak_lists(folder, segments):
    text = "".join(f"{s.key}\t0\t{i + 1}\t{mid}\n" for s in segments for i, mid in enumerate(s.mids))
    found = read_segments(write(folder, text, "strong.tsv"))
    assert [(s.youtube_id, s.key, s.mids) for s in found.segments] == [(s.youtube_id, s.key, s.mids) for s in segments]
    assert list(found.strong) == [s.key for s in segments]


@pytest.mark.parametrize(("name", "rows"), [("balanced_train", 22_160), ("eval", 20_371)])
def test_the_official_lists_are_read_to_the_last_row(shared, name, rows):
    found = read_segments(shared / "audioset" / f"{name}_segments.csv")
    assert len(found.segments) == len({s.key for s in found.segments}) == rows
    assert not found.bad_rows
    assert len({mid for s in found.segments for mid in s.mids}) == 527
