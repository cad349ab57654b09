"""Released features become a store."""

from pathlib import Path

import numpy as np
import pytest

from embeddings.features import store_features
from embeddings.store import EmbeddingStore
from ingest.audioset.features import read_features
from ingest.audioset.segments import Segment
from ingest.audioset.tfrecord import SegmentFeatures, serialize_example, write_records
from ingest.errors import FormatError, UsageError


@pytest.fixture
def released(tmp_path: Path) -> Path:
    folder = tmp_path / "eval"
    folder.mkdir()
    for n in (1, 4, 10):
        vectors = np.full((n, 128), n, np.uint8)
        segment = Segment(f"-_id{n}", 30.0 * n, 30.0 * n + n, ("/m/09x0r", "/m/0bt9lr"))
        with (folder / f"{n}.tfrecord").open("wb") as file:
            write_records(file, [serialize_example(SegmentFeatures(segment, vectors))])
    return folder


def test_rows_are_keyed_labelled_padded_and_masked(tmp_path, released):
    assert store_features(read_features(released), tmp_path / "store", "all") == 3
    store = EmbeddingStore.open(tmp_path / "store")
    table = store.load()
    assert store.spec.encoder == "vggish-pca"
    assert store.spec.weights == {}
    assert sorted(table.keys) == ["-_id10_300000", "-_id1_30000", "-_id4_120000"]
    assert table.vectors.shape == (3, 10, 128)
    for row, key in enumerate(table.keys):
        n = int(table.mask[row].sum())
        assert table.sources[row] == f"-_id{n}"
        assert key == f"-_id{n}_{30_000 * n}"
        assert (table.start_s[row], table.end_s[row]) == (30.0 * n, 31.0 * n)
        assert table.mids[row] == ("/m/09x0r", "/m/0bt9lr")
        assert (table.vectors[row, :n] == n).all()
        assert not table.vectors[row, n:].any()


def test_doing_it_again_leaves_no_row_twice(tmp_path, released):
    for _ in range(2):
        store_features(read_features(released), tmp_path / "store", "all")
    assert len(EmbeddingStore.open(tmp_path / "store").load()) == 3


def test_rows_of_another_part_are_refused_before_the_store_holds_them_twice(tmp_path, released):
    store_features(read_features(released.parent, "eval"), tmp_path / "store", "features-eval")
    with pytest.raises(UsageError, match=r"has -_id1_30000 already, in part-features-eval\.parquet"):
        store_features(read_features(released.parent), tmp_path / "store", "features-all")
    assert len(EmbeddingStore.open(tmp_path / "store").load()) == 3


def test_a_record_that_stands_twice_is_refused(tmp_path, released):
    (released / "copy").mkdir()
    (released / "copy/1.tfrecord").write_bytes((released / "1.tfrecord").read_bytes())
    with pytest.raises(FormatError, match="twice"):
        store_features(read_features(released), tmp_path / "store", "all")
    assert not EmbeddingStore.open(tmp_path / "store").parts()
