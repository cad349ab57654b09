"""Reads data/class_sets: the problems people collect and train for, each class a union of labels."""

import tomllib
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from ingest.audioset.labels import descendants, display_name, load_labels, mid_of
from ingest.errors import FormatError, UsageError
from ingest.foreign import checked

Mode = Literal["single", "multi"]
CLASS_SETS = Path(__file__).resolve().parents[2] / "data" / "class_sets"
NONE_OF_THESE = "none of these"
"""A label that is no class: of sounds that somebody has listened to and found none of the classes in."""
_MID_STARTS = ("/m/", "/t/", "/g/")


@dataclass(frozen=True, slots=True)
class SoundClass:
    """One class: a name for people, and the labels that mean it (AudioSet mids, or a data set's own names)."""

    name: str
    mids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClassSet:
    """The classes of one problem.

    mode: "single": a row has exactly one of the classes, the others are left out; scores sum to 1.
        "multi": a row may have any number of them, none included; scores are independent.
    balanced: as many rows with none of the classes, nor a relative of one, as rows with one; the others are left out.
        It makes a detector's accuracy of one half mean that it knows nothing.
    """

    title: str
    mode: Mode
    classes: tuple[SoundClass, ...]
    balanced: bool = False

    def __post_init__(self) -> None:
        names = [c.name for c in self.classes]
        mids = [mid for c in self.classes for mid in c.mids]
        if self.mode not in ("single", "multi"):
            raise FormatError(
                f'class set {self.title}: mode must be "single" or "multi", got {self.mode!r}; correct it'
            )
        if not all(c.mids for c in self.classes) or not all([*names, *mids]) or not names:
            raise FormatError(f"class set {self.title}: needs classes with a name and at least one mid each; add them")
        if twice := _first_repeated(names) or _first_repeated(mids):
            raise FormatError(f"class set {self.title}: {twice!r} stands twice; keep one of them")
        if self.mode == "single" and len(names) < 2:
            raise FormatError(f'class set {self.title}: mode "single" needs two classes or more; use mode "multi"')
        if self.balanced and self.mode == "single":
            raise FormatError(f'class set {self.title}: balanced is for mode "multi"; leave it out')

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(c.name for c in self.classes)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "ClassSet":
        """The inverse of `to_json`; also reads the tables of a .toml file.

        There `children = true` gives each class what is below its labels in the ontology, as `with_all_children` does.
        """
        if not all(isinstance(c["mids"], (list, tuple)) for c in data["classes"]):
            raise TypeError("mids is no list")
        classes = tuple(checked(SoundClass(c["name"], tuple(c["mids"]))) for c in data["classes"])
        if data.get("children"):
            classes = with_all_children(classes)
        return checked(cls(data["title"], data["mode"], classes, bool(data.get("balanced", False))))


def audioset527() -> ClassSet:
    """All labels of AudioSet's released data, in the order of their index there."""
    classes = tuple(SoundClass(display_name(mid), (mid,)) for mid in load_labels().audioset)
    return ClassSet("AudioSet's 527 labels", "multi", classes)


DERIVED: dict[str, Callable[[], ClassSet]] = {"audioset527": audioset527}
"""Class sets that follow from the table of labels, and so need no file."""


def find_class_set(text: str) -> ClassSet | None:
    """The class set that `text` names: derived, one of data/class_sets, or a .toml file; None when it is none."""
    if text in DERIVED:
        return DERIVED[text]()
    path = CLASS_SETS / f"{text}.toml"
    if path.is_file():
        return read_class_set(path)
    return read_class_set(Path(text)) if text.endswith(".toml") else None


def read_class_set(path: Path) -> ClassSet:
    """Read a class set from TOML.

    Raises:
        UsageError: there is no such file, or it is not a class set.
    """
    try:
        return ClassSet.from_json(tomllib.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise UsageError(f"--classes: there is no file {path}; check the path") from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: is not TOML ({str(error).splitlines()[0]}); correct it") from error
    except FormatError as error:
        raise UsageError(f"{path}: {error}") from error
    except OSError as error:
        raise UsageError(f"--classes: {path} cannot be read ({error.strerror}); check the path") from error
    except (KeyError, TypeError) as error:
        needs = "a class set needs title, mode and [[classes]] with name and mids; add them"
        raise UsageError(f"{path}: {needs}") from error


def class_set_names() -> list[str]:
    """The names that `--classes` takes: derived, or of data/class_sets."""
    return sorted([*DERIVED, *(path.stem for path in CLASS_SETS.glob("*.toml"))])


def classes_named(text: str) -> tuple[SoundClass, ...]:
    """AudioSet's classes for a name of data/class_sets, a .toml file, or display names and mids separated by ';'.

    A mid outside the ontology is a class too: the strong labels have some.

    Raises:
        UsageError: a name that no label has; the message holds those that come close.
        FormatError: a .toml file that is no class set.
    """
    if class_set := find_class_set(text):
        return class_set.classes
    names = dict.fromkeys(name for part in text.split(";") if (name := part.strip()))
    if not names:
        raise UsageError(f"a list of classes needs a name, got {text!r}; separate names by ';'")
    mids = dict.fromkeys(name if name.startswith(_MID_STARTS) else mid_of(name) for name in names)
    return tuple(SoundClass(display_name(mid), (mid,)) for mid in mids)


def with_children(sound_class: SoundClass) -> SoundClass:
    """The class with everything below its labels in the ontology."""
    below = sorted(set().union(*(descendants(mid) for mid in sound_class.mids)) - set(sound_class.mids))
    return replace(sound_class, mids=(*sound_class.mids, *below))


def with_all_children(classes: tuple[SoundClass, ...]) -> tuple[SoundClass, ...]:
    """Each class with what is below its labels, except what is another's own label or below an earlier class.

    So no label means two classes: Throat clearing, below Cough, stays a class of its own, and Cowbell, below Music and
    below Animal, is the first one's.
    """
    own = {mid for c in classes for mid in c.mids}
    found = []
    for sound_class in classes:
        below = [mid for mid in with_children(sound_class).mids if mid not in own]
        own.update(below)
        found.append(replace(sound_class, mids=(*sound_class.mids, *below)))
    return tuple(found)


def _first_repeated(names: Iterable[str]) -> str | None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            return name
        seen.add(name)
    return None
