"""AudioSet's released features become an embedding store."""

from collections.abc import Iterable, Iterator
from itertools import chain, islice
from pathlib import Path

import numpy as np

from embeddings.encoders import ENCODERS, EncoderSpec
from embeddings.part import RowColumns
from embeddings.store import EmbeddingStore
from ingest.audioset.tfrecord import SegmentFeatures
from ingest.errors import FormatError, UsageError

ROWS_AT_ONCE = 1 << 15
"""About 40 MB of vectors: the balanced split in one piece, the unbalanced in 63."""


def features_spec() -> EncoderSpec:
    """What is known of how AudioSet made its features: VGGish with PCA; the weights' checksum is not published."""
    row = ENCODERS["vggish-pca"]
    return EncoderSpec(row.name, row.dim, row.dtype, row.patch_s, row.hop_s, row.sample_rate)


def store_features(features: Iterable[SegmentFeatures], out: Path, part_name: str) -> int:
    """Write features (see `ingest.audioset.features.read_features`) as one part of the store `out`.

    Returns:
        The number of rows. Running it again replaces the part, so no row is there twice.
    Raises:
        SpecMismatchError: the store holds rows of another encoder.
        UsageError: it holds one of the rows already, in another part.
        FormatError: there is not one row, or one of them twice.
    """
    batches = _batches(features)
    if (first := next(batches, None)) is None:  # known before a store is made, which would be left without a row
        raise FormatError(f"{out}: not one record of the features is whole; fetch them again")
    store = EmbeddingStore.create(out, features_spec())
    others = [part for part in store.parts() if part != f"part-{part_name}.parquet"]
    there, seen = set(store.keys(others)), set[str]()
    rows = 0
    with store.writer(part_name) as writer:
        for batch in chain([first], batches):
            segments = [row.segment for row in batch]
            keys = [segment.key for segment in segments]
            if not there.isdisjoint(keys):
                key = next(key for key in keys if key in there)
                raise UsageError(f"--out: {out} has {key} already, in {' or '.join(others)}; name another folder")
            seen.update(keys)
            if len(seen) < rows + len(keys):
                raise FormatError(f"{out}: a record of the features stands there twice; name each file once")
            columns = RowColumns(
                keys=keys,
                sources=[segment.youtube_id for segment in segments],
                paths=[""] * len(batch),
                start_s=[segment.start_s for segment in segments],
                end_s=[segment.end_s for segment in segments],
                mids=[segment.mids for segment in segments],
                folds=[None] * len(batch),
                n_patches=np.array([len(row.vectors) for row in batch]),
            )
            writer.append_columns(columns, np.concatenate([row.vectors for row in batch]))
            rows += len(batch)
    return rows


def _batches(features: Iterable[SegmentFeatures]) -> Iterator[list[SegmentFeatures]]:
    iterator = iter(features)
    while batch := list(islice(iterator, ROWS_AT_ONCE)):
        yield batch
