"""Shallow heads as plain arrays: scikit-learn takes seconds to import, this nothing. Pure.

What reads a fitted machine imports nothing; what scores computes what its `predict_proba` would. Linear models, kernel
expansions, multilayer perceptrons, trees and ensembles of them are here; boosted histograms have no light form.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.calibration import log_scores, logit, sigmoid, softmax
from classifiers.shallow.pooling import Floats

Arrays = dict[str, npt.NDArray[Any]]


def transform(arrays: Arrays, features: Floats) -> Floats:
    """Scaling, clipping and Nystroem's approximation of an RBF kernel, as far as the arrays have them."""
    x = features
    if "shift" in arrays:
        x = (x - arrays["shift"]) / arrays["scale"]
    if "clip" in arrays:
        x = np.clip(x, *arrays["clip"])
    if "components" in arrays:
        x = np.exp(-arrays["gamma"] * squared_distances(x, arrays["components"])) @ arrays["normalization"].T
    return x


def arrays_of_transforms(steps: list[Any]) -> Arrays:
    """What `transform` needs, of fitted scalers and Nystroem maps."""
    arrays: Arrays = {}
    for step in steps:
        if hasattr(step, "mean_"):
            arrays |= {"shift": step.mean_, "scale": step.scale_}
        elif hasattr(step, "data_min_"):
            arrays |= {"shift": -step.min_ / step.scale_, "scale": 1 / step.scale_, "clip": np.array([0.0, 1.0])}
        else:
            arrays |= {
                "components": step.components_,
                "normalization": step.normalization_,
                "gamma": np.array(step.gamma),
            }
    return arrays


def squared_distances(a: Floats, b: Floats) -> Floats:
    """Between all rows of a [n, d] and b [m, d]: float64 [n, m]."""
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1)
    return np.maximum(squares - 2 * a @ b.T, 0)


@dataclass(frozen=True, slots=True)
class Sharpness:
    """How far apart a head's scores are drawn, so that it does not hang on the parameters that a search chose.

    "single": log scores are multiplied by `slope`; "multi": logits are, and `offset` is added. The defaults change
    nothing.
    """

    slope: float = 1.0
    offset: float = 0.0


AS_IT_IS = Sharpness()


def finished(probabilities: Floats, mode: str, sharpness: Sharpness = AS_IT_IS) -> npt.NDArray[np.float32]:
    """Float32 [n, classes] in [0, 1]; "single": each row sums to 1, also where each class was asked alone."""
    if mode == "single":
        total = probabilities.sum(axis=1, keepdims=True)
        even = np.full_like(probabilities, 1 / probabilities.shape[1])
        probabilities = np.where(total > 1e-12, probabilities / np.maximum(total, 1e-12), even)
    if sharpness != AS_IT_IS and mode == "single":
        probabilities = softmax(sharpness.slope * log_scores(probabilities))
    elif sharpness != AS_IT_IS:
        probabilities = sigmoid(sharpness.slope * logit(probabilities) + sharpness.offset)
    return np.clip(probabilities, 0, 1).astype(np.float32)


# Linear: one row of weights a class.


def linear_score(a: Arrays, x: Floats) -> Floats:
    """Softmax over the classes, or for each class its own sigmoid."""
    logits = x @ a["weights"].T + a["bias"]
    return softmax(logits) if a["link"] == "softmax" else sigmoid(logits)


def linear_arrays(machine: Any) -> Arrays:
    """A fitted logistic regression, linear classifier with log loss, complement naive Bayes, or calibrated margin."""
    if hasattr(machine, "calibrated_classifiers_"):
        return _platt_arrays(machine)
    if hasattr(machine, "feature_log_prob_"):
        weights = machine.feature_log_prob_
        return {"weights": weights, "bias": np.zeros(len(weights)), "link": np.array("softmax")}
    weights, bias = machine.coef_, machine.intercept_
    if len(weights) == 1:  # two classes: the first has logit 0
        weights, bias = np.vstack([np.zeros_like(weights), weights]), np.append(0.0, bias)
    return {"weights": weights, "bias": bias, "link": np.array("softmax")}


