"""How a session stands at one moment: what the live view shows."""

from dataclasses import dataclass

from app.live.snapshot import Snapshot
from app.live.states import State, Status
from app.page.intake import Intake
from app.page.microphone import status_without_sound
from classifiers.prediction import Prediction


@dataclass(frozen=True, slots=True)
class Standing:
    """status: what to tell. snapshot: of the listener, also of one that has stopped; None before the first sound.

    hearing: sound comes over this connection, so that what the snapshot says is of now.
    """

    status: Status
    snapshot: Snapshot | None
    hearing: bool

    @property
    def prediction(self) -> Prediction | None:
        """The latest, while it is of now."""
        snapshot = self.snapshot
        if not self.hearing or snapshot is None or self.status.state not in (State.LISTENING, State.OVERLOADED):
            return None
        return snapshot.current

    @property
    def filled(self) -> float:
        """Share of the first window that has come."""
        return self.snapshot.filled_s / self.snapshot.window_s if self.hearing and self.snapshot else 0.0

    @property
    def now_s(self) -> float:
        """The newest second of the session that was scored or drawn."""
        if self.snapshot is None:
            return 0.0
        drawn = self.snapshot.pictures.end_s if self.snapshot.pictures else 0.0
        return max(drawn, self.snapshot.prediction.end_s if self.snapshot.prediction else 0.0)


def stand(intake: Intake, *, turn: bool, window_s: float, activity: bool = True) -> Standing:
    """Ask the listener, and the microphone before there is one."""
    listening = intake.listening
    flowing = intake.flowing and listening is not None and not listening.ended
    snapshot = listening.snapshot(pictures=flowing, activity=activity) if listening is not None else None
    if intake.busy:
        remedy = "Wait a minute and press Listen again; `earshot app --listeners` sets the number."
        return Standing(Status(State.NO_AUDIO, "As many people listen here as may at once.", remedy), snapshot, False)
    if flowing and snapshot is not None:
        return Standing(snapshot.status, snapshot, True)
    without = status_without_sound(intake.microphone, waited_s=intake.waited_s, turn=turn, window_s=window_s)
    return Standing(without, snapshot, False)
