"""The table of heads, readable without importing any engine; `fit_head` and `load_head` import the row's module.

A row's module offers `fit(row, data, changes, seed, progress) -> FittedHead` and
`load(row, folder, mode, runtime) -> Head`.
"""

import importlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from embeddings.embedding import Vectors
from embeddings.encoders import EncoderSpec, VectorOf
from embeddings.mapped import take
from ingest.audioset.class_sets import Mode
from ingest.errors import UsageError

Runtime = Literal["light", "full"]
Settings = TypeVar("Settings")
Progress = Callable[[int, int], None]
"""Called with steps done and steps in all."""


@dataclass(frozen=True, slots=True)
class HeadRow:
    """What a head is, as a fact.

    module: where `fit` and `load` live.
    settings: what sets this row apart from others of its module, as fields of the module's settings.
    full_file: what the engine that trained it reads: never a pickle.
    light_file: the same head for prediction without that engine, which starts at once; the full_file itself where
        the head has no such form, so that its engine is imported all the same.
    knows_background: it takes rows of background as they are and gives `known` itself; any other head gets background
        as one more class (see background.py).
    reads: what the vectors of a store may stand for, that it should be tried on it unasked. Named by the user, a head
        takes or refuses others by itself: attention over the thousand frames of a spectrogram only takes its time.
    """

    name: str
    summary: str
    module: str
    full_file: str
    light_file: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    knows_background: bool = False
    reads: tuple[VectorOf, ...] = ("patch", "frame")


def _shallow(name: str, summary: str, light_file: str = "head.npz", **settings: Any) -> HeadRow:
    settings = {"family": name} | settings
    return HeadRow(name, f"{summary} (scikit-learn)", "classifiers.shallow.head", "head.skops", light_file, settings)


def _keras(
    name: str,
    summary: str,
    module: str = "attention",
    *,
    knows_background: bool = False,
    reads: VectorOf = "patch",
    **settings: Any,
) -> HeadRow:
    files = (f"classifiers.networks.{module}", "head.keras", "head.tflite")
    return HeadRow(name, f"{summary} (Keras)", *files, settings, knows_background, (reads,))


