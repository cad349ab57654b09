"""Touches network and disk: public copies of AudioSet's audio in Parquet, a second source beside the videos themselves.

The layout is that of the data sets on Hugging Face, agkphysics/AudioSet first of all: a row for each clip, its columns
`video_id` and `audio`, a struct of `bytes` (a FLAC file of the whole clip) and `path`. A row does not say where in the
video its clip begins, so whoever asks must know that it is AudioSet's own segment: see `starts`.

Such files hold some hundred clips in each row group, and a group can only be had whole (for one clip of 1.4 MB, 140 MB
come). So ask in the order of `order`: then each group is fetched once.
"""

import json
import sys
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from ingest.audioset.segments import Segment
from ingest.errors import DownloadError, UsageError
from ingest.places.files import atomic_path
from ingest.youtube.remote import MediaStream, RemoteFile

HUGGING_FACE = "https://huggingface.co/datasets/agkphysics/AudioSet/tree/main/data/"
"""Followed by bal_train, eval or unbal_train."""
_READ_DEADLINE_S = 24 * 3600.0
_KEPT_BYTES = 1 << 20

Place = tuple[int, int]
"""The number of a file, and of a row in it."""


@dataclass(frozen=True, slots=True)
class ParquetSource:
    """One Parquet file. address: a path or URL. size: in bytes where the list of files says, else None."""

    address: str
    size: int | None = None


@dataclass(frozen=True, slots=True)
class _Group:
    """A row group. first: the number of its first row in the file. audio: its column."""

    file: int
    first: int
    audio: Any

    def holds(self, place: Place) -> bool:
        file, row = place
        return file == self.file and self.first <= row < self.first + len(self.audio)


class Copies(ABC):
    """Whoever can be asked for the copies of a mirror: the mirror itself, or one that passes the question on to it."""

    @abstractmethod
    def find(self, segment: Segment) -> bytes | None:
        """The audio file of a segment, as it stands in the mirror; None when the mirror has none."""


