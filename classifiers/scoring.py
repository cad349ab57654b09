"""Asks a head for the scores of many rows, some at a time. Pure.

What a head says of the patches of a row is several times the size of the row, with hundreds of classes many times: of a
million rows no memory holds it, and only what was seen of the best class is of use afterwards.
"""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from classifiers.heads import HeadScores
from classifiers.measures.measured import PatchEvidence
from embeddings.embedding import Vectors

MOST_ROWS = 2048
MOST_BYTES = 1 << 27
"""Of vectors that are asked about at once: 500 rows of ten seconds of spectrogram."""

Mask = npt.NDArray[np.bool_]
Predict = Callable[[Vectors, Mask], HeadScores]


def score_rows(
    predict: Predict, vectors: Vectors, mask: Mask, rows: npt.NDArray[np.intp] | None = None
) -> tuple[HeadScores, PatchEvidence | None]:
    """Scores and `known` of rows, and what was seen of their best classes.

    Args:
        predict: as of a `Head`; with what it says of a row nothing of other rows has to do.
        vectors, mask: [n, patches, dim], [n, patches].
        rows: which of them, n > 0; all of them without.
    """
    rows = np.arange(len(vectors)) if rows is None else rows
    step = max(1, min(MOST_ROWS, MOST_BYTES // max(1, vectors[:1].nbytes)))
    parts, evidence = list[HeadScores](), list[PatchEvidence | None]()
    for i in range(0, len(rows), step):
        some = rows[i : i + step]
        said = predict(vectors[some], mask[some])
        evidence.append(PatchEvidence.of(said, mask[some]))
        parts.append(HeadScores(said.scores, known=said.known))
    return joined_scores(parts), PatchEvidence.joined(evidence)


def joined_scores(parts: Sequence[HeadScores]) -> HeadScores:
    """Scores and `known` of the parts, one after the other."""
    known = [part.known for part in parts if part.known is not None]
    return HeadScores(
        np.concatenate([part.scores for part in parts]),
        known=np.concatenate(known) if len(known) == len(parts) else None,
    )
