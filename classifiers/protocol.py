"""Who teaches and who examines: splits that never share a source recording. Pure; randomness is passed in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ingest.errors import UsageError

Protocol = Literal["auto", "folds", "cv5", "split", "none"]
PROTOCOLS: dict[str, str] = {
    "auto": "the data set's own folds when every row has one, else cv5",
    "folds": "the data set's own folds",
    "cv5": "five folds, stratified, grouped by source",
    "split": "one fifth held out, stratified, grouped by source",
    "none": "no measure, only the final head",
}
N_FOLDS = 5
Rows = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Split:
    """Rows that train and rows that test; no source has rows in both.

    name: e.g. "fold 3".
    """

    name: str
    train: Rows
    test: Rows


def make_splits(
    protocol: Protocol,
    targets: npt.NDArray[np.float32],
    sources: Sequence[str],
    folds: npt.NDArray[np.int32],
    rng: np.random.Generator,
    *,
    names: Sequence[str] | None = None,
) -> tuple[str, list[Split]]:
    """The splits of a protocol.

    Args:
        targets: [n, classes], 1 where a row has a class.
        sources: [n], the recording of each row.
        folds: int [n], -1 where there is none.
        names: of the classes, for messages; else their numbers.
    Returns:
        the protocol that "auto" came to, and its splits; none for "none".
    Raises:
        UsageError: folds are asked for and missing, a source would stand on both sides, or there are too few sources.
    """
    if protocol == "auto":
        protocol = "folds" if (folds >= 0).all() and len(np.unique(folds)) > 1 else "cv5"
    if protocol == "none":
        return protocol, []
    if protocol == "folds":
        splits = _predefined(folds)
    else:
        fold_of_row = grouped_folds(targets, sources, _enough_folds(targets, sources, names), rng) + 1
        splits = _of_folds(fold_of_row, [1] if protocol == "split" else np.unique(fold_of_row))
    check_no_leak(splits, sources)
    return protocol, splits


def grouped_folds(
    targets: npt.NDArray[np.float32], sources: Sequence[str], n_folds: int, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """A fold for each row, so that rows of a source share one and classes spread evenly.

    Greedy: sources in random order, large ones first; each goes where the rarest of its classes is rarest
    so far, and of equals to the fold with the fewest rows.

    Returns:
        int [n] in 0 .. n_folds - 1.
    """
    names, group = np.unique(np.asarray(sources), return_inverse=True)
    counts = np.zeros((len(names), targets.shape[1]))
    np.add.at(counts, group, targets)
    sizes = np.bincount(group, minlength=len(names))
    share = np.maximum(targets.sum(axis=0), 1)
    in_fold = np.zeros((n_folds, targets.shape[1]))
    rows_in_fold = np.zeros(n_folds)
    fold_of_group = np.zeros(len(names), np.intp)
    shuffled = rng.permutation(len(names))
    for g in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        fullness = (in_fold / share) @ (counts[g] / share)
        fold = np.lexsort((rows_in_fold, np.round(fullness, 12)))[0]
        in_fold[fold] += counts[g]
        rows_in_fold[fold] += sizes[g]
        fold_of_group[g] = fold
    return fold_of_group[group]


def check_no_leak(splits: Sequence[Split], sources: Sequence[str]) -> None:
    """Raise UsageError when a source has rows on both sides of a split."""
    names = np.asarray(sources)
    for split in splits:
        both = np.intersect1d(names[split.train], names[split.test])
        if len(both):
            raise UsageError(
                f"{split.name}: source {str(both[0])!r} has rows in both training and test ({len(both)} such sources), "
                "which flatters every number; mend the folds, or use --protocol cv5"
            )


def _enough_folds(targets: npt.NDArray[np.float32], sources: Sequence[str], names: Sequence[str] | None) -> int:
    """N_FOLDS, or as many as the class with the fewest sources allows."""
    recordings = np.asarray(sources)
    per_class = [len(np.unique(recordings[column > 0])) for column in targets.T]
    fewest = min(per_class)
    if fewest < 2:
        rarest = int(np.argmin(per_class))
        raise UsageError(
            f"--protocol: class {repr(names[rarest]) if names else rarest + 1} has sounds of one source only, so none "
            "would be left to test it; add sounds, leave the class out, or use --protocol none"
        )
    return min(N_FOLDS, fewest)


def _predefined(folds: npt.NDArray[np.int32]) -> list[Split]:
    without = int((folds < 0).sum())
    present = np.unique(folds)
    if without or len(present) < 2:
        raise UsageError(
            f"--protocol folds: every row needs a fold and there must be two or more, got {without} rows without and "
            f"{len(present[present >= 0])} folds; use --protocol cv5"
        )
    return _of_folds(folds, present)


def _of_folds(fold_of_row: npt.NDArray[np.integer], folds: Iterable[int]) -> list[Split]:
    return [
        Split(f"fold {int(fold)}", np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold))
        for fold in folds
    ]