HEADS: dict[str, HeadRow] = {
    row.name: row
    for row in (
        _keras("attention", "the best single attention head for so many rows and classes"),
        _keras("transformer", "as attention, where patches look at each other first", self_attention=8),
        _keras("decision", "every patch votes for every class, and says how much its vote counts",
               branches=("decision",)),
        _keras("decision-multi", "the same at each of two layers", branches=("decision",), depth=2, every_depth=True),
        _keras("feature", "weights over the patches for each hidden unit", branches=("feature",)),
        _keras("multihead", "four sets of weights over the patches, one layer behind them", branches=("multihead",)),
        _keras("ensemble", "an attention head and a transformer in one graph, their logits averaged", "ensemble"),
        _keras("distilled", "one attention head taught by an ensemble", "ensemble", distil=True),
        _keras("wide", "learns every label of the store, then reads your classes off", "wide",
               knows_background=True),
        HeadRow("svc", "RBF support vectors on the mean of the patches, grid-searched (scikit-learn)",
                "classifiers.shallow.svc", "head.skops", "head.npz"),
        _shallow("logistic", "multinomial logistic regression"),
        _shallow("logistic-ovr", "logistic regression, one class against the rest",
                 family="logistic", one_vs_rest=True),
        _shallow("sgd", "logistic loss by stochastic gradients, on vectors as they are"),
        _shallow("sgd-standardised", "logistic loss by stochastic gradients, on standardised vectors"),
        _shallow("linear-svc", "linear support vectors, calibrated by Platt"),
        _shallow("rbf-nystroem", "logistic regression on an approximated RBF kernel, for many rows"),
        _shallow("complement-nb", "complement naive Bayes on vectors scaled to [0, 1]"),
        _shallow("tree", "one decision tree"),
        _shallow("forest", "random forest"),
        _shallow("forest-ovr", "a random forest for each class",
                 family="forest", one_vs_rest=True, n_estimators=30, trials=2),
        _shallow("adaboost-tree", "AdaBoost of small trees"),
        _shallow("adaboost-forest", "AdaBoost of small forests"),
        _shallow("hist-boosting", "gradient-boosted trees on histograms", light_file="head.skops"),
        _shallow("mlp", "multilayer perceptron, 256-128-64"),
        HeadRow("xgboost", "gradient-boosted trees (XGBoost)", "classifiers.shallow.head", "head.json", "head.json",
                {"family": "xgboost"}),
        _keras("cnn", "three convolutions on slices of a spectrogram: stores of logmel or mfcc", "cnn",
               reads="frame"),
        HeadRow("yamnet-native", "YAMNet's own scores at the classes; nothing is trained but the decision",
                "classifiers.native", "head.npz", "head.npz", knows_background=True, reads=("patch",)),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TrainingData:
    """All that a head learns from.

    vectors: float32 or uint8 [n, patches, dim] as stored; mask: bool [n, patches], True where a patch is real.
    targets: float32 [n, classes], 1 where a row has a class.
        In mode "single" a row of zeros is background: it has none of the classes.
    sources: [n], the recording of each row; whatever a head holds out for itself is grouped by it.
    labels: [n], all labels of each row, those outside the class set included.
    class_mids: the labels that mean each class, for a head that knows AudioSet's labels by itself.
    """

    vectors: Vectors
    mask: npt.NDArray[np.bool_]
    targets: npt.NDArray[np.float32]
    sources: list[str]
    labels: list[tuple[str, ...]]
    class_names: tuple[str, ...]
    mode: Mode
    spec: EncoderSpec
    class_mids: tuple[tuple[str, ...], ...] = ()

    def select(self, rows: npt.NDArray[np.intp]) -> "TrainingData":
        """These rows, in this order."""
        return replace(
            self,
            vectors=take(self.vectors, rows),
            mask=self.mask[rows],
            targets=take(self.targets, rows),
            sources=[self.sources[i] for i in rows],
            labels=[self.labels[i] for i in rows],
        )


@dataclass(frozen=True, slots=True)
class HeadScores:
    """What a head says of n rows.

    scores: float32 [n, classes] in [0, 1]; "single": they sum to 1 in a row.
    patch_scores, attention: float32 [n, patches, classes], or None where a head does not look at patches.
        Attention sums to 1 over the real patches of a row and is 0 elsewhere; patch scores are 0 elsewhere.
    known: float32 [n] in [0, 1], how likely a row has any of the classes; None where the head learnt no background.
    """

    scores: npt.NDArray[np.float32]
    patch_scores: npt.NDArray[np.float32] | None = None
    attention: npt.NDArray[np.float32] | None = None
    known: npt.NDArray[np.float32] | None = None


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


def fit_head(
    name: str,
    data: TrainingData,
    seed: int,
    progress: Progress = lambda done, total: None,
    changes: Mapping[str, Any] | None = None,
) -> FittedHead:
    """Train a head; the same data and seed give the same head.

    Args:
        changes: settings of the head that differ from its row's.
    Raises:
        UsageError: no such head or setting, data that it cannot learn from, or a head whose scores are no numbers.
    """
    row = head_row(name)
    fitted: FittedHead = importlib.import_module(row.module).fit(row, data, changes or {}, seed, progress)
    if not np.isfinite(fitted.predict(data.vectors[:1], data.mask[:1]).scores).all():  # of one row tells of all weights
        raise UsageError(
            f"--head {name}: its training diverged, so that its scores are no numbers; give it a smaller learning rate "
            "with --set, or see that the vectors are of a common size"
        )
    return fitted


def load_head(name: str, folder: Path, mode: Mode, runtime: Runtime) -> Head:
    """Load a saved head: "light" without the engine that trained it, where its row has such a form; "full" with it."""
    row = head_row(name)
    head: Head = importlib.import_module(row.module).load(row, folder, mode, runtime)
    return head


def make_settings(kind: type[Settings], row: HeadRow, changes: Mapping[str, Any]) -> Settings:
    """The settings of a row with the user's changes. A list becomes a tuple, a whole number a float where one is due.

    Args:
        kind: the module's dataclass of settings; every field has a default.
    Raises:
        UsageError: a setting that the head does not have, a value of another type than its default, or one outside the
            setting's bounds.
    """
    defaults = {f.name: getattr(kind(), f.name) for f in fields(kind)}  # type: ignore[arg-type]
    values = {**row.settings}
    for key, given in changes.items():
        value = tuple(given) if isinstance(given, list) else given
        if key not in defaults:
            raise UsageError(f"--set {key}: head {row.name} has no such setting; it has {', '.join(defaults)}")
        default = defaults[key]
        if isinstance(default, float) and type(value) is int:
            value = float(value)
        if _kinds(default) == {float} and isinstance(value, tuple):
            value = tuple(float(one) if type(one) is int else one for one in value)
        if default is not None and (type(value) is not type(default) or _kinds(value) - _kinds(default)):
            kind_of = "list" if isinstance(default, tuple) else type(default).__name__
            raise UsageError(f"--set {key}: takes a {kind_of} like {_in_toml(default)}, got {given!r}")
        _require_within(key, value, default)
        values[key] = value
    return kind(**values)


_SHARES = ("apart", "blend", "mix_pooled", "taught", "warmup")
_BOUNDS: dict[str, tuple[float, float]] = {
    **dict.fromkeys(_SHARES, (0, 1)),
    **dict.fromkeys(("dropout", "input_dropout"), (0, 0.99)),
    "folds": (2, math.inf),
    "output_bias": (-math.inf, math.inf),
    "output_spread": (1e-3, math.inf),
    "specialists": (0, math.inf),
}
"""Of settings by name; others are at least 0, and counts that are not 0 by default at least 1."""


def _kinds(value: Any) -> set[type]:
    """The types of what is in a tuple."""
    return {type(one) for one in value} if isinstance(value, tuple) else set()


def _in_toml(value: Any) -> str:
    return repr(list(value) if isinstance(value, tuple) else value)


def _require_within(key: str, value: Any, default: Any) -> None:
    numbers = [one for one in (value if isinstance(value, tuple) else (value,)) if type(one) in (int, float)]
    count = type(default) is int and default > 0
    low, high = _BOUNDS.get(key, (1 if count else 0, math.inf))
    if isinstance(value, tuple) and not value:
        raise UsageError(f"--set {key}: takes one value or more like {_in_toml(default)}, got none")
    if wrong := [one for one in numbers if not (low <= one <= high and math.isfinite(one))]:
        bounds = (
            "finite" if math.isinf(wrong[0]) else f"{low:g} or more" if math.isinf(high) else f"{low:g} to {high:g}"
        )
        raise UsageError(f"--set {key}: must be {bounds}, got {wrong[0]:g}; its default is {_in_toml(default)}")
