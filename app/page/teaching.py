"""Touches the disk: what people say of an answer, kept in the form that `earshot ingest folder` reads.

taught/
  labels.csv          path, label (";" between several), source: what can be trained on
  marks.jsonl         every mark in the order of time, with what the model had said
  Rain/<name>.wav     the clips, a folder a class
  none of these/...   sounds of none of the classes: a label that is no class, and teaches what is none of these
  unsorted/...        answers that were wrong, and nobody said what is right: kept, not trained on
"""

import csv
import io
import json
import re
import shlex
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.live.recording import save
from classifiers.bundle import Bundle
from classifiers.prediction import Prediction
from ingest.audioset.class_sets import NONE_OF_THESE, ClassSet
from ingest.errors import UsageError
from ingest.places.files import write_whole

if TYPE_CHECKING:
    from pydub import AudioSegment

LABELS, MARKS = "labels.csv", "marks.jsonl"
UNSORTED = "unsorted"
MOST_NAME = 60
_LOCK = threading.Lock()


@dataclass(frozen=True, slots=True)
class Mark:
    """What somebody said of an answer.

    right: whether the answer was right. truth: the class it is; `NONE_OF_THESE`; or `UNSORTED` when nobody knows.
    others: further classes that are there too, of a model whose classes may stand together.
    """

    right: bool
    truth: str
    others: tuple[str, ...] = ()


def mark_right(prediction: Prediction) -> Mark:
    """The answer was right, with all that it had beside the best class."""
    truth = prediction.answer or NONE_OF_THESE
    return Mark(True, truth, tuple(name for name in prediction.names_present if name != truth))


def mark_wrong(*truths: str) -> Mark:
    """What was there instead, the first of it the folder; nothing for "I do not know".

    Raises:
        UsageError: a name that cannot be a folder, or is empty.
    """
    truth, *others = dict.fromkeys(map(check_name, truths)) or (UNSORTED,)
    return Mark(False, truth, tuple(others))


def check_name(name: str) -> str:
    """A class name that may become a folder: it comes from a text field."""
    cleaned = " ".join(name.split())
    bad = not cleaned or len(cleaned) > MOST_NAME or cleaned.startswith(".")
    if bad or re.search(r'[\\/:*?"<>|;\x00-\x1f]', cleaned):
        raise UsageError(
            f"class: must be 1 to {MOST_NAME} letters, digits and spaces without / \\ : ; * ? and the like, "
            f"got {name[:80]!r}; choose another name"
        )
    return cleaned


def label_of(truth: str, class_set: ClassSet) -> str:
    """What stands in labels.csv: the label by which the class set knows the class, or the new class's own name."""
    return next((c.mids[0] for c in class_set.classes if c.name == truth), truth)


def keep(
    folder: Path,
    segment: "AudioSegment",
    mark: Mark,
    prediction: Prediction,
    bundle: Bundle,
    *,
    source: str,
    at: datetime,
) -> Path:
    """Write the clip and the mark.

    Args:
        source: the session or the file that the clip was cut from: clips of one source stay together in a split.
        at: when it was marked.
    Returns:
        The clip.
    """
    place = folder / check_name(mark.truth)
    place.mkdir(parents=True, exist_ok=True)
    stamp = at.astimezone(UTC).strftime("%Y%m%dT%H%M%S.%f")[:-3] + "Z"
    path = place / f"{stamp}.wav"
    said: dict[str, Any] = {
        "path": path.relative_to(folder).as_posix(),
        "right": mark.right,
        "truth": mark.truth,
        "others": list(mark.others),
        "answer": prediction.answer,
        "known": round(prediction.known, 5),
        "scores": {name: round(score, 5) for name, score in prediction.top()},
        "model": str(bundle.folder),
        "source": source,
        "at": at.isoformat(),
    }
    with _LOCK:
        save(segment, path)
        if mark.truth != UNSORTED:
            labels = (label_of(name, bundle.info.class_set) for name in (mark.truth, *mark.others))
            _append(folder, said["path"], ";".join(labels), source)
        with (folder / MARKS).open("a", encoding="utf-8") as file:
            file.write(json.dumps(said) + "\n")
    return path


def _append(folder: Path, path: str, label: str, source: str) -> None:
    """Labels.csv whole or as it was, with one row more."""
    table = folder / LABELS
    text = io.StringIO(newline="")
    if table.is_file():
        text.write(table.read_text(encoding="utf-8"))
    else:
        text.write("path,label,source\n")
    text.seek(0, io.SEEK_END)
    csv.writer(text, lineterminator="\n").writerow([path, label, source])
    write_whole(table, text.getvalue())


def counts(folder: Path) -> Mapping[str, int]:
    """Clips by folder name, most first."""
    found = {
        place.name: len(list(place.glob("*.wav")))
        for place in (folder.iterdir() if folder.is_dir() else ())
        if place.is_dir()
    }
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def commands(folder: Path, bundle: Bundle) -> list[str]:
    """What makes a model that has learnt the taught clips: with the sounds of the old one where they are still here.

    It is trained as the old one was.
    """
    info, clips, store = bundle.info, f"{folder}-clips", old_store(bundle)
    target = str(store) if store else f"{folder}-emb"
    words = shlex.split(info.command)
    if words[:2] != ["earshot", "train"]:  # made without training: an attention head can learn what it could not
        classes = words[words.index("--classes") :][:2] if "--classes" in words else []
        words = ["earshot", "train", target, *classes, "--head", "attention", "--out", ""]
    words[2], words[words.index("--out") + 1] = target, f"{bundle.folder}-taught"
    return [
        shlex.join(["earshot", "ingest", "folder", str(folder), "--out", clips]),
        shlex.join(["earshot", "embed", clips, "--encoder", info.spec.encoder, "--out", target]),
        shlex.join(words),
    ]


def old_store(bundle: Bundle) -> Path | None:
    """The embeddings that the model was trained on, if they are still where they were."""
    store = str(bundle.info.trained_on.get("store", ""))
    return Path(store) if store and (Path(store) / "spec.json").is_file() else None


def strangers(folder: Path, bundle: Bundle) -> list[str]:
    """Taught classes that the model was not to know: with `--classes` in the command they are left out."""
    known = {*bundle.class_names, NONE_OF_THESE, UNSORTED}
    return [name for name in counts(folder) if name not in known] if "--classes" in bundle.info.command else []
