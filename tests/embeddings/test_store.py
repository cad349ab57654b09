"""Stores: what goes in comes out, nothing half-written, nothing mixed."""

import json
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embeddings.embedding import Embedding
from embeddings.encoders import EncoderSpec
from embeddings.part import SCHEMA, PartWriter, RowColumns
from embeddings.store import EmbeddingStore, EmbeddingTable
from ingest.errors import FormatError, SpecMismatchError, UsageError


def a_spec(**changes: object) -> EncoderSpec:
    facts = {"encoder": "test", "dim": 4, "dtype": "float32", "patch_s": 0.96, "hop_s": 0.96, "sample_rate": 16_000}
    return EncoderSpec(**(facts | changes))  # type: ignore[arg-type]


def a_row(key: str, patches: int = 2, dtype: str = "float32", dim: int = 4, **changes: object) -> Embedding:
    rng = np.random.default_rng(abs(hash(key)) % 1000)
    vectors = (rng.random((patches, dim)) * 200).astype(dtype)
    facts = {"source": f"of {key}", "path": f"{key}.wav", "start_s": 1.5, "end_s": 11.5, "vectors": vectors}
    return Embedding(key=key, **(facts | changes))  # type: ignore[arg-type]


def same_row(table: EmbeddingTable, index: int, row: Embedding) -> bool:
    fold = -1 if row.fold is None else row.fold
    patches = table.vectors[index][table.mask[index]]
    return (
        (table.keys[index], table.sources[index], table.paths[index]) == (row.key, row.source, row.path)
        and (table.start_s[index], table.end_s[index]) == (row.start_s, row.end_s)
        and (table.mids[index], table.folds[index]) == (row.mids, fold)
        and patches.dtype == row.vectors.dtype
        and np.array_equal(patches, row.vectors)
    )


names = st.text(max_size=12)
rows_of_any_kind = st.builds(
    lambda dtype, rows: (dtype, rows),
    st.sampled_from(["float32", "uint8"]),
    st.lists(
        st.tuples(
            names,
            names,
            st.floats(0, 1e6),
            st.lists(names, max_size=4),
            st.none() | st.integers(0, 9),
            st.integers(1, 7),
        ),
        max_size=12,
    ),
)


@settings(max_examples=20, deadline=None)
@given(rows_of_any_kind, st.integers(1, 400), st.integers(1, 5))
def test_what_goes_in_comes_out(kind: tuple[str, list], row_group_bytes: int, per_part: int) -> None:
    dtype, drawn = kind
    rows = [
        a_row(
            f"{i} {name}",
            patches,
            dtype,
            source=source,
            start_s=start_s,
            end_s=start_s + 1,
            mids=tuple(mids),
            fold=fold,
        )
        for i, (name, source, start_s, mids, fold, patches) in enumerate(drawn)
    ]
    with TemporaryDirectory() as folder:
        store = EmbeddingStore.create(Path(folder), a_spec(dtype=dtype))
        for begin in range(0, len(rows), per_part):
            with store.writer(f"{begin:04d}") as writer:
                writer._row_group_bytes = row_group_bytes
                for row in rows[begin : begin + per_part]:
                    writer.append(row)
        table = EmbeddingStore.open(Path(folder)).load()
        assert len(table) == len(store) == len(rows) and table.keys == store.keys()
        assert all(same_row(table, i, row) for i, row in enumerate(rows))
        assert not table.vectors[~table.mask].any() and (not len(table) or table.mask.any(axis=1).all())
        streamed = [key for part in store.tables() for key in part.keys]
        assert streamed == table.keys


def test_columns_and_rows_make_the_same_part(tmp_path: Path) -> None:
    rows = [a_row(f"k{i}", 1 + i % 5, mids=("a",) * (i % 3), fold=i % 4 or None) for i in range(50)]
    store = EmbeddingStore.create(tmp_path, a_spec())
    with store.writer("rows") as writer:
        for row in rows:
            writer.append(row)
    one = store.load()
    (tmp_path / "part-rows.parquet").unlink()
    with store.writer("columns") as writer:
        writer._row_group_bytes = 100  # several row groups out of one call
        writer.append_columns(RowColumns.of(rows), np.concatenate([row.vectors for row in rows]))
    other = store.load()
    assert (one.keys, one.mids, one.sources) == (other.keys, other.mids, other.sources)
    assert np.array_equal(one.vectors, other.vectors) and np.array_equal(one.mask, other.mask)
    assert np.array_equal(one.folds, other.folds) and -1 in one.folds


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), max_size=10), st.integers(1, 300))
def test_rolled_back_rows_are_gone_whether_written_or_not(items: list[tuple[int, bool]], row_group_bytes: int) -> None:
    kept: list[Embedding] = []
    with TemporaryDirectory() as folder:
        path = Path(folder) / "part.parquet"
        store = EmbeddingStore.create(Path(folder), a_spec())
        writer = PartWriter(path, store.spec, row_group_bytes)
        for i, (windows, good) in enumerate(items):
            mark = writer.rows
            rows = [a_row(f"{i}+{window}") for window in range(windows)]
            for row in rows:
                writer.append(row)
            if good:
                kept += rows
            else:
                writer.rollback(mark)
        assert writer.kept_rows == len(kept)
        writer.close()
        path.rename(Path(folder) / "part-0.parquet")
        table = store.load()
        assert table.keys == [row.key for row in kept]
        assert all(same_row(table, i, row) for i, row in enumerate(kept))
        assert [file.name for file in Path(folder).glob("*.tmp")] == []


