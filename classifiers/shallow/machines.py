"""Touches the disk: fitted shallow heads, and the files they are kept in.

head.skops   scikit-learn's objects; only the types that the head's family needs are let in
head.npz     the same head as plain arrays, where its family has a light form
head.json    XGBoost's own form, of that family alone; it needs XGBoost to predict (its binary form is smaller, and a
             damaged one may end the process)
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from classifiers.heads import HeadScores
from classifiers.shallow.families import FAMILIES
from classifiers.shallow.light import (
    AS_IT_IS,
    LIGHT_FORMS,
    Arrays,
    Sharpness,
    arrays_of_transforms,
    finished,
    transform,
)
from classifiers.shallow.pooling import Floats, Mask, pool
from embeddings.embedding import Vectors
from ingest.audioset.class_sets import Mode
from ingest.errors import FormatError

SKOPS_FILE, LIGHT_FILE, XGBOOST_FILE = "head.skops", "head.npz", "head.json"


@dataclass(frozen=True, slots=True)
class Machines:
    """A fitted head: vectors are pooled, go through `transforms` and then to the machines.

    family: in FAMILIES. pooling: in POOLINGS.
    native: one machine knows all classes; else there is one for each.
    sharpness: of its scores.
    """

    family: str
    mode: Mode
    pooling: str
    native: bool
    transforms: list[Any]
    machines: list[Any]
    sharpness: Sharpness = AS_IT_IS

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        x = pool(vectors, mask, self.pooling)
        for step in self.transforms:
            x = step.transform(x)
        return HeadScores(finished(probabilities(self.machines, self.native, x), self.mode, self.sharpness))


class FittedMachines:
    """The same, just trained. settings: what was chosen, for the record."""

    def __init__(self, machines: Machines, settings: dict[str, Any]) -> None:
        self.machines, self.settings = machines, settings

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        return self.machines.predict(vectors, mask)

    def save(self, folder: Path) -> None:
        m = self.machines
        if m.family == "xgboost":
            _save_xgboost(m, folder / XGBOOST_FILE)
            return
        _save_skops(m, folder / SKOPS_FILE)
        form = FAMILIES[m.family].light
        if form:
            facts = {"family": m.family, "pooling": m.pooling, "native": m.native} | asdict(m.sharpness)
            arrays = {name: np.array(value) for name, value in facts.items()}
            arrays |= arrays_of_transforms(m.transforms) | LIGHT_FORMS[form].arrays_of(m.machines)
            np.savez(folder / LIGHT_FILE, **arrays)  # type: ignore[arg-type]


class LightMachines:
    """The same as plain arrays, without scikit-learn."""

    def __init__(self, arrays: Arrays, mode: Mode) -> None:
        self._arrays, self._mode = arrays, mode
        form = FAMILIES[str(arrays["family"])].light
        if form is None:
            raise ValueError(f"no light form of {arrays['family']}")
        self._form = LIGHT_FORMS[form]
        self._sharpness = _sharpness(arrays)

    def predict(self, vectors: Vectors, mask: Mask) -> HeadScores:
        x = transform(self._arrays, pool(vectors, mask, str(self._arrays["pooling"])))
        return HeadScores(finished(self._form.score(self._arrays, x), self._mode, self._sharpness))


def load_machines(path: Path, mode: Mode) -> Machines | LightMachines:
    """Load one of the three files, told by its suffix.

    Raises:
        FormatError: a head.skops holds types that its family has no need of.
    """
    if path.suffix == ".npz":
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return LightMachines(dict(arrays), mode)
    return _load_xgboost(path, mode) if path.suffix == ".json" else _load_skops(path, mode)


def probabilities(machines: list[Any], native: bool, x: Floats) -> Floats:
    """What the machines say of transformed rows: [n, classes], not yet summing to 1 where each was asked alone.

    A machine without probabilities gives margins.
    """
    if not native:
        return np.stack([_of_one(machine, x)[:, -1] for machine in machines], axis=1)
    said = _of_one(machines[0], x)
    return said if isinstance(said, np.ndarray) else _of_labels(machines[0], said)


def _of_one(machine: Any, x: Floats) -> Any:
    if hasattr(machine, "predict_proba"):
        return machine.predict_proba(x)
    margins = machine.decision_function(x)
    return margins[:, None] if margins.ndim == 1 else margins


def _of_labels(machine: Any, said: list[npt.NDArray[Any]]) -> Floats:
    """Trees that know several labels answer with a list; a label that never changed has one column only."""
    columns = [
        p[:, 1] if p.shape[1] == 2 else np.full(len(p), float(machine.classes_[i][0])) for i, p in enumerate(said)
    ]
    return np.stack(columns, axis=1)


def _save_skops(m: Machines, path: Path) -> None:
    import skops.io

    parts = {"family": m.family, "pooling": m.pooling, "native": m.native} | asdict(m.sharpness)
    skops.io.dump(parts | {"transforms": m.transforms, "machines": m.machines}, path)


def _load_skops(path: Path, mode: Mode) -> Machines:
    """Two steps: what is in the file is looked at before any of it is built."""
    import skops.io

    allowed = {name for family in FAMILIES.values() for name in family.trusted}
    if foreign := set(skops.io.get_untrusted_types(file=path)) - allowed:
        raise FormatError(f"{path}: holds {', '.join(sorted(foreign))}, which no shallow head has; do not trust it")
    parts = skops.io.load(path, trusted=sorted(allowed))
    return Machines(
        family=parts["family"],
        mode=mode,
        pooling=parts["pooling"],
        native=parts["native"],
        transforms=parts["transforms"],
        machines=parts["machines"],
        sharpness=_sharpness(parts),
    )


def _sharpness(parts: Mapping[str, Any]) -> Sharpness:
    """What a file tells of it; heads of earlier versions tell nothing."""
    return Sharpness(**{f.name: float(parts[f.name]) for f in fields(Sharpness) if f.name in parts})


class _Booster:
    """XGBoost's trained trees, with scikit-learn's word for asking them."""

    def __init__(self, booster: Any, mode: Mode) -> None:
        self._booster, self._mode = booster, mode

    def predict_proba(self, x: Floats) -> Floats:
        said = np.asarray(self._booster.inplace_predict(x))
        if said.ndim == 2:
            return said
        return np.stack([1 - said, said], axis=1) if self._mode == "single" else said[:, None]


def _save_xgboost(m: Machines, path: Path) -> None:
    booster = m.machines[0].get_booster()
    booster.set_attr(earshot_pooling=m.pooling)
    booster.set_attr(**{f"earshot_{name}": repr(value) for name, value in asdict(m.sharpness).items()})
    booster.save_model(path)


def _load_xgboost(path: Path, mode: Mode) -> Machines:
    import xgboost

    booster = xgboost.Booster()
    try:
        booster.load_model(path)
    except xgboost.core.XGBoostError as error:
        raise ValueError(str(error).splitlines()[0]) from error
    pooling = booster.attr("earshot_pooling")
    if not pooling:
        raise ValueError("no pooling is named in it")
    told = {f.name: text for f in fields(Sharpness) if (text := booster.attr(f"earshot_{f.name}"))}
    machines = [_Booster(booster, mode)]
    return Machines("xgboost", mode, pooling, True, [], machines, _sharpness(told))
