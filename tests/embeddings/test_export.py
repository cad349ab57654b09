"""Exports: what others read is what the store holds."""

import itertools
import json
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

import embeddings.export
from embeddings.encoders import EncoderSpec
from embeddings.export import FORMATS, export
from embeddings.store import EmbeddingStore
from ingest.audioset.features import read_features
from ingest.audioset.labels import load_labels
from ingest.errors import UsageError
from tests.embeddings.test_store import a_row, a_spec


def a_store(folder: Path, rows: list | None = None, **spec: object) -> EmbeddingStore:
    store = EmbeddingStore.create(folder, a_spec(**spec))
    with store.writer("0") as writer:
        for row in rows if rows is not None else [a_row("a", 3, mids=("x", "y"), fold=2), a_row("b", 1)]:
            writer.append(row)
    return store


@pytest.fixture
def audioset_rows() -> list:
    """Segments as released: ids of all sorts, one to ten vectors, several segments and names that differ in case."""
    labels = load_labels().audioset
    form = {"dtype": "uint8", "dim": 128, "path": ""}
    return [
        a_row(
            f"{youtube_id}_{1000 * number}",
            1 + number % 10,
            source=youtube_id,
            start_s=float(number),
            end_s=number + 10.0,
            mids=labels[number : number + 1 + number % 3],
            **form,
        )
        for number, youtube_id in enumerate(["--PJHxphWEs", "-0_a", "aBcdefghijk", "AbCdefghijk", "abcdefghijk"] * 5)
    ]


def test_tfrecords_read_back_to_the_same_bytes(tmp_path: Path, audioset_rows: list) -> None:
    store = a_store(tmp_path / "emb", audioset_rows, dtype="uint8", dim=128)
    exported = export(store, "tfrecord", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        f"{name}.tfrecord" for name in ("--", "-0", "aB", "Ab", "ab")
    }
    assert (exported.rows, exported.files, exported.left_out) == (25, 5, {})
    read = {features.segment.key: features for features in read_features(tmp_path / "out")}
    assert set(read) == {row.key for row in audioset_rows}
    for row in audioset_rows:
        segment, vectors = read[row.key].segment, read[row.key].vectors
        assert np.array_equal(vectors, row.vectors)
        assert (segment.youtube_id, segment.mids) == (row.source, row.mids)
        assert (segment.start_s, segment.end_s) == (row.start_s, row.end_s)


def test_names_that_differ_in_case_share_a_file_on_a_disk_that_ignores_it(
    tmp_path: Path, audioset_rows: list, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embeddings.export, "_ignores_case", lambda folder: True)
    store = a_store(tmp_path / "emb", audioset_rows, dtype="uint8", dim=128)
    assert export(store, "tfrecord", tmp_path / "out").files == 3
    assert len(list(read_features(tmp_path / "out"))) == 25


def test_tfrecords_of_other_audio(tmp_path: Path) -> None:
    """Own labels are AudioSet's by name, or left out and counted; a recording cut into files keeps a name for each."""
    form = {"dtype": "uint8", "dim": 128}
    rows = [
        a_row("takes/1.wav", source="fs 7", start_s=0.0, mids=("growl at 5", "/m/09x0r", "speech"), **form),
        a_row("takes/2.wav", source="fs 7", start_s=0.0, mids=("growl at 5", "dog"), **form),
        a_row("é", source="é", start_s=0.0, **form),
    ]
    exported = export(a_store(tmp_path / "emb", rows, **form), "tfrecord", tmp_path / "out")
    assert exported.left_out == {"growl at 5": 2}
    assert {path.stem for path in (tmp_path / "out").iterdir()} == {"ta", "_"}
    read = {features.segment.youtube_id: features.segment.mids for features in read_features(tmp_path / "out")}
    assert read == {"takes/1.wav": ("/m/09x0r",), "takes/2.wav": ("/m/0bt9lr",), "é": ()}


