"""ESC-50 and ESC-10: five predefined folds, and clips of one Freesound recording always in the same fold.

ESC-50  audio/<fold>-<Freesound id>-<take>-<target>.wav; the names say all that its meta/esc50.csv does
ESC-10  <number> - <class>/<fold>-<Freesound id>-<take>.ogg
"""

import re
from pathlib import Path

from ingest.audio.clip import AudioItem
from ingest.datasets.dataset import Dataset
from ingest.datasets.folders import class_name
from ingest.errors import UsageError
from ingest.manifest import audio_files

_NAME = re.compile(r"^(?P<fold>[1-5])-(?P<source>\d+)-(?P<take>[A-Z])(?:-(?P<target>\d{1,2}))?$")

# fmt: off
_CLASSES = (
    "dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow",
    "rain", "sea waves", "crackling fire", "crickets", "chirping birds", "water drops", "wind", "pouring water",
    "toilet flush", "thunderstorm",
    "crying baby", "sneezing", "clapping", "breathing", "coughing", "footsteps", "laughing", "brushing teeth",
    "snoring", "drinking sipping",
    "door wood knock", "mouse click", "keyboard typing", "door wood creaks", "can opening", "washing machine",
    "vacuum cleaner", "clock alarm", "clock tick", "glass breaking",
    "helicopter", "chainsaw", "siren", "car horn", "engine", "train", "church bells", "airplane", "fireworks",
    "hand saw",
)
# fmt: on
"""ESC-50's classes in the order of their target, as in its meta/esc50.csv."""


def detect(folder: Path) -> bool:
    """Audio, all of it named as in ESC."""
    files = audio_files(folder)
    return bool(files) and all(_NAME.match(path.stem) for path in files)


def items(folder: Path) -> list[AudioItem]:
    """Fold and Freesound id from the name, the class from its target or from the folder.

    Raises:
        UsageError: a name that is not ESC's.
    """
    found = []
    for path in audio_files(folder):
        name = _NAME.match(path.stem)
        if name is None or int(name["target"] or 0) >= len(_CLASSES):
            raise UsageError(
                f"{path}: in this layout a name is fold-id-take or fold-id-take-target, target below {len(_CLASSES)}; "
                "take the file out or use --layout folders"
            )
        label = _CLASSES[int(name["target"])] if name["target"] else class_name(path.parent.name)
        key = path.relative_to(folder).as_posix()
        found.append(AudioItem(key, path, f"freesound:{name['source']}", (label,), int(name["fold"])))
    return found


DATASET = Dataset(
    "esc50",
    "ESC-50 or ESC-10",
    detect,
    items,
    licence="CC BY-NC 3.0 (ESC-50), CC BY 3.0 (ESC-10)",
    citation="K. J. Piczak, ESC: Dataset for Environmental Sound Classification, ACM Multimedia 2015",
)