def test_select_takes_integers_and_bools(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path, a_spec())
    rows = [a_row(key, patches) for key, patches in (("a", 1), ("b", 3), ("c", 2))]
    with store.writer("0") as writer:
        for row in rows:
            writer.append(row)
    table = store.load()
    picked = table.select([2, 0])
    assert picked.keys == ["c", "a"] and picked.n_patches.tolist() == [2, 1]
    assert same_row(picked, 0, rows[2]) and same_row(picked, 1, rows[0])
    assert table.select(np.array([False, True, False])).keys == ["b"]
    assert len(table.select(np.zeros(0, int))) == 0


@pytest.mark.parametrize(
    "change",
    [{"encoder": "other"}, {"dim": 5}, {"dtype": "uint8"}, {"resampler": "resampy"}, {"weights": {"w": "1" * 64}}],
)
def test_rows_of_another_spec_are_refused_in_plain_words(tmp_path: Path, change: dict) -> None:
    EmbeddingStore.create(tmp_path, a_spec(weights={"w": "0" * 64}))
    with pytest.raises(SpecMismatchError, match=next(iter(change))) as refusal:
        EmbeddingStore.create(tmp_path, a_spec(**({"weights": {"w": "0" * 64}} | change)))
    assert str(tmp_path) in str(refusal.value) and "another folder" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_the_same_spec_continues_a_store(tmp_path: Path) -> None:
    EmbeddingStore.create(tmp_path, a_spec())
    with EmbeddingStore.create(tmp_path, a_spec(engine="another engine")).writer("0") as writer:
        writer.append(a_row("a"))
    assert EmbeddingStore.create(tmp_path, a_spec()).keys() == ["a"]
    assert set(json.loads((tmp_path / "spec.json").read_text())) == {"spec", "versions"}


@pytest.mark.parametrize(
    "vectors",
    [np.zeros((2, 4), np.uint8), np.zeros((2, 5), np.float32), np.zeros((0, 4), np.float32)],
    ids=["dtype", "dim", "no patch"],
)
def test_vectors_that_do_not_fit_are_refused(tmp_path: Path, vectors: np.ndarray) -> None:
    store = EmbeddingStore.create(tmp_path, a_spec())
    with pytest.raises(FormatError, match="k: vectors must be float32"), store.writer("0") as writer:
        writer.append(a_row("k", vectors=vectors))
    assert list(tmp_path.glob("*part*")) == []


def test_an_error_in_the_middle_leaves_no_part(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path, a_spec())
    with pytest.raises(ZeroDivisionError), store.writer("0") as writer:
        writer.append(a_row("a"))
        raise ZeroDivisionError
    assert sorted(path.name for path in tmp_path.iterdir()) == ["spec.json"]


def test_damage_is_named_on_opening(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such folder"):
        EmbeddingStore.open(tmp_path / "nowhere")
    (tmp_path / "a file").touch()
    with pytest.raises(UsageError, match="a store is a folder"):
        EmbeddingStore.create(tmp_path / "a file", a_spec())
    with pytest.raises(UsageError, match=r"holds no spec\.json, so it is no embedding store; make one"):
        EmbeddingStore.open(tmp_path)
    store = EmbeddingStore.create(tmp_path, a_spec())
    with store.writer("0") as writer:
        for i in range(200):
            writer.append(a_row(f"k{i}"))
    part = tmp_path / "part-0.parquet"
    whole = part.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], whole[:-4] + b"oops"):
        part.write_bytes(damaged)
        with pytest.raises(FormatError, match=r"part-0\.parquet: damaged"):
            EmbeddingStore.open(tmp_path)


def test_a_damaged_spec_is_named(tmp_path: Path) -> None:
    for text in ("", "{}", '{"spec": {"colour": "red"}}', "[]"):
        (tmp_path / "spec.json").write_text(text)
        with pytest.raises(FormatError, match=r"spec\.json: not the spec"):
            EmbeddingStore.open(tmp_path)