def _platt_arrays(machine: Any) -> Arrays:
    """Platt's 1 / (1 + exp(a margin + b)) is a linear model of its own."""
    (calibrated,) = machine.calibrated_classifiers_
    margin, (sigmoid_fit,) = calibrated.estimator, calibrated.calibrators
    weights = np.vstack([np.zeros_like(margin.coef_), -sigmoid_fit.a_ * margin.coef_])
    bias = np.array([0.0, -sigmoid_fit.a_ * margin.intercept_[0] - sigmoid_fit.b_])
    return {"weights": weights, "bias": bias, "link": np.array("softmax")}


# Multilayer perceptrons.


def mlp_score(a: Arrays, x: Floats) -> Floats:
    layers = int(a["layers"])
    for i in range(layers - 1):
        x = np.maximum(x @ a[f"weights{i}"] + a[f"bias{i}"], 0)
    logits = x @ a[f"weights{layers - 1}"] + a[f"bias{layers - 1}"]
    return softmax(logits) if a["link"] == "softmax" else sigmoid(logits)


def mlp_arrays(machine: Any) -> Arrays:
    weights, biases = list(machine.coefs_), list(machine.intercepts_)
    link = machine.out_activation_
    if link == "logistic" and machine.n_outputs_ == 1 and len(machine.classes_) == 2:
        weights[-1] = np.hstack([np.zeros_like(weights[-1]), weights[-1]])
        biases[-1], link = np.append(0.0, biases[-1]), "softmax"
    arrays: Arrays = {"layers": np.array(len(weights)), "link": np.array(link)}
    for i, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
        arrays |= {f"weights{i}": weight, f"bias{i}": bias}
    return arrays


# Trees: all nodes of all trees one after another; a leaf is its own child.


def trees_score(a: Arrays, x: Floats) -> Floats:
    """Mean of the leaves' probabilities; boosted: votes of the members, weighted."""
    leaves = _leaf_values(a, x)
    if "votes" not in a:
        return leaves.mean(axis=1)
    members = int(a["votes"].shape[0])
    probabilities = leaves.reshape(len(x), members, -1, leaves.shape[2]).mean(axis=2)
    classes = leaves.shape[2]
    said = probabilities.argmax(axis=2)[..., None] == np.arange(classes)
    votes = np.where(said, 1.0, -1 / (classes - 1)) * a["votes"][:, None]
    return softmax(votes.sum(axis=1) / a["votes"].sum() / (classes - 1))


def trees_arrays(machine: Any) -> Arrays:
    """A fitted decision tree, random forest, or AdaBoost of either."""
    if hasattr(machine, "estimator_weights_"):
        members = machine.estimators_
        trees = [tree for member in members for tree in _trees_of(member)]
        return _nodes(trees) | {"votes": np.asarray(machine.estimator_weights_[: len(members)], np.float64)}
    return _nodes(_trees_of(machine))


def _trees_of(machine: Any) -> list[Any]:
    members = machine.estimators_ if hasattr(machine, "estimators_") else [machine]
    return [member.tree_ for member in members]


def _nodes(trees: list[Any]) -> Arrays:
    sizes = np.array([tree.node_count for tree in trees])
    roots = np.append(0, np.cumsum(sizes)[:-1])
    own = np.concatenate([np.arange(size) for size in sizes])
    offset = np.repeat(roots, sizes)

    def children(name: str) -> npt.NDArray[np.int32]:
        child = np.concatenate([getattr(tree, name) for tree in trees])
        return (np.where(child < 0, own, child) + offset).astype(np.int32)

    values = np.concatenate([tree.value for tree in trees])  # [nodes, outputs, classes of an output]
    if values.shape[1] > 1:  # several labels at once: what each says of "yes"
        values = (values / values.sum(axis=2, keepdims=True))[:, :, 1]
    else:
        values = values[:, 0] / values[:, 0].sum(axis=1, keepdims=True)
    return {
        "roots": roots,
        "left": children("children_left"),
        "right": children("children_right"),
        "feature": np.maximum(np.concatenate([tree.feature for tree in trees]), 0).astype(np.int32),
        "threshold": np.concatenate([tree.threshold for tree in trees]),
        "values": values,
    }


def _leaf_values(a: Arrays, x: Floats) -> Floats:
    """[n, trees, classes]: where each row ends in each tree. Trees compare in float32, as scikit-learn's do.

    Raises:
        ValueError: the arrays are damaged.
    """
    _require_trees(a, x.shape[1])
    x32 = x.astype(np.float32)
    node = np.broadcast_to(a["roots"], (len(x), len(a["roots"])))
    while True:
        goes_left = np.take_along_axis(x32, a["feature"][node], axis=1) <= a["threshold"][node]
        following = np.where(goes_left, a["left"][node], a["right"][node])
        if (following == node).all():
            return a["values"][node]
        node = following


