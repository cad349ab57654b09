"""The families of shallow heads, readable without scikit-learn: what each is made of, and what its file may hold."""

import importlib
from dataclasses import dataclass, field
from typing import Any, Literal

from ingest.audioset.class_sets import Mode

Scaling = Literal["none", "standard", "range"]
"""How pooled vectors reach a machine: as they are, with mean 0 and variance 1, or in [0, 1] (clipped)."""

TREE = "sklearn.tree._tree.Tree"
PLATT = ("sklearn.calibration._CalibratedClassifier", "sklearn.calibration._SigmoidCalibration")


@dataclass(frozen=True, slots=True)
class Family:
    """One way to learn.

    estimator: "module:Class" of its engine. fixed: arguments that are not searched. inner: what it boosts.
    scaling: of the pooled vectors. kernel: an RBF kernel stands before it, approximated by Nystroem's method.
    native: modes in which one machine knows all the classes; in the others there is a machine for each class.
    calibrated: it gives margins, which become probabilities by Platt's sigmoid, fitted out of fold.
    trusted: types in its head.skops beyond those that skops trusts by itself.
    light: its form in `light.LIGHT_FORMS`; None where scikit-learn or its own engine has to predict.
    most_classes: that it can learn in a useful time and memory, with a machine for each or a number for each in a leaf.
    fewest_rows: of which its trees can have a branch; of fewer it would learn how frequent each class is, and no more.
    """

    estimator: str
    fixed: dict[str, Any] = field(default_factory=dict)
    inner: tuple[str, dict[str, Any]] | None = None
    scaling: Scaling = "standard"
    kernel: bool = False
    native: tuple[Mode, ...] = ()
    calibrated: bool = False
    trusted: tuple[str, ...] = ()
    light: str | None = "linear"
    most_classes: int = 600
    fewest_rows: int = 0


FAMILIES: dict[str, Family] = {
    "sgd": Family(
        "sklearn.linear_model:SGDClassifier", {"loss": "log_loss", "average": True, "max_iter": 30}, scaling="none"
    ),
    "sgd-standardised": Family(
        "sklearn.linear_model:SGDClassifier", {"loss": "log_loss", "average": True, "max_iter": 30}
    ),
    "logistic": Family("sklearn.linear_model:LogisticRegression", {"max_iter": 300, "tol": 1e-3}, native=("single",)),
    "linear-svc": Family("sklearn.svm:LinearSVC", calibrated=True, trusted=PLATT),
    "rbf-nystroem": Family(
        "sklearn.linear_model:LogisticRegression", {"max_iter": 300, "tol": 1e-3}, kernel=True, native=("single",)
    ),
    "complement-nb": Family("sklearn.naive_bayes:ComplementNB", scaling="range", native=("single",)),
    "tree": Family(
        "sklearn.tree:DecisionTreeClassifier",
        scaling="none",
        native=("single", "multi"),
        trusted=(TREE,),
        light="trees",
    ),
    "forest": Family(
        "sklearn.ensemble:RandomForestClassifier",
        scaling="none",
        native=("single", "multi"),
        trusted=(TREE,),
        light="trees",
        most_classes=100,
    ),
    "adaboost-tree": Family(
        "sklearn.ensemble:AdaBoostClassifier",
        inner=("sklearn.tree:DecisionTreeClassifier", {}),
        scaling="none",
        native=("single",),
        trusted=(TREE,),
        light="trees",
        most_classes=100,
    ),
    "adaboost-forest": Family(
        "sklearn.ensemble:AdaBoostClassifier",
        inner=("sklearn.ensemble:RandomForestClassifier", {"max_features": "sqrt"}),
        scaling="none",
        native=("single",),
        trusted=(TREE,),
        light="trees",
        most_classes=50,
    ),
    "hist-boosting": Family(
        "sklearn.ensemble:HistGradientBoostingClassifier",
        {"early_stopping": False, "min_samples_leaf": 20},
        scaling="none",
        native=("single",),
        trusted=("sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor",),
        light=None,
        most_classes=100,
        fewest_rows=40,  # two leaves
    ),
    "xgboost": Family(
        "xgboost:XGBClassifier",
        {"tree_method": "hist"},
        scaling="none",
        native=("single", "multi"),
        light=None,
        most_classes=100,
    ),
    "mlp": Family(
        "sklearn.neural_network:MLPClassifier",
        {"hidden_layer_sizes": (256, 128, 64)},
        native=("single", "multi"),
        trusted=("sklearn.neural_network._stochastic_optimizers.AdamOptimizer",),
        light="mlp",
    ),
    "svc": Family("sklearn.svm:SVC", calibrated=True, trusted=PLATT, light="kernel"),
}
"""What a row of HEADS names as its family; the parameters are in data/search_spaces/shallow.toml (svc's in svc.py)."""

KERNEL_PARAMETERS = ("gamma", "n_components")


def make_estimator(family: Family, parameters: dict[str, Any], seed: int) -> Any:
    """A machine of the family, unfitted. Imports its engine."""
    estimator = _class(family.estimator)(**family.fixed)
    if family.inner:
        estimator.set_params(estimator=_class(family.inner[0])(**family.inner[1]))
    own = {name: value for name, value in parameters.items() if not (family.kernel and name in KERNEL_PARAMETERS)}
    if "random_state" in estimator.get_params(deep=False):
        own["random_state"] = seed
    return estimator.set_params(**own)


def make_transforms(family: Family, parameters: dict[str, Any], shape: tuple[int, int], seed: int) -> list[Any]:
    """What stands between pooled vectors [rows, features] and the machines, unfitted, in order."""
    from sklearn.kernel_approximation import Nystroem
    from sklearn.preprocessing import MinMaxScaler, StandardScaler

    scalers = {"none": [], "standard": [StandardScaler()], "range": [MinMaxScaler(clip=True)]}
    steps = scalers[family.scaling]
    if family.kernel:
        rows, features = shape
        gamma, components = parameters["gamma"] / features, min(parameters["n_components"], rows)
        steps.append(Nystroem(gamma=gamma, n_components=components, random_state=seed))
    return steps


def load_engine(family: Family) -> None:
    """Import what the family's machines are made with."""
    _class(family.estimator)


def _class(name: str) -> Any:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
