"""Touches the disk, once, at the start: the models that are served, by name.

A request names one of them; its name is looked up in a table and never becomes a path.
"""

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.api.errors import ApiError
from app.live.engine import Engine
from app.predicting import encoder_for
from classifiers.bundle import load_bundle
from embeddings.encoders import Encoder
from ingest.errors import UsageError

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True, slots=True)
class Model:
    """A model under the name that requests use."""

    name: str
    engine: Engine

    def to_json(self) -> dict[str, Any]:
        info, grid = self.engine.bundle.info, self.engine.grid
        return {
            "name": self.name,
            "classes": list(self.engine.class_names),
            "mode": info.class_set.mode,
            "encoder": info.spec.encoder,
            "head": info.head,
            "window_s": info.spec.window_s,
            "step_s": round(grid.step / grid.sample_rate, 3),
            "trained": info.trained_on.get("date"),
            "protocol": info.protocol,
            "caveat": info.caveat or None,
            "balanced_accuracy": _finite(info.metrics.balanced_accuracy) if info.metrics else None,
        }


class Models:
    """The models that are served; the first one is the default."""

    def __init__(self, models: Sequence[Model]) -> None:
        self._by_name = {model.name: model for model in models}
        if not models:
            raise UsageError("--model: names no model to serve; name a folder that `earshot train` wrote")
        if len(self._by_name) < len(models):
            twice = next(model.name for model in models if self._by_name[model.name] is not model)
            raise UsageError(f"--model: two models are called {twice!r}; name them apart: --model other={twice}")
        self.default = models[0]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self._by_name)

    def get(self, name: str | None) -> Model:
        """The model of this name; the default one for None.

        Raises:
            ApiError: there is none.
        """
        if name is None:
            return self.default
        if name not in self._by_name:
            raise ApiError(
                "unknown_model", f"model: {name[:64]!r} is not served; choose one of {', '.join(self.names)}"
            )
        return self._by_name[name]

    def to_json(self) -> dict[str, Any]:
        return {"default": self.default.name, "models": [model.to_json() for model in self._by_name.values()]}


def load_models(named: Sequence[str], weights_dir: Path | None = None, precision: str | None = None) -> Models:
    """Load models from `FOLDER`, whose last part is the name, or `NAME=FOLDER`; those of one encoder share it.

    Raises:
        UsageError, FormatError, WeightsError, SpecMismatchError: see `load_bundle` and `encoder_for`.
    """
    encoders: dict[str, Encoder] = {}
    models = []
    for text in named:
        name, folder = _parse(text)
        bundle = load_bundle(folder)
        identity = json.dumps(bundle.spec.to_json(), sort_keys=True)  # down to the SHA-256 of weights and projection
        if identity not in encoders:
            encoders[identity] = encoder_for(bundle, weights_dir, precision)
        engine = Engine(bundle, encoders[identity])
        engine.predict_waveform(np.zeros(engine.grid.sample_rate, np.float32))  # what is made at first use is made now
        models.append(Model(name, engine))
    return Models(models)


def _finite(value: float) -> float | None:
    """JSON has no other numbers."""
    return round(value, 4) if math.isfinite(value) else None


def _parse(text: str) -> tuple[str, Path]:
    name, equals, folder = text.partition("=")
    if not equals or Path(text).is_dir():
        name, folder = Path(text).resolve().name, text
    if not _NAME.fullmatch(name):
        raise UsageError(
            f"--model: {name!r} cannot be the name of a model (letters, digits and ._-, at most 64); "
            f"give it one: --model NAME={folder}"
        )
    return name, Path(folder)
