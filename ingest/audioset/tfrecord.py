"""AudioSet's released form of embeddings, without TensorFlow: TFRecord files of `tf.train.SequenceExample`.

Sources: tensorflow/core/lib/io/record_writer.h for the framing, tensorflow/core/example/{example,feature}.proto for the
messages, "Features dataset" on research.google.com/audioset/download.html for the names.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any, BinaryIO

import google_crc32c
import numpy as np
import numpy.typing as npt

from ingest.audioset.labels import load_labels
from ingest.audioset.segments import Segment
from ingest.errors import FormatError

DIM = 128
MAX_PATCHES = 10
MAX_RECORD_BYTES = 1 << 24
"""A released record has some 1,500; one that declares more is damaged, and would be read into memory."""
_MASK_DELTA = 0xA282EAD8


@dataclass(frozen=True, slots=True)
class SegmentFeatures:
    """A segment with its VGGish embeddings.

    vectors: uint8 [1 to 10, 128], one a second; fewer than ten where the video ended early. Read-only.
    """

    segment: Segment
    vectors: npt.NDArray[np.uint8]


def raise_damage(error: FormatError) -> None:
    """The strict answer to damage."""
    raise error


def read_records(file: BinaryIO, name: str, on_damage: Callable[[FormatError], None] = raise_damage) -> Iterator[bytes]:
    """The records of one TFRecord file, their checksums verified.

    Args:
        name: of the file, for messages.
        on_damage: called with a FormatError for each damaged record, which is then left out. Where the length is
            damaged or the file is cut, that error stands for all the rest of the file.
    """
    number = 0
    while header := file.read(12):
        number += 1
        where = f"{name}: record {number}"
        length = int.from_bytes(header[:8], "little")
        right = len(header) == 12 and _masked_crc(header[:8]) == int.from_bytes(header[8:], "little")
        if not right or length > MAX_RECORD_BYTES:
            on_damage(FormatError(f"{where}: cut or its length is damaged; fetch the file again"))
            return
        record, checksum = file.read(length), file.read(4)
        if len(record) < length or len(checksum) < 4:
            on_damage(FormatError(f"{where}: cut, {length} bytes declared; fetch the file again"))
            return
        if _masked_crc(record) != int.from_bytes(checksum, "little"):
            on_damage(FormatError(f"{where}: the checksum does not fit the bytes; fetch the file again"))
            continue
        yield record


def write_records(file: BinaryIO, records: Iterable[bytes]) -> None:
    """Write records as one TFRecord file."""
    for record in records:
        length = len(record).to_bytes(8, "little")
        checks = (_masked_crc(part).to_bytes(4, "little") for part in (length, record))
        file.write(length + next(checks) + record + next(checks))


def _masked_crc(data: bytes) -> int:
    crc = google_crc32c.value(data)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def parse_example(record: bytes) -> SegmentFeatures:
    """Read one record.

    Raises:
        FormatError: it is no such message, or what it holds is not as released.
    """
    from google.protobuf.message import DecodeError

    try:
        example = _sequence_example().FromString(record)
    except DecodeError as error:
        raise FormatError("not a tf.train.SequenceExample; fetch the file again") from error
    try:
        context = example.context.feature
        youtube_id = context["video_id"].bytes_list.value[0].decode()
        # Stored as float32; the segment lists give milliseconds.
        start_s = round(context["start_time_seconds"].float_list.value[0], 3)
        end_s = round(context["end_time_seconds"].float_list.value[0], 3)
        mids = _mids(context["labels"].int64_list.value)
        patches = [item.bytes_list.value[0] for item in example.feature_lists.feature_list["audio_embedding"].feature]
    except (IndexError, UnicodeDecodeError) as error:
        raise FormatError(
            "lacks video_id, start_time_seconds, end_time_seconds or audio_embedding; fetch the released features"
        ) from error
    data = b"".join(patches)
    if not 1 <= len(patches) <= MAX_PATCHES or set(map(len, patches)) != {DIM}:
        raise FormatError(
            f"{youtube_id}: must hold 1 to {MAX_PATCHES} vectors of {DIM} bytes, got {len(patches)} "
            f"of {len(data)} bytes together; leave this record out"
        )
    if not youtube_id or not 0 <= start_s < end_s < math.inf:
        raise FormatError(f"{youtube_id!r:.80}: from {start_s:g} to {end_s:g} s is no segment; leave this record out")
    vectors = np.frombuffer(data, np.uint8).reshape(-1, DIM)
    return SegmentFeatures(Segment(youtube_id, start_s, end_s, mids), vectors)


def _mids(indices: Iterable[int]) -> tuple[str, ...]:
    names = _mid_of_index()
    try:
        return tuple([names[index] for index in indices])
    except KeyError as error:
        raise FormatError(
            f"label indices must be 0 to {len(names) - 1}, got {list(indices)}; leave this record out"
        ) from error


@cache
def _mid_of_index() -> dict[int, str]:
    return dict(enumerate(load_labels().audioset))


def serialize_example(features: SegmentFeatures) -> bytes:
    """The record of one segment, as released; the same bytes for the same segment.

    Raises:
        FormatError: a label is not one of the 527, which alone have an index, or the vectors do not fit.
    """
    segment, vectors = features.segment, features.vectors
    if vectors.dtype != np.uint8 or vectors.ndim != 2 or vectors.shape[1] != DIM:
        raise FormatError(
            f"{segment.key}: AudioSet's records hold uint8 [patches, {DIM}], got {vectors.dtype} "
            f"{list(vectors.shape)}; embed with vggish-pca or yamnet-128"
        )
    example = _sequence_example()()
    context = example.context.feature
    context["video_id"].bytes_list.value.append(segment.youtube_id.encode())
    context["start_time_seconds"].float_list.value.append(segment.start_s)
    context["end_time_seconds"].float_list.value.append(segment.end_s)
    context["labels"].int64_list.value.extend(_index(mid) for mid in segment.mids)
    patches = example.feature_lists.feature_list["audio_embedding"].feature
    for vector in vectors:
        patches.add().bytes_list.value.append(vector.tobytes())
    record: bytes = example.SerializeToString(deterministic=True)
    return record


def _index(mid: str) -> int:
    label = load_labels().by_mid.get(mid)
    if label is None or label.audioset_index is None:
        raise FormatError(
            f"{mid!r} is not one of AudioSet's {len(load_labels().audioset)} labels and has no index; "
            "export to npz or parquet instead"
        )
    return label.audioset_index


# Field types and labels of descriptor.proto.
_OPTIONAL, _REPEATED = 1, 3
_FLOAT, _INT64, _STRING, _MESSAGE, _BYTES = 2, 3, 9, 11, 12


@cache
def _sequence_example() -> Any:
    """The message class of tf.train.SequenceExample, declared here field by field (upb does the parsing)."""
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    file = descriptor_pb2.FileDescriptorProto(name="earshot/sequence_example.proto", package="earshot", syntax="proto3")

    def message(name: str) -> Any:
        return file.message_type.add(name=name)

    def field(parent: Any, name: str, number: int, kind: int | str, *, repeated: bool = False) -> Any:
        """Add a field of a scalar kind, or of the message named."""
        added = parent.field.add(name=name, number=number, label=_REPEATED if repeated else _OPTIONAL)
        if isinstance(kind, str):
            added.type, added.type_name = _MESSAGE, f".earshot.{kind}"
        else:
            added.type = kind
        return added

    def map_field(parent: Any, name: str, entry: str, of: str) -> None:
        nested = parent.nested_type.add(name=entry)
        nested.options.map_entry = True
        field(nested, "key", 1, _STRING)
        field(nested, "value", 2, of)
        field(parent, name, 1, f"{parent.name}.{entry}", repeated=True)

    for name, kind in (("BytesList", _BYTES), ("FloatList", _FLOAT), ("Int64List", _INT64)):
        field(message(name), "value", 1, kind, repeated=True)
    feature = message("Feature")
    feature.oneof_decl.add(name="kind")
    for number, name in enumerate(("bytes_list", "float_list", "int64_list"), start=1):
        field(feature, name, number, name.title().replace("_", "")).oneof_index = 0
    map_field(message("Features"), "feature", "FeatureEntry", "Feature")
    field(message("FeatureList"), "feature", 1, "Feature", repeated=True)
    map_field(message("FeatureLists"), "feature_list", "FeatureListEntry", "FeatureList")
    example = message("SequenceExample")
    field(example, "context", 1, "Features")
    field(example, "feature_lists", 2, "FeatureLists")
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("earshot.SequenceExample"))
