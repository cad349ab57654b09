"""Who teaches and who examines: splits that never share a source recording. Pure; randomness is passed in."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

from ingest.counted import counted
from ingest.errors import UsageError

Protocol = Literal["auto", "folds", "cv5", "split", "none"]
"""auto: the data set's own folds when every row has one, else cv5. cv5, split: five folds, and one fifth held out, both
stratified and grouped by source. none: no measure, only the final head."""
N_FOLDS = 5
FEW_SOURCES = 20
"""Of rows without a class: so few are spread over the folds as a class is. Of more, chance gives each fold some."""
ROWS_AT_ONCE = 1 << 13
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
        n_folds = _enough_folds(targets, sources, names)
        spread = _with_few_of_none(targets, sources)
        fold_of_row = grouped_folds(spread, sources, n_folds, rng) + 1
        held_out = [_fullest(spread, fold_of_row)] if protocol == "split" else np.unique(fold_of_row)
        splits = _of_folds(fold_of_row, held_out)
    check_no_leak(splits, sources)
    return protocol, splits


def grouped_folds(
    targets: npt.NDArray[np.float32], sources: Sequence[str], n_folds: int, rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """A fold for each row, so that rows of a source share one and classes spread evenly.

    Greedy: sources in random order, large ones first; each goes where it does not bring all rows of a class, or all
    without it, into one fold; of those where the rarest of its classes is rarest so far, and of equals to the fold
    with the fewest rows.

    Returns:
        int [n] in 0 .. n_folds - 1.
    """
    names, group = np.unique(np.asarray(sources), return_inverse=True)
    sizes = np.bincount(group, minlength=len(names))
    rows_of = np.split(np.argsort(group, kind="stable"), np.cumsum(sizes)[:-1])
    support = targets.sum(axis=0, dtype=np.float64)
    share = np.maximum(support, 1)
    common = np.flatnonzero(2 * support > len(targets))  # others have rows without them in more than one fold anyway
    in_fold = np.zeros((n_folds, targets.shape[1]))
    rows_in_fold = np.zeros(n_folds)
    fold_of_group = np.zeros(len(names), np.intp)
    shuffled = rng.permutation(len(names))
    for g in shuffled[np.argsort(-sizes[shuffled], kind="stable")]:
        counts = targets[rows_of[g]].sum(axis=0, dtype=np.float64)
        lack = sizes[g] - counts[common]
        lacking = rows_in_fold[:, None] - in_fold[:, common] + lack
        has = np.flatnonzero(counts)
        counts, there, of_all = counts[has], in_fold[:, has], share[has]
        all_in_one = (there + counts >= support[has]).sum(axis=1)
        all_in_one += ((lacking >= len(targets) - support[common]) & (lack > 0)).sum(axis=1)
        fullness = (there / of_all) @ (counts / of_all)
        fold = np.lexsort((rows_in_fold, np.round(fullness, 12), all_in_one))[0]
        in_fold[fold, has] += counts
        rows_in_fold[fold] += sizes[g]
        fold_of_group[g] = fold
    return fold_of_group[group]


def sources_of_classes(
    targets: npt.NDArray[np.float32], sources: Sequence[str]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """For each class, how many sources have rows with it, and how many rows without it: int [classes] each."""
    group = np.unique(np.asarray(sources), return_inverse=True)[1]
    sizes, classes = np.bincount(group), targets.shape[1]
    pairs = []
    for i in range(0, len(targets), ROWS_AT_ONCE):  # targets may lie in a file, row by row
        row, c = np.nonzero(targets[i : i + ROWS_AT_ONCE] > 0)
        pairs.append(group[i + row] * classes + c)
    pair, rows = np.unique(np.concatenate(pairs) if pairs else np.zeros(0, np.intp), return_counts=True)
    of_class = pair % classes
    everywhere = rows == sizes[pair // classes]
    with_it = np.bincount(of_class, minlength=classes)
    return with_it, len(sizes) - np.bincount(of_class[everywhere], minlength=classes)


def check_no_leak(splits: Sequence[Split], sources: Sequence[str]) -> None:
    """Raise UsageError when a source has rows on both sides of a split."""
    names, group = np.unique(np.asarray(sources), return_inverse=True)
    for split in splits:
        both = np.intersect1d(group[split.train], group[split.test]).tolist()
        if len(both):
            raise UsageError(
                f"{split.name}: source {str(names[both[0]])!r} has rows in both training and test "
                f"({counted(len(both), 'such source')}), which flatters every number; mend the folds, or use "
                "--protocol cv5"
            )


def _enough_folds(targets: npt.NDArray[np.float32], sources: Sequence[str], names: Sequence[str] | None) -> int:
    """N_FOLDS, or fewer where there are fewer sources. A class of two of them is tested in two folds."""
    per_class, _ = sources_of_classes(targets, sources)
    if (per_class < 2).all():
        raise UsageError(
            "--protocol: every class has sounds of one source only, so none would be left to test it; add sounds of "
            "other recordings, or use --protocol none"
        )
    if (per_class < 2).any():
        raise UsageError(
            _of_one_source([names[int(c)] if names else str(c + 1) for c in np.flatnonzero(per_class < 2)])
        )
    return min(N_FOLDS, len(set(sources)))


def _with_few_of_none(targets: npt.NDArray[np.float32], sources: Sequence[str]) -> npt.NDArray[np.float32]:
    """The targets; with a column for the rows without a class where these come from few sources, but more than one."""
    none = np.logical_not(targets.any(axis=1))
    if not 1 < len({sources[i] for i in np.flatnonzero(none).tolist()}) <= FEW_SOURCES:
        return targets
    return np.hstack([targets, none[:, None].astype(np.float32)])


def _fullest(targets: npt.NDArray[np.float32], fold_of_row: npt.NDArray[np.integer]) -> int:
    """The fold with rows of the most classes, the first of equals: rare classes are in some of them only."""
    folds = np.unique(fold_of_row)
    classes = [np.count_nonzero(targets[fold_of_row == fold].any(axis=0)) for fold in folds]
    return int(folds[np.argmax(classes)])


def _of_one_source(names: Sequence[str], most: int = 5) -> str:
    shown = ", ".join(map(repr, names[:most])) + f" and {len(names) - most:,} more" * (len(names) > most)
    which, them = (f"class {shown} has", "it") if len(names) == 1 else (f"classes {shown} have", "them")
    return (
        f"--protocol: {which} sounds of one source only, so none would be left to test {them}; add sounds, leave "
        f"{them} out with --min-sources 2, or use --protocol none"
    )


def _predefined(folds: npt.NDArray[np.int32]) -> list[Split]:
    without = int((folds < 0).sum())
    present = np.unique(folds)
    if without or len(present) < 2:
        raise UsageError(
            "--protocol folds: every row needs a fold and there must be two or more, got "
            f"{counted(without, 'row')} without and {counted(len(present[present >= 0]), 'fold')}; use --protocol cv5"
        )
    return _of_folds(folds, present)


def _of_folds(fold_of_row: npt.NDArray[np.integer], folds: Iterable[int]) -> list[Split]:
    return [
        Split(f"fold {int(fold)}", np.flatnonzero(fold_of_row != fold), np.flatnonzero(fold_of_row == fold))
        for fold in folds
    ]
