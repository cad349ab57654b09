"""AudioSet's tfrecords: what is written is read back, damage is named, TensorFlow agrees."""

from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingest.audioset.labels import load_labels
from ingest.audioset.segments import Segment
from ingest.audioset.tfrecord import SegmentFeatures, parse_example, read_records, serialize_example, write_records
from ingest.errors import FormatError


def tfrecord(*records: bytes) -> bytes:
    file = BytesIO()
    write_records(file, records)
    return file.getvalue()


def example(n: int = 10, mids: tuple[str, ...] = ("/m/09x0r",), start_s: float = 30.0) -> SegmentFeatures:
    vectors = np.random.default_rng(n).integers(0, 256, (n, 128), dtype=np.uint8)
    return SegmentFeatures(Segment("-a_b", start_s, round(start_s + n, 3), mids), vectors)


@given(st.lists(st.binary(max_size=300), max_size=5))
def test_records_come_back(records):
    assert list(read_records(BytesIO(tfrecord(*records)), "f")) == records


@settings(deadline=None)
@given(st.integers(1, 10), st.lists(st.sampled_from(load_labels().audioset), max_size=5), st.integers(0, 7_000_000))
def test_segments_come_back(n, mids, start_ms):
    written = example(n, tuple(mids), start_ms / 1000)
    found = parse_example(serialize_example(written))
    assert found.segment == written.segment
    assert found.vectors.dtype == np.uint8
    np.testing.assert_array_equal(found.vectors, written.vectors)
    assert serialize_example(found) == serialize_example(written)


@given(st.data())
def test_any_flipped_byte_is_found_and_whole_records_are_kept(data):
    records = [b"first" * 9, b"second" * 9, b"third" * 9]
    content = bytearray(tfrecord(*records))
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    damage: list[FormatError] = []
    found = list(read_records(BytesIO(content), "f", damage.append))
    assert len(damage) == 1
    assert set(found) < set(records)


@given(st.data())
def test_any_cut_is_found(data):
    content = tfrecord(b"first" * 9, b"second" * 9)
    first = len(tfrecord(b"first" * 9))
    at = data.draw(st.integers(1, len(content) - 1).filter(lambda at: at != first))
    damage: list[FormatError] = []
    found = list(read_records(BytesIO(content[:at]), "f", damage.append))
    assert len(damage) == 1
    assert len(found) == (at > first)


def test_a_damaged_checksum_leaves_out_its_record_only():
    content = bytearray(tfrecord(b"first", b"second", b"third"))
    content[content.index(b"second")] ^= 1
    damage: list[FormatError] = []
    assert list(read_records(BytesIO(content), "f.tfrecord", damage.append)) == [b"first", b"third"]
    assert str(damage[0]).startswith("f.tfrecord: record 2: the checksum")
    with pytest.raises(FormatError):
        list(read_records(BytesIO(content), "f"))


@pytest.mark.parametrize("record", [b"", b"hello", b"\xff" * 40])
def test_what_is_no_example(record):
    with pytest.raises(FormatError):
        parse_example(record)


@pytest.mark.parametrize("n", [0, 11])
def test_a_segment_has_one_to_ten_vectors(n):
    with pytest.raises(FormatError, match="1 to 10 vectors"):
        parse_example(serialize_example(example(n)))


def test_a_label_without_index_cannot_be_written():
    with pytest.raises(FormatError, match="no index"):
        serialize_example(example(mids=("Dog bark",)))


@pytest.mark.parametrize("index", [-1, 527])
def test_a_label_index_outside_the_table(index, monkeypatch):
    monkeypatch.setattr("ingest.audioset.tfrecord._index", lambda mid: index)
    with pytest.raises(FormatError, match="0 to 526"):
        parse_example(serialize_example(example()))


@pytest.mark.slow
@pytest.mark.tensorflow
@pytest.mark.filterwarnings("ignore")
def test_tensorflow_reads_ours_and_we_read_tensorflows(tmp_path):
    import tensorflow as tf

    ours = tmp_path / "ours.tfrecord"
    ours.write_bytes(tfrecord(serialize_example(example(7))))
    (record,) = tf.data.TFRecordDataset(str(ours)).as_numpy_iterator()
    message = tf.train.SequenceExample.FromString(record)
    assert message.context.feature["video_id"].bytes_list.value[0] == b"-a_b"
    assert list(message.context.feature["labels"].int64_list.value) == [0]
    frames = message.feature_lists.feature_list["audio_embedding"].feature
    assert [frame.bytes_list.value[0] for frame in frames] == [row.tobytes() for row in example(7).vectors]

    theirs = tmp_path / "theirs.tfrecord"
    with tf.io.TFRecordWriter(str(theirs)) as writer:
        writer.write(message.SerializeToString())
    with theirs.open("rb") as file:
        (record,) = read_records(file, "theirs")
    np.testing.assert_array_equal(parse_example(record).vectors, example(7).vectors)