def test_tfrecords_of_another_form_are_refused_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"this store float32 of 4 .*vggish-pca or yamnet-128"):
        export(a_store(tmp_path / "emb"), "tfrecord", tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_parquet_is_plain_lists(tmp_path: Path, dtype: str) -> None:
    rows = [a_row("a", 3, dtype, mids=("x", "y"), fold=2), a_row("b", 1, dtype)]
    export(a_store(tmp_path / "emb", rows, dtype=dtype), "parquet", tmp_path / "out" / "emb.parquet")
    table = pq.read_table(tmp_path / "out" / "emb.parquet")
    for read, row in zip(table.to_pylist(), rows, strict=True):
        assert read["vectors"] == row.vectors.tolist()
        assert (read["key"], read["source"], read["path"]) == (row.key, row.source, row.path)
        assert (tuple(read["mids"]), read["fold"], read["start_s"]) == (row.mids, row.fold, row.start_s)
    spec = EncoderSpec.from_json(json.loads(table.schema.metadata[b"earshot.spec"]))
    assert spec == a_spec(dtype=dtype)


def test_npz_needs_no_pickle(tmp_path: Path) -> None:
    store = a_store(tmp_path / "emb")
    export(store, "npz", tmp_path / "emb.npz")
    table = store.load()
    with np.load(tmp_path / "emb.npz", allow_pickle=False) as arrays:
        assert arrays["key"].tolist() == table.keys and arrays["path"].tolist() == table.paths
        assert np.array_equal(arrays["vectors"], table.vectors) and np.array_equal(arrays["mask"], table.mask)
        begins = arrays["mids_begin"]
        mids = [tuple(arrays["mids"][begin:end]) for begin, end in itertools.pairwise(begins)]
        assert mids == table.mids == [("x", "y"), ()]
        assert EncoderSpec.from_json(json.loads(str(arrays["spec"]))) == store.spec


@pytest.mark.parametrize("format_name", FORMATS)
def test_an_empty_store_exports(tmp_path: Path, format_name: str) -> None:
    store = a_store(tmp_path / "emb", [], dtype="uint8", dim=128)
    assert export(store, format_name, tmp_path / "out").rows == 0
    assert (tmp_path / "out").exists()


@pytest.mark.parametrize("format_name", FORMATS)
def test_what_exists_is_never_written_over(tmp_path: Path, format_name: str) -> None:
    (tmp_path / "out").touch()
    with pytest.raises(UsageError, match="exists already"):
        export(a_store(tmp_path / "emb", dtype="uint8", rows=[]), format_name, tmp_path / "out")


def test_an_unknown_format_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--format: must be one of tfrecord, parquet, npz, got 'csv'"):
        export(a_store(tmp_path / "emb"), "csv", tmp_path / "out")


def test_the_released_features_go_through_unchanged(tmp_path: Path, shared: Path) -> None:
    """Real records -> store -> tfrecords: the same files with the same vectors."""
    folder = shared / "audioset" / "audioset_v1_embeddings" / "eval"
    released = [path for path in sorted(folder.iterdir()) if path.name.startswith("-")][:20]
    (tmp_path / "some").mkdir()
    for path in released:
        (tmp_path / "some" / path.name).write_bytes(path.read_bytes())
    features = list(read_features(tmp_path / "some"))
    rows = [
        a_row(f.segment.key, vectors=f.vectors, source=f.segment.youtube_id, start_s=f.segment.start_s,
              end_s=f.segment.end_s, mids=f.segment.mids)
        for f in features
    ]  # fmt: skip
    export(a_store(tmp_path / "emb", rows, dtype="uint8", dim=128), "tfrecord", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [path.name for path in released]
    again = {f.segment.key: f for f in read_features(tmp_path / "out")}
    assert len(again) == len(features)
    for before in features:
        after = again[before.segment.key]
        assert after.segment == before.segment and after.vectors.tobytes() == before.vectors.tobytes()
