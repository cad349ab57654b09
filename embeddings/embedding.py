"""The type that flows out of embeddings: the vectors of one window, with all that is known of it."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ingest.errors import FormatError

Vectors = npt.NDArray[np.float32] | npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class Embedding:
    """One window of at most ten seconds, embedded: a row of a store.

    key: unique in its store. The first window of an item has the item's key, the one that starts n ms later
        has `<key>+<n>`.
    source: the recording it comes from (see AudioItem.source).
    path: the audio file, "" for the released features.
    start_s, end_s: the window in its source, in seconds.
    vectors: float32 or uint8 [patches, dim].
    mids, fold: as in AudioItem.
    """

    key: str
    source: str
    path: str
    start_s: float
    end_s: float
    vectors: Vectors
    mids: tuple[str, ...] = ()
    fold: int | None = None

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or self.vectors.dtype not in (np.float32, np.uint8):
            raise FormatError(
                f"{self.key}: vectors must be float32 or uint8 [patches, dim], "
                f"got {self.vectors.dtype} {list(self.vectors.shape)}; check the encoder"
            )


def window_key(item_key: str, offset_s: float) -> str:
    """Key of the window that starts `offset_s` seconds into the item: '<key>' at 0, else '<key>+<ms>'."""
    offset_ms = round(offset_s * 1000)
    return f"{item_key}+{offset_ms}" if offset_ms else item_key


def item_key(key: str) -> str:
    """Key of the item that a window belongs to: the inverse of `window_key`."""
    item, plus, offset_ms = key.rpartition("+")
    return item if plus and offset_ms.isdecimal() else key
