"""Embeddings that can be learned: each class has patches of its own among patches of noise."""

import numpy as np

from embeddings.encoders import EncoderSpec
from embeddings.table import EmbeddingTable

DIM = 12
CLASSES = ("Dog", "Siren", "Bird")


def make_spec(dtype: str = "uint8", **changes: object) -> EncoderSpec:
    return EncoderSpec(**{"encoder": "generated", "dim": DIM, "dtype": dtype, "patch_s": 0.96, "hop_s": 0.96,
                          "sample_rate": 16_000, **changes})  # type: ignore[arg-type]  # fmt: skip


def make_table(
    n: int = 90, *, seed: int = 0, dtype: str = "uint8", classes: tuple[str, ...] = CLASSES, folds: int = 0
) -> EmbeddingTable:
    """n rows of 1 to 10 patches, two rows a source; row i is of class i // 2 mod classes.

    Half of a row's patches point in the direction of its class (of 12), the others nowhere in particular.
    """
    rng = np.random.default_rng(seed)
    patches = rng.integers(1, 11, n)
    mask = np.arange(10) < patches[:, None]
    source = np.arange(n) // 2
    label = source % len(classes)
    vectors = rng.normal(128, 12, (n, 10, DIM))
    loud = rng.random((n, 10)) < 0.5
    loud[:, 0] = True
    vectors += 60 * loud[..., None] * np.eye(DIM)[label % DIM][:, None]
    vectors = np.where(mask[..., None], vectors.clip(0, 255), 0).astype(dtype)
    return EmbeddingTable(
        keys=[f"row{i:04}" for i in range(n)],
        sources=[f"source{s:04}" for s in source],
        paths=[""] * n,
        start_s=np.zeros(n),
        end_s=patches * 0.96,
        mids=[(classes[c],) for c in label],
        folds=(source // len(classes) % folds if folds else np.full(n, -1)).astype(np.int32),
        vectors=vectors,
        mask=mask,
    )
