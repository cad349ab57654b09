"""Every error that Earshot raises on purpose.

EarshotError                    something expected went wrong; str(error) is one line with the remedy (exit 1)
├── UsageError                  the user's mistake: an argument, a path, a combination, a file or folder that is
│   │                           not of the kind that was asked for, or what a person wrote into one (exit 2)
│   └── SpecMismatchError       what is named was not made alike: rows, stores or models of different encoders
├── AudioError                  one file cannot become a waveform; a batch goes on without it
│   ├── MissingAudioError       not there, or vanished during the run
│   ├── UnreadableAudioError    there, but the system does not let us read it
│   ├── EmptyAudioError         no bytes, or a container with zero samples
│   ├── NotAudioError           no decoder recognises it, or it has no audio stream
│   ├── TruncatedAudioError     decodes to less than it declares
│   └── InvalidSamplesError     NaN, infinite or absurdly large samples
├── FetchError                  one segment could not be had; becomes a row of the ledger, never the end of a run
├── DownloadError               a published file could not be had whole; what came of it is kept
├── WeightsError                weights are missing, unreachable or do not fit
├── EngineError                 the workers died, or nothing was heard of them for too long; the work can go on
└── FormatError                 a file that Earshot or AudioSet's makers wrote is damaged, or of another version

Foreign exceptions are translated once, where they enter, with `raise ... from`.
"""

from pathlib import Path
from typing import Any

MESSAGE_HEAD, MESSAGE_TAIL = 1_000, 400
"""Characters of a message that are kept where it is longer than both: what is wrong, and the remedy at its end."""


def one_line(text: str) -> str:
    """The text without line breaks and control characters, shortened in its middle."""
    if not text.isprintable():
        text = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    if len(text) > MESSAGE_HEAD + MESSAGE_TAIL:
        text = f"{text[:MESSAGE_HEAD]} ... {text[-MESSAGE_TAIL:]}"
    return text


class EarshotError(Exception):
    """Base of all expected errors. The message is one line that ends in a remedy.

    It is one line, and of bounded length, whatever the foreign text that it quotes holds.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(one_line(message))

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes it goes as it stands, not made anew by an `__init__` that wants more than the message."""
        return _as_it_was, (type(self), self.args), self.__dict__


class UsageError(EarshotError):
    """The user's mistake; the message names the argument, the rule, the value seen and the remedy."""

    exit_code = 2


class SpecMismatchError(UsageError): ...


class AudioError(EarshotError):
    """One audio file is of no use. Becomes a row of `failures.parquet`, never the end of a batch."""

    def __init__(self, path: str | Path, rule: str, remedy: str) -> None:
        self.path, self.rule, self.remedy = str(path), rule, remedy
        super().__init__(f"{path}: {rule}; {remedy}")

    @property
    def kind(self) -> str:
        """The name of the failure in tables: 'truncated' for TruncatedAudioError, 'notaudio' for NotAudioError."""
        name = type(self).__name__.removesuffix("Error").lower()
        return name if name == "notaudio" else name.removesuffix("audio")


class MissingAudioError(AudioError): ...


class UnreadableAudioError(AudioError): ...


class EmptyAudioError(AudioError): ...


class NotAudioError(AudioError): ...


class TruncatedAudioError(AudioError): ...


class InvalidSamplesError(AudioError): ...


class FetchError(EarshotError):
    """One segment could not be had this time.

    failure: the row of `ingest.ledger.outcomes.FAILURES` it falls under; "" when the text is to decide.
    retry_after_s: how long the server asked us to wait, if it did.
    """

    def __init__(self, failure: str, text: str, retry_after_s: float | None = None) -> None:
        self.failure, self.text, self.retry_after_s = failure, text, retry_after_s
        super().__init__(text)


class DownloadError(EarshotError):
    """A published file could not be had whole. reason: one clause, for messages that say more of the file."""

    def __init__(self, path: Path, url: str, reason: str) -> None:
        self.reason = reason
        super().__init__(f"{path.name} could not be fetched: {reason}; try again, or bring {url} to {path}")


class WeightsError(EarshotError): ...


class EngineError(EarshotError): ...


class FormatError(EarshotError): ...


def _as_it_was(kind: type[EarshotError], args: tuple[object, ...]) -> EarshotError:
    error = kind.__new__(kind)
    error.args = args
    return error
