"""The released features: folder and tar give the same, damage does not end the reading."""

import tarfile
from pathlib import Path

import numpy as np
import pytest

from ingest.audioset.features import read_features
from ingest.audioset.segments import Segment
from ingest.audioset.tfrecord import SegmentFeatures, serialize_example, write_records
from ingest.errors import FormatError, UsageError


@pytest.fixture
def released(tmp_path: Path) -> Path:
    """Two splits in the released layout; two files differ in case only."""
    folder = tmp_path / "audioset_v1_embeddings"
    for split, names in (("bal_train", ("aB", "ab", "-_")), ("eval", ("zz",))):
        for name in names:
            path = folder / split / f"{name}.tfrecord"
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("wb") as file:
                write_records(file, [serialize_example(features(f"{name}{i}", n=i)) for i in (1, 10)])
    return folder


def features(youtube_id: str, n: int) -> SegmentFeatures:
    vectors = np.random.default_rng([n, *youtube_id.encode()]).integers(0, 256, (n, 128), dtype=np.uint8)
    return SegmentFeatures(Segment(youtube_id, 1.0, 1.0 + n, ("/m/09x0r",)), vectors)


def packed(folder: Path, suffix: str) -> Path:
    path = folder.parent / f"features{suffix}"
    with tarfile.open(path, "w:gz" if suffix.endswith("gz") else "w") as archive:
        archive.add(folder, folder.name)
    return path


def keys(source: Path, **options: object) -> list[str]:
    return sorted(found.segment.key for found in read_features(source, **options))


def test_a_folder_gives_every_record(released):
    assert len(keys(released)) == 8
    assert keys(released, split="eval") == ["zz10_1000", "zz1_1000"]
    assert len(keys(released / "bal_train")) == 6


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_tar_gives_what_the_folder_gives(released, suffix):
    tar = packed(released, suffix)
    assert keys(tar) == keys(released)
    assert keys(tar, split="bal_train") == keys(released, split="bal_train")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz"])
def test_a_cut_tar_is_damage_after_what_it_still_holds(released, suffix):
    tar = packed(released, suffix)
    content = tar.read_bytes()
    tar.write_bytes(content[: int(len(content) * 0.55)])
    damage: list[FormatError] = []
    found = list(read_features(tar, on_damage=damage.append))
    assert 0 < len(found) < 8
    assert any("archive is cut" in str(error) for error in damage)


@pytest.mark.parametrize("head", [b"\x1f\x8b\x08\x04" + bytes(6), b"\x1f\x8b\x08", b"\x1f\x8b", b"ustar"])
def test_a_tar_that_ends_in_its_head_is_refused(tmp_path, head):
    (tmp_path / "features.tar.gz").write_bytes(head)
    with pytest.raises(UsageError, match="neither a folder nor a tar that can be read"):
        list(read_features(tmp_path / "features.tar.gz"))


def test_damage_is_named_and_the_rest_is_read(released):
    path = released / "bal_train" / "ab.tfrecord"
    content = bytearray(path.read_bytes())
    content[60] ^= 1
    path.write_bytes(content)
    damage: list[FormatError] = []
    assert len(list(read_features(released, on_damage=damage.append))) == 7
    assert len(damage) == 1
    assert "ab.tfrecord: record 1" in str(damage[0])
    with pytest.raises(FormatError):
        list(read_features(released))


@pytest.mark.parametrize("split", [None, "train"])
def test_a_source_without_tfrecords_is_the_users_mistake(tmp_path, released, split):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="holds no"):
        list(read_features(tmp_path / "empty" if split is None else released, split))


@pytest.mark.parametrize("content", [None, b"no tar at all" * 100])
def test_what_is_neither_folder_nor_tar(tmp_path, content):
    path = tmp_path / "features.tar"
    if content:
        path.write_bytes(content)
    with pytest.raises(UsageError, match="neither a folder nor a tar"):
        list(read_features(path))


def test_the_released_balanced_split(shared):
    found = list(read_features(shared / "audioset/audioset_v1_embeddings", "bal_train"))
    assert len(found) == len({features.segment.key for features in found}) == 22_160
    assert sum(len(features.vectors) < 10 for features in found) == 378
    assert all(features.segment.mids for features in found)
