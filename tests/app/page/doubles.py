"""Predictions and statuses to draw."""

from pathlib import Path

import numpy as np

from app.live.states import State, Status
from classifiers.decision import Decision
from classifiers.prediction import Prediction

NAMES = ("Dog", "Rain <b>", "Siren")
DECISION = Decision("single", (0.0, 0.0, 0.0), known_threshold=0.7)


def make_prediction(
    scores: tuple[float, ...] = (0.9, 0.06, 0.04), answer: str | None = "Dog", start_s: float = 0.0
) -> Prediction:
    present = np.array([name == answer for name in NAMES])
    return Prediction(
        key="k",
        start_s=start_s,
        end_s=start_s + 10,
        class_names=NAMES,
        scores=np.array(scores, np.float32),
        known=max(scores),
        present=present,
        answer=answer,
    )


def make_status(state: State) -> Status:
    return Status(state, f"message of {state.value}", "a remedy & more")


def tree(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
