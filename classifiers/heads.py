"""The table of heads, readable without importing any engine; `fit_head` and `load_head` import the row's module.

A row's module offers `fit(data, seed, progress) -> FittedHead` and `load(folder, mode, runtime) -> Head`.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from embeddings.embedding import Vectors
from embeddings.encoders import EncoderSpec
from ingest.class_sets import Mode
from ingest.errors import UsageError

Runtime = Literal["light", "full"]
Progress = Callable[[int, int], None]
"""Called with steps done and steps in all."""


@dataclass(frozen=True, slots=True)
class HeadRow:
    """What a head is, as a fact.

    module: where `fit` and `load` live.
    full_file: what the engine that trained it reads: never a pickle.
    light_file: the same head for prediction without that engine, which starts at once.
    """

    name: str
    summary: str
    module: str
    full_file: str
    light_file: str


HEADS: dict[str, HeadRow] = {
    row.name: row
    for row in (
        HeadRow("attention", "decision-level attention pooling over patches (Keras)", "classifiers.attention",
                "head.keras", "head.tflite"),
        HeadRow("svc", "RBF support vectors on the mean of the patches, grid-searched (scikit-learn)",
                "classifiers.svc", "head.skops", "head.npz"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All that a head learns from.

    vectors: float32 or uint8 [n, patches, dim] as stored; mask: bool [n, patches], True where a patch is real.
    targets: float32 [n, classes], 1 where a row has a class.
    sources: [n], the recording of each row; whatever a head holds out for itself is grouped by it.
    """

    vectors: Vectors
    mask: npt.NDArray[np.bool_]
    targets: npt.NDArray[np.float32]
    sources: list[str]
    class_names: tuple[str, ...]
    mode: Mode
    spec: EncoderSpec

    def select(self, rows: npt.NDArray[np.intp]) -> "TrainingData":
        """These rows, in this order."""
        return replace(
            self,
            vectors=self.vectors[rows],
            mask=self.mask[rows],
            targets=self.targets[rows],
            sources=[self.sources[i] for i in rows],
        )


@dataclass(frozen=True, slots=True)
class HeadScores:
    """What a head says of n rows.

    scores: float32 [n, classes] in [0, 1]; "single": they sum to 1 in a row.
    patch_scores, attention: float32 [n, patches, classes], or None where a head does not look at patches.
        Attention sums to 1 over the real patches of a row and is 0 elsewhere; patch scores are 0 elsewhere.
    """

    scores: npt.NDArray[np.float32]
    patch_scores: npt.NDArray[np.float32] | None = None
    attention: npt.NDArray[np.float32] | None = None


class Head(Protocol):
    """A head that can score."""

    def predict(self, vectors: Vectors, mask: npt.NDArray[np.bool_]) -> HeadScores:
        """Score rows of vectors as stored, [n, patches, dim]; what stands outside the mask has no influence."""
        ...


class FittedHead(Head, Protocol):
    """A head just trained.

    settings: what it was trained with and what it chose, for the record.
    """

    settings: dict[str, Any]

    def save(self, folder: Path) -> None:
        """Write the row's full_file and light_file."""
        ...


def head_row(name: str) -> HeadRow:
    """The row of a head, or a UsageError that lists them all."""
    if name not in HEADS:
        raise UsageError(f"--head: no head named {name!r}; choose one of {', '.join(HEADS)}")
    return HEADS[name]


def fit_head(name: str, data: TrainingData, seed: int, progress: Progress = lambda done, total: None) -> FittedHead:
    """Train a head; the same data and seed give the same head.

    Raises:
        UsageError: no such head, or data that it cannot learn from.
    """
    fitted: FittedHead = importlib.import_module(head_row(name).module).fit(data, seed, progress)
    return fitted


def load_head(name: str, folder: Path, mode: Mode, runtime: Runtime) -> Head:
    """Load a saved head: "light" imports neither TensorFlow nor scikit-learn, "full" the engine that trained it."""
    head: Head = importlib.import_module(head_row(name).module).load(folder, mode, runtime)
    return head
