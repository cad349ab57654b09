"""Which ten seconds of which video: the type, and the lists it is read from.

Four forms are read, told apart by their content: AudioSet's own CSVs, the re-saved variants of them found in the wild
(fewer header lines, no spaces, integer times, unquoted or no labels), plain lists `id,start,end[,labels]`, and the
strong-label TSVs. A row that is none of these is reported with its line number and left out; it never ends the read.
"""

import itertools
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from ingest.errors import UsageError

T = TypeVar("T")

STRONG_CLIP_S = 10.0
"""The strong-label files do not say where a clip ends; AudioSet's segments are at most this long."""

SHOWN = 60
"""Characters of a bad row that its message quotes."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of a YouTube video and its labels.

    start_s, end_s: in the video, in seconds.
    mids: its labels.
    """

    youtube_id: str
    start_s: float
    end_s: float
    mids: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """'<id>_<start in ms>', the name of the segment everywhere. Ids hold underscores too: split at the last."""
        return f"{self.youtube_id}_{round(self.start_s * 1000)}"


@dataclass(frozen=True, slots=True)
class StrongEvent:
    """One labelled sound within a segment; times in seconds from the segment's start, not the video's."""

    start_s: float
    end_s: float
    mid: str


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that is no segment: its line (from 1), the rule it breaks, the beginning of its text."""

    line: int
    rule: str
    text: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.rule}, got {self.text!r}"


@dataclass(frozen=True, slots=True)
class SegmentList:
    """What a file holds, in its order. strong: the events of each segment by key; only a strong-label TSV has any."""

    segments: list[Segment] = field(default_factory=list)
    bad_rows: list[BadRow] = field(default_factory=list)
    strong: dict[str, list[StrongEvent]] = field(default_factory=dict)


def read_segments(path: Path) -> SegmentList:
    """Read a list of segments in any of the forms above. A segment that stands twice is kept once.

    Raises:
        UsageError: there is no such file, it cannot be read, or not one row is a segment: it is another kind of file.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="replace") as file:
            rows = _data_rows(file)
            head = list(itertools.islice(rows, 1))
            read = _read_strong if head and "\t" in head[0][1] else _read_weak
            found = read(itertools.chain(head, rows))
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror}); name a list of segments") from error
    if not found.segments:
        why = f" ({found.bad_rows[0]})" if found.bad_rows else ""
        raise UsageError(f"{path}: holds no segment{why}; its rows must be id,start,end[,labels], or strong labels")
    return found


_HEADER = re.compile(r'"?(ytid|youtube_id|video_id|segment_id|id|key)"?\s*[,\t]', re.IGNORECASE)


