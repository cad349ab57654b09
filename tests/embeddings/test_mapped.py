"""Arrays that are too large for memory, in a file without a name."""

from pathlib import Path

import numpy as np
import pytest

from embeddings import mapped
from embeddings.part import RowColumns
from embeddings.store import EmbeddingStore
from tests.classifiers.generated import make_spec, make_table


@pytest.mark.parametrize("limit", [0, 1 << 20])
def test_rows_are_the_same_wherever_they_lie(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, limit: int) -> None:
    monkeypatch.setattr(mapped, "IN_MEMORY_BYTES", limit)
    monkeypatch.setattr(mapped, "COPIED_BYTES", 100)
    array = mapped.zeros((7, 3, 5), np.uint8, tmp_path)
    assert isinstance(array, np.memmap) == (limit == 0)
    assert not array.any()
    array[:] = np.arange(105, dtype=np.uint8).reshape(7, 3, 5)
    rows = np.array([4, 0, 6, 6])
    np.testing.assert_array_equal(mapped.take(array, rows), np.asarray(array)[rows])
    np.testing.assert_array_equal(mapped.take(array, np.arange(7)), array)
    assert not list(tmp_path.iterdir())


def test_a_store_larger_than_memory_loads_the_same_table(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    table = make_table(n=20)
    store = EmbeddingStore.create(tmp_path / "store", make_spec())
    with store.writer("one") as writer:
        columns = RowColumns(
            table.keys, table.sources, table.paths, table.start_s, table.end_s, table.mids, [None] * 20, table.n_patches
        )
        writer.append_columns(columns, table.vectors[table.mask])
    monkeypatch.setattr(mapped, "IN_MEMORY_BYTES", 0)
    loaded = store.load()
    assert isinstance(loaded.vectors, np.memmap)
    np.testing.assert_array_equal(loaded.vectors, table.vectors)
    chosen = loaded.select(loaded.mask.sum(axis=1) > 3)
    assert isinstance(chosen.vectors, np.memmap)
    np.testing.assert_array_equal(chosen.vectors, table.vectors[table.mask.sum(axis=1) > 3])
