"""Several heads on the same rows and the same splits: who is better, by how much, and how sure that is.

Touches the disk through `fold_runs`: what is finished is not done again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.comparison.fold_results import FoldResult, problem_digest
from classifiers.comparison.fold_runs import Problem, Progress, run_folds
from classifiers.heads import HEADS
from classifiers.measures.intervals import OVERALL, Interval, draw_sources, interval, n_replicates, replicate
from classifiers.measures.measured import Measured
from classifiers.measures.metrics import Metrics
from classifiers.measures.slices import headline_measure
from classifiers.train import (
    OutOfFold,
    Prepared,
    ProblemSettings,
    distribution_version,
    fingerprint,
    measure_parts,
    prepare,
)
from embeddings.encoders import EncoderSpec
from embeddings.table import EmbeddingTable
from ingest.engines.engine import Engine
from ingest.errors import EarshotError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareSettings(ProblemSettings):
    """The heads that learn it, too: names in HEADS.

    seeds: how many, from `seed` on; each makes its own splits (of "cv5" and "split") and its own heads.
    head_changes: head -> settings that differ from its row's.
    """

    heads: tuple[str, ...]
    seeds: int = 1
    head_changes: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Measure:
    """One measure of one head.

    mean, spread: over folds and seeds; spread is the standard deviation, None of a single fold.
    interval: of all test rows taken together, over sources; of the same scores and answers as mean and spread.
    """

    mean: float | None
    spread: float | None
    interval: Interval | None


@dataclass(frozen=True, slots=True)
class Compared:
    """One head.

    measures: name in OVERALL -> what came out. rejected: name in ("auc", "accepted_at_keep") -> mean over seeds.
    fit_s, predict_s: mean seconds for a fold.
    behind: by how much `by` is lower than the best head's, all rows taken together; interval: of that, rows paired.
    refused: why the head could not be measured; the rest is empty then.
    metrics: of the first seed, for its classes.
    """

    head: str
    measures: Mapping[str, Measure] = field(default_factory=dict)
    rejected: Mapping[str, float] = field(default_factory=dict)
    fit_s: float | None = None
    predict_s: float | None = None
    behind: float | None = None
    interval: Interval | None = None
    metrics: Metrics | None = None
    refused: str | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "head": self.head,
            "refused": self.refused,
            "measures": {
                name: {"mean": m.mean, "spread": m.spread, "interval": m.interval} for name, m in self.measures.items()
            },
            "background": dict(self.rejected) or None,
            "fit_s": self.fit_s,
            "predict_s": self.predict_s,
            "behind_best": None if self.refused else {"difference": self.behind, "interval": self.interval},
        }


@dataclass(frozen=True, slots=True)
class Comparison:
    """A table of heads, the best first by `by`, those that refused last.

    protocol: what "auto" came to. folds: names. rows, sources: how many; background: how many of the rows.
    tested: the rows of one seed that are measured, background aside.
    """

    title: str
    class_names: tuple[str, ...]
    mode: str
    encoder: str
    protocol: str
    folds: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: int
    sources: int
    background: int
    tested: int
    keep: float
    by: str
    fingerprint: str
    heads: tuple[Compared, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "title": self.title,
            "classes": list(self.class_names),
            "mode": self.mode,
            "encoder": self.encoder,
            "protocol": self.protocol,
            "folds": list(self.folds),
            "seeds": list(self.seeds),
            "rows": self.rows,
            "sources": self.sources,
            "background": self.background,
            "tested": self.tested,
            "keep": self.keep,
            "by": self.by,
            "fingerprint": self.fingerprint,
            "heads": [row.to_json() for row in self.heads],
        }


@dataclass(frozen=True, slots=True)
class _Seed:
    """One seed's problem and, for each head, what it said of each split."""

    seed: int
    made: Prepared
    fingerprint: str
    problem: str
    results: dict[str, list[FoldResult]]