def _data_rows(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    """Numbered from 1; leaves out comments, blank lines, and the names of the columns where they come first."""
    first = True
    for number, line in enumerate(lines, start=1):
        text = line.strip()
        if not text or text[0] == "#":
            continue
        if not (first and _HEADER.match(text)):
            yield number, text
        first = False


def _bad(number: int, rule: str, text: str) -> BadRow:
    """Quotes SHOWN characters at most, counted as they are printed: one that cannot be shown takes up to ten there."""
    begin = text[:SHOWN]
    while len(repr(begin)) > SHOWN + 2:  # the quotes
        begin = begin[:-1]
    return BadRow(number, rule, text if begin == text else begin[: SHOWN - 3] + "...")


# --- AudioSet's CSVs, their variants, plain lists ---

_ID = r"[A-Za-z0-9_-]{1,64}"
_TIME = r"[0-9]{1,7}(?:\.[0-9]*)?"
"""Seconds below ten million, 115 days. The longest videos are of some days, and a time of hundreds of digits would be
infinite."""
_WEAK = re.compile(rf'"?({_ID})"?\s*,\s*"?({_TIME})"?\s*,\s*"?({_TIME})"?\s*(?:,(.*))?')


def _read_weak(rows: Iterable[tuple[int, str]]) -> SegmentList:
    """The unbalanced list sends two million rows through here, so times and sets of labels are parsed once each."""
    found = SegmentList()
    seconds, labels, starts = _Memo(_seconds), _Memo(_labels), _Starts()
    for number, text in rows:
        fields = _WEAK.fullmatch(text)
        if fields is None or text.count('"') % 2:
            found.bad_rows.append(_bad(number, _broken_rule(text), text))
            continue
        youtube_id, start, end, label_text = fields.groups()
        start_s, end_s, mids = seconds[start], seconds[end], labels[label_text or ""]
        if end_s <= start_s:
            found.bad_rows.append(_bad(number, "the end must come after the start", text))
        elif not all(map(_is_label, mids)):
            found.bad_rows.append(_bad(number, _LABEL_RULE, text))
        elif starts.known(youtube_id, start_s):
            found.bad_rows.append(_bad(number, "the segment stands in the list already; the first is kept", text))
        else:
            found.segments.append(Segment(youtube_id, start_s, end_s, mids))
    return found


class _Memo(dict[str, T]):
    """Text -> what `parse` makes of it, worked out once."""

    def __init__(self, parse: Callable[[str], T]) -> None:
        super().__init__()
        self._parse = parse

    def __missing__(self, text: str) -> T:
        value = self[text] = self._parse(text)
        return value


def _seconds(text: str) -> float:
    """Rounded to the milliseconds that keys have."""
    return round(float(text), 3)


def _labels(text: str) -> tuple[str, ...]:
    """The labels in a field, quoted or not, each once, in their order."""
    return tuple(dict.fromkeys(label for part in text.split(",") if (label := part.strip(' "'))))


_LABEL_RULE = "a label must be of characters that can be shown, in UTF-8, without quotes in it"


def _is_label(text: str) -> bool:
    """A damaged one would be kept as a label of its own, and its segment pass for one without the right label."""
    return text.isprintable() and '"' not in text and "\ufffd" not in text


class _Starts:
    """Which segments have been seen. Nearly every video has one segment, so only the second start makes a set."""

    def __init__(self) -> None:
        self._first: dict[str, float] = {}
        self._more: set[tuple[str, float]] = set()

    def known(self, youtube_id: str, start_s: float) -> bool:
        """Whether it has been seen; it has from now on."""
        if youtube_id not in self._first:
            self._first[youtube_id] = start_s
            return False
        if self._first[youtube_id] == start_s or (youtube_id, start_s) in self._more:
            return True
        self._more.add((youtube_id, start_s))
        return False


def _broken_rule(text: str) -> str:
    """Which rule a row breaks; worked out for bad rows only."""
    fields = [part.strip(' "') for part in text.split(",", 3)]
    if len(fields) < 3:
        return "a row needs id,start,end[,labels]"
    if not re.fullmatch(_ID, fields[0]):
        return "the id must be 1 to 64 letters, digits, '-' or '_'"
    for name, value in (("start", fields[1]), ("end", fields[2])):
        if not re.fullmatch(_TIME, value):
            return f"the {name} must be seconds, 0 or more and less than ten million"
    return "the quotes do not close"


# --- strong labels ---

_STRONG = re.compile(rf"({_ID})_([0-9]{{1,10}})\t({_TIME})\t({_TIME})\t([^\t]+)")


def _read_strong(rows: Iterable[tuple[int, str]]) -> SegmentList:
    """Each row is one event: `<id>_<clip start in ms>`, start and end within the clip, label; tabs between.

    A clip's start has the bound of every time: up to there its key comes out of the seconds as it went in.
    """
    found = SegmentList()
    for number, text in rows:
        fields = _STRONG.fullmatch(text)  # greedy: the id takes every `_` but the last
        if fields is None:
            rule = "a row needs <id>_<clip start in ms>, start and end in seconds, and label, with tabs between"
            found.bad_rows.append(_bad(number, rule, text))
            continue
        youtube_id, clip_ms, start, end, mid = fields.groups()
        if float(end) <= float(start):
            found.bad_rows.append(_bad(number, "the end must come after the start", text))
            continue
        if not _is_label(mid):
            found.bad_rows.append(_bad(number, _LABEL_RULE, text))
            continue
        key = f"{youtube_id}_{int(clip_ms)}"
        found.strong.setdefault(key, []).append(StrongEvent(float(start), float(end), mid))
    found.segments.extend(_strong_segment(key, events) for key, events in found.strong.items())
    return found


def _strong_segment(key: str, events: list[StrongEvent]) -> Segment:
    youtube_id, _, clip_ms = key.rpartition("_")
    start_s = int(clip_ms) / 1000
    return Segment(youtube_id, start_s, start_s + STRONG_CLIP_S, tuple(dict.fromkeys(event.mid for event in events)))
