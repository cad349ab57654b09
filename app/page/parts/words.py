"""What a listener says, in words. Pure."""

from dataclasses import dataclass

from app.live.states import State, Status
from classifiers.prediction import Prediction

HEARING = (State.LISTENING, State.OVERLOADED)
"""Only in these states the latest answer is about what sounds now."""

FLOWING = (State.FILLING, State.MUTED, *HEARING)

SIGNS = {
    State.PERMISSION: ("wait", "Waiting for you"),
    State.CONNECTING: ("wait", "Connecting"),
    State.FILLING: ("wait", "Filling"),
    State.LISTENING: ("good", "Listening"),
    State.MUTED: ("bad", "Muted"),
    State.NO_AUDIO: ("bad", "No sound comes"),
    State.OVERLOADED: ("warn", "Behind"),
    State.ENDED: ("off", "Not listening"),
}
"""State -> its tone and its name."""

NOTHING = "Nothing I know"

DASH, CHECK = "\u2013", "\u2713"


@dataclass(frozen=True, slots=True)
class Hero:
    """The big answer. tone: "answer", "none" or the tone of a state that has none."""

    tone: str
    title: str
    detail: str


def hero_of(status: Status, prediction: Prediction | None) -> Hero:
    """What may be said in one word: an answer only while sound comes and was scored."""
    tone, name = SIGNS[status.state]
    if status.state in HEARING and prediction is not None:
        if prediction.answer is not None:
            score = dict(prediction.top())[prediction.answer]
            others = [name for name, here in zip(prediction.class_names, prediction.present, strict=True) if here]
            others = [name for name in others if name != prediction.answer]
            also = f" \u00b7 also {', '.join(others[:3])}" if others else ""
            return Hero("answer", prediction.answer, f"{percent(score)} sure, in the last ten seconds{also}")
        return Hero("none", NOTHING, why_nothing(prediction))
    titles = {
        State.FILLING: "Listening \u2026",
        State.MUTED: "Muted",
        State.ENDED: "Not listening",
        State.NO_AUDIO: "I hear nothing",
        State.PERMISSION: "May I listen?",
        State.CONNECTING: "Connecting \u2026",
    }
    return Hero(tone, titles.get(status.state, name), status.message)


def why_nothing(prediction: Prediction) -> str:
    """Why there is no answer. A class may be likely among the classes, and yet none of them likely at all."""
    best, score = prediction.top(1)[0]
    if prediction.known < score:
        return f"Only {percent(prediction.known)} sure that it is any of my sounds; of these, {best} is the closest"
    return f"Closest is {best} at {percent(score)}: not enough to say so"


def sureness(prediction: Prediction) -> float:
    """How sure the answer is; of none, how sure it would have been: no more than that it is any class at all."""
    if prediction.answer is not None:
        return dict(prediction.top())[prediction.answer]
    return min(prediction.known, prediction.top(1)[0][1])


def percent(value: float) -> str:
    """0.934 -> '93 %'; never '100 %' for what is not quite sure."""
    return f"{min(99, int(100 * value)) if value < 1 else 100} %"


def clock(seconds: float) -> str:
    """75.2 -> '1:15'."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