def test_parts_without_a_spec_are_not_taken_over(tmp_path: Path) -> None:
    (tmp_path / "part-0.parquet").touch()
    with pytest.raises(FormatError, match=r"spec\.json: missing"):
        EmbeddingStore.create(tmp_path, a_spec())


def test_rows_whose_bytes_do_not_fit_are_named(tmp_path: Path) -> None:
    with EmbeddingStore.create(tmp_path, a_spec(dim=5)).writer("0") as writer:
        writer.append(a_row("a", dim=5))
    (tmp_path / "spec.json").unlink()
    (tmp_path / "part-0.parquet").rename(tmp_path / "away")
    store = EmbeddingStore.create(tmp_path, a_spec(dim=4))
    (tmp_path / "away").rename(tmp_path / "part-0.parquet")
    with pytest.raises(FormatError, match=r"part-0\.parquet: a row has 2 patches of 4 float32 values, but 40 bytes"):
        store.load()


@pytest.mark.parametrize("told", [1 << 30, 1_000, 0, -1])
def test_a_damaged_number_of_patches_is_refused_before_memory_is_made_for_it(
    told: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = EmbeddingStore.create(tmp_path, a_spec())
    with store.writer("0") as writer:
        for i in range(20):
            writer.append(a_row(f"k{i}"))
    part = tmp_path / "part-0.parquet"
    rows = pq.read_table(part)
    counts = pa.array([told, *rows.column("n_patches").to_pylist()[1:]], pa.int32())
    rows = rows.set_column(rows.schema.get_field_index("n_patches"), SCHEMA.field("n_patches"), counts)
    made: list[object] = []
    monkeypatch.setattr("embeddings.store.zeros", lambda *args: made.append(args))
    for codec in ("NONE", "ZSTD"):
        pq.write_table(rows, part, compression=codec, use_dictionary=False)
        for read in (store.load, lambda: list(store.tables())):
            with pytest.raises(FormatError, match=r"part-0\.parquet: 20 rows tell of .* patches of .*make it again"):
                read()
    assert not made


def test_a_key_that_stands_twice_is_named(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path, a_spec())
    for part in "01":
        with store.writer(part) as writer:
            writer.append(a_row("the same"))
    with pytest.raises(FormatError, match="'the same' stands twice"):
        store.load()


def test_only_one_process_writes(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path, a_spec())
    with store.lock(), pytest.raises(UsageError, match="another process"), EmbeddingStore.open(tmp_path).lock():
        pass
    with store.lock():
        pass


def a_balanced_split(store: EmbeddingStore, n: int = 22_160) -> np.ndarray:
    """Rows like those of AudioSet's balanced split; gives their patches, one after another."""
    rng = np.random.default_rng(0)
    n_patches = np.where(rng.random(n) < 0.02, rng.integers(1, 10, n), 10)
    patches = rng.integers(0, 256, (n_patches.sum(), store.spec.dim), dtype=np.uint8)
    with store.writer("0") as writer:
        columns = RowColumns(
            keys=[f"key {i}" for i in range(n)],
            sources=[f"id {i}" for i in range(n)],
            paths=[""] * n,
            start_s=np.zeros(n),
            end_s=np.full(n, 10.0),
            mids=[("/m/09x0r", "/m/04rlf")] * n,
            folds=[None] * n,
            n_patches=n_patches,
        )
        writer.append_columns(columns, patches)
    return patches


def test_the_balanced_split_loads_at_once(tmp_path: Path) -> None:
    store = EmbeddingStore.create(tmp_path, a_spec(dim=128, dtype="uint8"))
    patches = a_balanced_split(store)
    took = []
    for _ in range(3):
        begin = time.process_time()
        table = EmbeddingStore.open(tmp_path).load()
        took.append(time.process_time() - begin)
    assert table.vectors.shape == (22_160, 10, 128) and np.array_equal(table.vectors[table.mask], patches)
    assert min(took) < 0.3


def test_writing_and_loading_leave_pandas_alone(tmp_path: Path) -> None:
    program = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from embeddings.store import EmbeddingStore\n"
        "from tests.embeddings.test_store import a_row, a_spec\n"
        "known = set(sys.modules)\n"
        "store = EmbeddingStore.create(Path(sys.argv[1]), a_spec())\n"
        "with store.writer('0') as writer: writer.append(a_row('a', mids=('x',)))\n"
        "store.load(), store.keys(), list(store.tables())\n"
        "assert 'pandas' not in set(sys.modules) - known\n"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=True, cwd=root, timeout=60)