class Mirror(Copies):
    """Looks up the audio of segments. May be asked from many threads; they are served one after the other, first those
    who want the row group that is open. It may be sent to another process, which then looks anew.

    Args:
        where: a folder of Parquet files, the address of one, or of a folder on Hugging Face: the page in the browser.
        starts: id -> where AudioSet's segment of that video begins, in seconds. A segment that begins elsewhere is
            not here, whatever its id. None: every segment asked for is AudioSet's own.
        index: file that keeps which clip stands where; without it a remote mirror reads the ids of all files anew.
        timeout_s: for a connection, and for each wait for bytes.
    Raises (all methods):
        UsageError: `where` is none of these, or a file is no Parquet or has other columns.
        DownloadError: the list of files cannot be had.
        FetchError: a file cannot be read over the network; by the table of outcomes.
    """

    def __init__(
        self,
        where: str,
        *,
        starts: Mapping[str, float] | None = None,
        index: Path | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        self._where = where if "://" in where else str(Path(where).absolute())
        self._starts, self._timeout_s = starts, timeout_s
        self._index_file = index.absolute() if index else None
        self._lock = threading.Lock()
        self._queue = _Queue()
        self._places: dict[str, Place] | None = None
        self._files: Sequence[ParquetSource] = ()
        self._group: _Group | None = None
        self._open: tuple[int, Any] | None = None

    def __reduce__(self) -> tuple[Callable[[str], "Mirror"], tuple[str]]:
        made = partial(Mirror, starts=self._starts, index=self._index_file, timeout_s=self._timeout_s)
        return made, (self._where,)

    def find(self, segment: Segment) -> bytes | None:
        with self._lock:
            self._look()
            place = self._place(segment)
        if place is None:
            return None
        with self._queue.turn(place, lambda place: self._group is not None and self._group.holds(place)):
            return self._read(*place)

    def order(self, segments: Iterable[Segment]) -> list[Segment]:
        """The segments in the order in which they are best asked for; those that are not here come last."""
        nowhere = (sys.maxsize, 0)
        with self._lock:
            self._look()
            placed = [(self._place(segment) or nowhere, number, segment) for number, segment in enumerate(segments)]
        return [segment for _, _, segment in sorted(placed, key=lambda row: row[:2])]

    def _look(self) -> None:
        """Find out what is there, the first time."""
        if self._places is None:
            self._files = list_files(self._where, self._timeout_s)
            self._places = self._read_index() or self._make_index()

    def _place(self, segment: Segment) -> Place | None:
        if self._starts is not None and self._starts.get(segment.youtube_id) != segment.start_s:
            return None
        return (self._places or {}).get(segment.youtube_id)

    def _read(self, number: int, row: int) -> bytes | None:
        if self._group is None or not self._group.holds((number, row)):
            self._group = None  # two groups at a time would be twice the memory
            file = self._parquet(number)
            group, first = 0, 0
            while row >= first + file.metadata.row_group(group).num_rows:
                first += file.metadata.row_group(group).num_rows
                group += 1
            self._group = _Group(number, first, file.read_row_group(group, columns=["audio.bytes"]).column("audio"))
        audio = self._group.audio[row - self._group.first].as_py()
        found: bytes | None = audio["bytes"] if audio else None
        return found or None

    def _parquet(self, number: int) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._open is None or self._open[0] != number:
            source = self._files[number]
            remote = "://" in source.address
            try:
                handle = pa.PythonFile(_Ranges(source.address, self._timeout_s), "r") if remote else source.address
                file = pq.ParquetFile(handle)
            except pa.ArrowInvalid as error:
                raise UsageError(f"{source.address}: is no Parquet file; take it out of the mirror") from error
            if missing := {"video_id", "audio"} - set(file.schema_arrow.names):
                raise UsageError(f"{source.address}: has no column {min(missing)}; a mirror needs video_id and audio")
            self._open = number, file
        return self._open[1]

    def _make_index(self) -> dict[str, Place]:
        places: dict[str, Place] = {}
        for number in range(len(self._files)):
            ids = self._parquet(number).read(columns=["video_id"]).column("video_id").to_pylist()
            for row, youtube_id in enumerate(ids):
                places.setdefault(youtube_id, (number, row))
        if self._index_file is not None:
            _write_index(self._index_file, places, self._files)
        return places

    def _read_index(self) -> dict[str, Place] | None:
        """None when there is none, or it is of other files."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if self._index_file is None or not self._index_file.is_file():
            return None
        try:
            table = pq.read_table(self._index_file)
        except pa.ArrowException:
            return None
        if (table.schema.metadata or {}).get(b"files") != _fingerprint(self._files):
            return None
        ids, files, rows = (table.column(name).to_pylist() for name in ("video_id", "file", "row"))
        return dict(zip(ids, zip(files, rows, strict=True), strict=True))


class _Queue:
    """One at a time: of those that wait, the ones whose answer is at hand, then the first by place. So a row group is
    read once, in whichever order those who want its rows come."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: list[Place] = []
        self._busy = False

    @contextmanager
    def turn(self, place: Place, at_hand: Callable[[Place], bool]) -> Iterator[None]:
        """Blocks until it is the turn of who wants `place`. `at_hand` is asked only while it is nobody's turn."""
        with self._changed:
            self._waiting.append(place)
            try:
                self._changed.wait_for(
                    lambda: (
                        not self._busy
                        and place == min(self._waiting, key=lambda waiting: (not at_hand(waiting), waiting))
                    )
                )
            finally:
                self._waiting.remove(place)
            self._busy = True
        try:
            yield
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()


def list_files(where: str, timeout_s: float = 30.0) -> list[ParquetSource]:
    """The Parquet files of a mirror, in a fixed order. See Mirror for `where` and errors."""
    if "://" not in where:
        found = [ParquetSource(str(path), path.stat().st_size) for path in sorted(Path(where).rglob("*.parquet"))]
    elif urlsplit(where).path.endswith(".parquet"):
        found = [ParquetSource(where)]
    else:
        found = _list_hub(where, timeout_s)
    if not found:
        raise UsageError(f"mirror {where}: holds no .parquet files; name a folder of them, or {HUGGING_FACE}bal_train")
    return found


def _list_hub(where: str, timeout_s: float) -> list[ParquetSource]:
    """Through the hub's own list of files: /api/datasets/<owner>/<name>/tree/<revision>/<path>, page by page."""
    import requests

    address = urlsplit(where)
    parts = address.path.strip("/").split("/")
    if len(parts) < 5 or parts[0] != "datasets" or parts[3] != "tree":
        raise UsageError(
            f"mirror {where}: an address must end in .parquet or be a folder of a data set on Hugging Face, such as "
            f"{HUGGING_FACE}bal_train"
        )
    host, dataset, revision = f"{address.scheme}://{address.netloc}", "/".join(parts[1:3]), parts[4]
    page: str | None = f"{host}/api/{'/'.join(parts)}?recursive=true"
    found = []
    try:
        while page:
            response = requests.get(page, timeout=timeout_s)
            response.raise_for_status()
            found += [file for file in response.json() if file["path"].endswith(".parquet")]
            page = response.links.get("next", {}).get("url")
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise DownloadError(Path(where), where, f"its list of files: {str(error).splitlines()[0]}") from error
    base = f"{host}/datasets/{dataset}/resolve/{revision}/"
    return [ParquetSource(base + file["path"], file.get("size")) for file in sorted(found, key=lambda f: f["path"])]


def _write_index(path: Path, places: Mapping[str, Place], files: Sequence[ParquetSource]) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    numbers, rows = zip(*places.values(), strict=True) if places else ((), ())
    columns = {
        "video_id": pa.array(places, pa.string()),
        "file": pa.array(numbers, pa.int32()),
        "row": pa.array(rows, pa.int32()),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as temporary:
        pq.write_table(pa.table(columns).replace_schema_metadata({"files": _fingerprint(files)}), temporary)


def _fingerprint(files: Sequence[ParquetSource]) -> bytes:
    return json.dumps([[file.address, file.size] for file in files]).encode()


class _Ranges:
    """A remote file as Arrow wants to read it: each read is one request. What is large is not kept."""

    closed = False

    def __init__(self, url: str, timeout_s: float) -> None:
        self._stream, self._timeout_s = MediaStream(url), timeout_s
        self._remote: RemoteFile | None = None
        self._position = 0

    def read(self, size: int = -1) -> bytes:
        remote = self._opened()
        wanted = remote.size - self._position if size < 0 else min(size, remote.size - self._position)
        remote.read_ahead = wanted
        remote.seek(self._position)
        content = bytearray()
        while len(content) < wanted and (piece := remote.read(wanted - len(content))):
            content += piece
        self._position += len(content)
        if wanted > _KEPT_BYTES:
            self.close()
        return bytes(content)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._position = offset + (self._opened().size if whence == 2 else self._position if whence else 0)
        return self._position

    def tell(self) -> int:
        return self._position

    def close(self) -> None:
        """Gives back what is kept; reading on is possible all the same."""
        if self._remote is not None:
            self._remote.close()
            self._remote = None

    def _opened(self) -> RemoteFile:
        if self._remote is None:
            self._remote = RemoteFile(self._stream, timeout_s=self._timeout_s, deadline_s=_READ_DEADLINE_S)
        return self._remote