def _require_trees(a: Arrays, features: int) -> None:
    """Raise ValueError unless every way through the nodes ends, within them, at a probability.

    Of all nodes, not of those that some row comes by: a model is refused when it is loaded, or never.
    """
    nodes = len(a["values"])
    own = np.arange(nodes)
    for name, end in (("roots", nodes), ("left", nodes), ("right", nodes), ("feature", features)):
        if a[name].size and not 0 <= a[name].min() <= a[name].max() < end:
            raise ValueError(f"the trees are damaged: {name} leads out of them")
    if any(a[name].shape != (nodes,) for name in ("left", "right", "feature", "threshold")):
        raise ValueError(f"the trees are damaged: {nodes} nodes do not have one value each")
    if (a["left"] < own).any() or (a["right"] < own).any():  # scikit-learn numbers a node before its children
        raise ValueError("the trees are damaged: a node leads back")
    if nodes and not 0 <= a["values"].min() <= a["values"].max() <= 1:
        raise ValueError("the trees are damaged: what a leaf says is no probability")


# Kernel machines: the support vectors of all classes once, and what each class makes of them.


def kernel_score(a: Arrays, x: Floats) -> Floats:
    kernel = np.exp(-a["gamma"] * squared_distances(x, a["support"]))
    return sigmoid(-a["platt_a"] * (kernel @ a["dual"].T + a["intercept"]) - a["platt_b"])


def kernel_arrays(machines: list[Any]) -> Arrays:
    """Fitted RBF SVCs, each calibrated by Platt, one a class, on the same rows."""
    calibrated = [machine.calibrated_classifiers_[0] for machine in machines]
    svcs = [c.estimator for c in calibrated]
    sigmoids = [c.calibrators[0] for c in calibrated]
    used = np.unique(np.concatenate([svc.support_ for svc in svcs]))
    support = np.zeros((len(used), svcs[0].n_features_in_))
    dual = np.zeros((len(svcs), len(used)))
    for c, svc in enumerate(svcs):
        places = np.searchsorted(used, svc.support_)
        support[places] = svc.support_vectors_
        dual[c, places] = svc.dual_coef_[0]
    return {
        "support": support,
        "dual": dual,
        "intercept": np.array([svc.intercept_[0] for svc in svcs]),
        "gamma": np.array(svcs[0].gamma),
        "platt_a": np.array([fitted.a_ for fitted in sigmoids]),
        "platt_b": np.array([fitted.b_ for fitted in sigmoids]),
    }


@dataclass(frozen=True, slots=True)
class LightForm:
    """How machines become arrays, and arrays scores.

    arrays_of: of all the fitted machines of a head. score: with them, pooled and transformed rows -> [n, classes].
    """

    arrays_of: Callable[[list[Any]], Arrays]
    score: Callable[[Arrays, Floats], Floats]


def _each(arrays_of: Callable[[Any], Arrays], score: Callable[[Arrays, Floats], Floats]) -> LightForm:
    """The form of a head from that of a machine: one that knows all classes, or one for each with "yes" as its last."""

    def all_arrays(machines: list[Any]) -> Arrays:
        return {
            f"{i}_{name}": value for i, machine in enumerate(machines) for name, value in arrays_of(machine).items()
        }

    def all_scores(a: Arrays, x: Floats) -> Floats:
        parts: dict[int, Arrays] = {}
        for key, value in a.items():
            number, _, name = key.partition("_")
            if number.isdecimal():
                parts.setdefault(int(number), {})[name] = value
        said = [score(parts[i], x) for i in sorted(parts)]
        return said[0] if a["native"] else np.stack([one[:, -1] for one in said], axis=1)

    return LightForm(all_arrays, all_scores)


LIGHT_FORMS: dict[str, LightForm] = {
    "linear": _each(linear_arrays, linear_score),
    "mlp": _each(mlp_arrays, mlp_score),
    "trees": _each(trees_arrays, trees_score),
    "kernel": LightForm(kernel_arrays, kernel_score),
}