def family_of(head: str) -> str:
    """The family of a head: heads of one module learn in one way, with other settings; so do all shallow ones."""
    *_, package, module = ["", *HEADS[head].module.split(".")]
    return package if package == "shallow" else module


def choose_heads(text: str, spec: EncoderSpec) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The heads that `--heads` means: "all", names and families, separated by commas; each once, in the given order.

    A family is named as such ("shallow"), or with "-family" behind it where a head has the same name.

    Returns:
        the heads, and those that "all" leaves out since they are for other vectors than the store's.
    Raises:
        UsageError: a name that is neither.
    """
    families = dict.fromkeys(family_of(name) for name in HEADS)
    unsuited = [name for name, row in HEADS.items() if spec.vector_of not in row.reads]
    chosen: list[str] = []
    left_out: list[str] = []
    for word in filter(None, (part.strip() for part in text.split(","))):
        family = word.removesuffix("-family")
        if word in HEADS:
            chosen.append(word)
        elif word == "all":
            chosen += [name for name in HEADS if name not in unsuited]
            left_out = unsuited
        elif family in families:
            chosen += [name for name in HEADS if family == family_of(name)]
        else:
            named = (f"{name}-family" if name in HEADS else name for name in families)
            raise UsageError(
                f"--heads: no head or family named {word!r}; choose of {', '.join(HEADS)}; "
                f"families are {', '.join(named)}; all means every head for such a store"
            )
    if not chosen:
        raise UsageError("--heads: names no head; give names separated by ',', or all")
    return tuple(dict.fromkeys(chosen)), tuple(name for name in left_out if name not in chosen)


def compare(
    table: EmbeddingTable,
    spec: EncoderSpec,
    settings: CompareSettings,
    results: Path,
    *,
    progress: Progress = lambda what, share: None,
    engine: Engine | None = None,
) -> Comparison:
    """Measure every head on the same splits. A head that refuses the data becomes a row that says why, beside others
    that take it.

    Args:
        results: folder for the result of each head and split; what it holds already is not done again.
        engine: whose workers fit the heads; None for this process, one after the other.
    Raises:
        UsageError: classes or protocol do not fit the rows, or the protocol is "none".
        EngineError: the engine's workers died or stall.
        EarshotError: every head refuses the data.
    """
    if settings.protocol == "none":
        raise UsageError("--protocol none: compares nothing; choose auto, folds, cv5 or split")
    seeds = [_seed(table, spec, settings, settings.seed + i) for i in range(settings.seeds)]
    problems = [Problem(one.seed, one.made.data, one.made.splits, one.problem) for one in seeds]
    runs = run_folds(problems, settings.heads, settings.head_changes, results, progress=progress, engine=engine)
    for (i, head), of_splits in runs.results.items():
        seeds[i].results[head] = of_splits
    refused = runs.refused
    heads = [name for name in settings.heads if name not in refused]
    if not heads:
        raise EarshotError(_nothing_measured(refused))
    made, of_head = seeds[0].made, {name: [_measured(s, name, settings.keep) for s in seeds] for name in heads}
    rows = _ranked(seeds, of_head, headline_measure(made.class_set.mode))
    return Comparison(
        title=made.class_set.title,
        class_names=made.class_set.names,
        mode=made.class_set.mode,
        encoder=spec.encoder,
        protocol=made.protocol,
        folds=tuple(split.name for split in made.splits),
        seeds=tuple(s.seed for s in seeds),
        rows=len(made.used),
        sources=len(set(made.used.sources)),
        background=made.targets.background,
        tested=_tested(made),
        keep=settings.keep,
        by=headline_measure(made.class_set.mode),
        fingerprint=seeds[0].fingerprint,
        heads=(*rows, *(Compared(name, refused=reason) for name, reason in refused.items())),
    )


def _nothing_measured(refused: Mapping[str, str]) -> str:
    (name, reason), *others = refused.items()
    so_too = f"; so do {', '.join(other for other, _ in others)}" if others else ""
    return f"--heads: nothing could be measured, as {name} refuses these rows{so_too}. {name}: {reason}"


def _seed(table: EmbeddingTable, spec: EncoderSpec, settings: CompareSettings, seed: int) -> _Seed:
    made = prepare(table, spec, replace(settings, seed=seed))
    rows = fingerprint(made.used)
    return _Seed(seed, made, rows, problem_digest(made.data, rows, distribution_version("earshot") or ""), {})


def _tested(made: Prepared) -> int:
    tested = np.concatenate([split.test for split in made.splits])
    return len(tested) if made.data.mode == "multi" else int(made.data.targets[tested].any(axis=1).sum())


def _measured(one: _Seed, head: str, keep: float) -> OutOfFold:
    return measure_parts(one.made, [result.said for result in one.results[head]], keep=keep)


def _ranked(seeds: Sequence[_Seed], of_head: Mapping[str, Sequence[OutOfFold]], by: str) -> list[Compared]:
    """A row for each head, the best first."""
    measured = {name: [made.measured for made in of_seeds] for name, of_seeds in of_head.items()}
    replicates = _replicates(measured)
    ranking = sorted(replicates, key=lambda name: -np.nan_to_num(replicates[name][by][0], nan=-1))
    best = replicates[ranking[0]][by] if ranking else None
    rows = []
    for name in ranking:
        folds = [part for made in of_head[name] for part in made.folds]
        timed = [result for one in seeds for result in one.results[name]]
        behind = best - replicates[name][by] if best is not None else np.full(1, np.nan)
        rows.append(
            Compared(
                head=name,
                measures={key: _measure([getattr(m, key) for m in folds], replicates[name][key]) for key in OVERALL},
                rejected=_rejected(measured[name]),
                fit_s=float(np.mean([result.fit_s for result in timed])),
                predict_s=float(np.mean([result.predict_s for result in timed])),
                behind=None if np.isnan(behind[0]) else float(behind[0]),
                interval=None if name == ranking[0] else interval(behind, bounds=(-1, 1)),
                metrics=measured[name][0].metrics,
            )
        )
    return rows


def _replicates(measured: Mapping[str, Sequence[Measured]]) -> dict[str, dict[str, npt.NDArray[np.float64]]]:
    """head -> measure -> [1 + replicates], mean over seeds; every head on the very same draws of sources."""
    if not measured:
        return {}
    runs = next(iter(measured.values()))
    sources = sorted({source for m in runs for source in m.rows.sources})
    place = {source: i for i, source in enumerate(sources)}
    largest = max(m.truth.size for m in runs)
    n = n_replicates(largest, 1) if len(sources) > 1 else 0  # one source tells nothing of how sure a measure is
    drawn = draw_sources(sources, np.random.default_rng(0), n)
    made = {}
    for name, of_seeds in measured.items():
        each = [
            replicate(
                m.truth > 0.5,
                m.ranked,
                m.said,
                drawn[:, [place[source] for source in m.rows.sources]],
                m.metrics.mode,
            ).overall
            for m in of_seeds
        ]
        made[name] = {key: np.mean([overall[key] for overall in each], axis=0) for key in OVERALL}
    return made


def _measure(values: Sequence[float | None], replicates: npt.NDArray[np.float64]) -> Measure:
    known = [value for value in values if value is not None]
    return Measure(
        mean=float(np.mean(known)) if known else None,
        spread=float(np.std(known, ddof=1)) if len(known) > 1 else None,
        interval=interval(replicates),
    )


def _rejected(measured: Sequence[Measured]) -> dict[str, float]:
    rejections = [m.rejection for m in measured if m.rejection]
    return {
        name: float(np.mean([getattr(rejection, name) for rejection in rejections]))
        for name in ("auc", "accepted_at_keep")
        if rejections
    }
