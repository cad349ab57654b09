"""Touches the disk: `manifest.parquet`, one row for each audio file, and the folders that have none (yet).

| column | type | means |
|---|---|---|
| `key` | string | names the file everywhere; unique |
| `path` | string | the audio file, see below |
| `source` | string | the recording it was cut from |
| `mids` | list of strings | its labels: AudioSet mids, or the data set's own names |
| `names` | list of strings | the same for people; not read back |
| `fold` | int32 or null | predefined fold |
| `start_s` | float64 | where the file begins in its source |
| others | string | what else the data set tells (`split`, `age`, `gender`, `language` ...); not read back |

A path is relative to the manifest's folder when the audio lies in that folder or in the one above it, so that
`sounds/` and `clips/manifest.parquet` may be moved together; else it is absolute.
"""

import math
import os
import posixpath
import shlex
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from ingest.audio.clip import AudioItem
from ingest.audioset.labels import display_name
from ingest.errors import EarshotError, FormatError, UsageError
from ingest.ledger.file import FILE_NAME as LEDGER
from ingest.ledger.file import State
from ingest.ledger.ledger import Ledger
from ingest.places.arrow_folder import ArrowFolder
from ingest.places.files import atomic_path
from ingest.places.folder import AudioPath, Folder, LocalFolder

MANIFEST = "manifest.parquet"
ABOUT_FILE = "about.parquet"
"""In a store: what the manifest told of each item beside its labels (`keep_columns`); may be missing."""

AUDIO_SUFFIXES = frozenset(
    {".wav", ".w64", ".rf64", ".flac", ".aif", ".aiff", ".aifc", ".au", ".caf", ".wv"}
    | {".ogg", ".oga", ".opus", ".mp3", ".m4a", ".m4b", ".aac", ".ac3", ".amr", ".wma"}
    | {".mp4", ".mov", ".webm", ".mkv", ".mka", ".3gp"}
)
"""What is taken for audio when a folder is listed; a file named outright may have any suffix."""


def audio_files(folder: Path) -> list[Path]:
    """The audio files at any depth, sorted by relative path; hidden files and folders are passed over.

    Links to folders are followed, as those to files are: a class may lie on another disk. One that leads
    back up is not.

    Raises:
        UsageError: a folder may not be read, so that a whole class might be missed without a word.
    """
    found = []
    for parent, folders, names in os.walk(folder, onerror=_refuse_unreadable, followlinks=True):
        folders[:] = [
            name
            for name in folders
            if not (name.startswith(".") or name == "lost+found" or _leads_up(Path(parent, name), folder))
        ]
        found += [
            Path(parent, name)
            for name in names
            if not name.startswith(".") and os.path.splitext(name)[1].lower() in AUDIO_SUFFIXES  # noqa: PTH122 - speed
        ]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def _refuse_unreadable(error: OSError) -> None:
    if isinstance(error, PermissionError):
        raise UsageError(
            f"{error.filename}: this folder may not be read, so nobody knows what is in it; change its permissions, or "
            "move it away"
        ) from error


def _leads_up(path: Path, top: Path) -> bool:
    """Whether a folder below `top` is a link to a folder around it, which would be walked without end."""
    if not path.is_symlink():
        return False
    target = path.resolve()
    return top.resolve().is_relative_to(target) or any(
        around.resolve() == target for around in path.parents if around.is_relative_to(top)
    )


def read_items(path: Path | ArrowFolder) -> list[AudioItem]:
    """What there is to embed at a path, sorted by key, keys unique.

    Args:
        path: a manifest, a folder that holds one, a folder that `earshot ingest youtube` is still at its first clips
            of (what is finished), a folder of audio (then without labels; key and source are the path in it), or one
            audio file. In an object store: a folder that holds a manifest, or one of audio.
    Raises:
        UsageError: there is nothing at `path`, or no audio in it, or it is a CSV file or some other Parquet file.
        FormatError: the manifest is damaged, or names a key twice.
    """
    if isinstance(path, ArrowFolder):
        return _read_remote(path)
    if path.is_dir():
        if (path / MANIFEST).exists():
            return _read_manifest(path / MANIFEST)
        if (path / LEDGER).is_file():
            return _read_ledger(path)
        items = [_unlabelled(file, file.relative_to(path).as_posix()) for file in audio_files(path)]
        if not items:
            raise UsageError(f"{path}: holds neither {MANIFEST} nor audio files; name a folder that does")
        return items
    if not path.exists():
        raise UsageError(f"{path}: there is no such file or folder; check the path")
    if path.suffix.lower() == ".csv":
        raise UsageError(
            f"{path}: is a table and no audio; `earshot ingest folder {shlex.quote(str(path.parent))} --layout csv "
            "--out DIR` makes a manifest of it, and `earshot embed DIR` takes that"
        )
    return _read_manifest(path) if path.suffix == ".parquet" else [_unlabelled(path, path.name)]


def _read_remote(folder: ArrowFolder) -> list[AudioItem]:
    """As of a folder here. The sizes, by which shards are cut, come with the listing."""
    files = {file.name: file for file in folder.files()}
    if MANIFEST in files:
        with folder.local(MANIFEST) as manifest:
            rows = _manifest_rows(manifest, folder.at(MANIFEST))
        items = [_item(row, files.get(row["path"]) or folder.file(row["path"])) for row in rows]
        _require_unique(items, folder)
    else:
        items = [
            AudioItem(key=name, path=file, source=name)
            for name, file in files.items()
            if posixpath.splitext(name)[1].lower() in AUDIO_SUFFIXES
            and not any(part.startswith(".") for part in name.split("/"))
        ]
    if not items:
        raise UsageError(f"{folder}: holds neither {MANIFEST} nor audio files; name a folder that does")
    return sorted(items, key=lambda item: item.key)


def _read_ledger(folder: Path) -> list[AudioItem]:
    """As the manifest of these clips will have them: the keys must be the same, or `embed` would do them twice."""
    with Ledger.read(folder) as ledger:
        items = [
            AudioItem(
                row.segment.key, folder / row.path, row.segment.youtube_id, row.segment.mids, None, row.segment.start_s
            )
            for row in ledger.rows(State.DONE)
            if row.path
        ]
    if not items:
        raise UsageError(f"{folder}: no segment of it is finished yet; wait, or look at `earshot ingest status`")
    return items


def _unlabelled(path: Path, key: str) -> AudioItem:
    return AudioItem(key=key, path=path, source=key)


def write_manifest(folder: Path, items: list[AudioItem]) -> Path:
    """Write `items` as `folder`/manifest.parquet, sorted by key, and return its path.

    Raises:
        UsageError: `folder` is a file, or the name of a file is not UTF-8, which Parquet's text must be.
        FormatError: two items have the same key.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if folder.exists() and not folder.is_dir():
        raise UsageError(f"{folder}: must be a folder, and is a file; name another place for {MANIFEST}")
    for item in items:
        _require_text(item.path)
    items = sorted(items, key=lambda item: item.key)
    _require_unique(items, folder)
    columns: dict[str, list[Any]] = {
        "key": [item.key for item in items],
        "path": [_stored_path(item.path, folder) for item in items],
        "source": [item.source for item in items],
        "mids": [list(item.mids) for item in items],
        "names": [list(map(display_name, item.mids)) for item in items],
        "fold": [item.fold for item in items],
        "start_s": [item.start_s for item in items],
    }
    schema = _schema()
    for name in sorted({name for item in items for name in item.about}):
        columns[name] = [item.about.get(name) or None for item in items]
        schema = schema.append(pa.field(name, pa.string()))
    folder.mkdir(parents=True, exist_ok=True)
    with atomic_path(folder / MANIFEST) as temporary:
        pq.write_table(pa.Table.from_pydict(columns, schema=schema), temporary)
    return folder / MANIFEST


def read_column(path: Path, name: str) -> dict[str, str]:
    """A column of a manifest that tells something of its rows: key -> value, "" where nothing is told.

    Args:
        path: a manifest, the folder that holds one, or what `keep_columns` wrote.
    Raises:
        UsageError: there is no manifest, or it has no such column.
        FormatError: it is damaged.
    """
    path = path / MANIFEST if path.is_dir() else path
    if not path.is_file():
        raise UsageError(f"{path}: there is no such manifest; name the folder that `earshot ingest` made")
    table = _told(path, str(path))
    if name not in table.column_names[1:]:
        raise UsageError(f"{path}: has no column {name!r} to slice by; it has {', '.join(table.column_names[1:])}")
    values = ["" if value is None else str(value) for value in table.column(name).to_pylist()]
    return dict(zip(table.column("key").to_pylist(), values, strict=True))


def keep_columns(audio: Path | ArrowFolder, store: Folder, name: str) -> None:
    """Keep what the manifest of some audio tells of its rows (age, gender, split ...) as the file `name` of a store;
    rows that it holds already and the manifest does not stay. Nothing is done for audio without a manifest.

    Raises:
        FormatError: one of the two is damaged.
    """
    import pyarrow as pa
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    folder = audio if isinstance(audio, ArrowFolder) else LocalFolder(audio if audio.is_dir() else audio.parent)
    manifest = audio.name if isinstance(audio, Path) and audio.suffix == ".parquet" else MANIFEST
    if not folder.has(manifest) or (isinstance(audio, Path) and audio.is_file() and audio.name != manifest):
        return
    table = _told_in(folder, manifest)
    if store.has(name):
        before = _told_in(store, name)
        others = before.filter(pc.invert(pc.is_in(before.column("key"), value_set=table.column("key"))))
        table = pa.concat_tables([table, others], promote_options="default")
    with store.write(name) as made:
        pq.write_table(table, made)


def _told_in(folder: Folder, name: str) -> Any:
    with folder.local(name) as path:
        return _told(path, folder.at(name))


def _told(path: Path, shown: str) -> Any:
    """The key and what is told of each row, as text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = [
                name for name in file.schema_arrow.names if name not in ("key", "path", "mids", "names", "start_s")
            ]
            table = file.read(["key", *names]).cast(pa.schema([(name, pa.string()) for name in ("key", *names)]))
        if table.column("key").null_count:
            raise ValueError("a row has no key")
        table.validate(full=True)  # Arrow reads text that is not UTF-8 without a word; it fails where it is used
        return table
    except (pa.ArrowException, OSError, ValueError) as error:
        raise _no_manifest(shown, error) from error


def _read_manifest(path: Path) -> list[AudioItem]:
    place = placer(path.parent)
    items = [_item(row, place(row["path"])) for row in _manifest_rows(path, path)]
    _require_unique(items, path)
    return sorted(items, key=lambda item: item.key)


def _manifest_rows(path: Path, shown: Path | str) -> list[dict[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    wanted = [name for name in _schema().names if name != "names"]
    try:
        table = pq.ParquetFile(path).read(wanted)
        rows: list[dict[str, Any]] = table.cast(pa.schema([_schema().field(name) for name in wanted])).to_pylist()
    except (pa.ArrowException, OSError, ValueError, KeyError) as error:
        raise _no_manifest(shown, error) from error
    for row in rows:
        _require_complete(row, shown)
    return rows


def _no_manifest(shown: Path | str, error: Exception) -> EarshotError:
    """A file with the name of ours is damaged; one of another name was taken for a manifest by whoever named it."""
    ours = posixpath.basename(str(shown)) in (MANIFEST, ABOUT_FILE)
    return (FormatError if ours else UsageError)(
        f"{shown}: not a manifest ({str(error).splitlines()[0]}); make it with `earshot ingest folder`"
    )


def _require_complete(row: dict[str, Any], shown: Path | str) -> None:
    """Parquet's columns may hold nulls; a row without a name or a place is damage."""
    start_s = row["start_s"] or 0.0
    if not (row["key"] and row["path"] and row["source"] and all(row["mids"] or ()) and math.isfinite(start_s)):
        raise FormatError(
            f"{shown}: is damaged (row {row['key']!r:.80} lacks path, source or a label, or starts nowhere); make it "
            "with `earshot ingest folder`"
        )


def _item(row: dict[str, Any], path: AudioPath) -> AudioItem:
    return AudioItem(row["key"], path, row["source"], tuple(row["mids"] or ()), row["fold"], row["start_s"] or 0.0)


def _require_unique(items: list[AudioItem], where: object) -> None:
    key, count = Counter(item.key for item in items).most_common(1)[0] if items else ("", 0)
    if count > 1:
        raise FormatError(f"{where}: key {key!r} stands {count} times, and must be unique; leave one of them")


def _require_text(path: AudioPath) -> None:
    try:
        str(path).encode()
    except UnicodeEncodeError as error:
        raise UsageError(f"{str(path)!r}: its name is not UTF-8, which a manifest's must be; rename it") from error


def _stored_path(path: AudioPath, folder: Path) -> str:
    if not isinstance(path, Path):
        return str(path)
    if ".." in path.parts and ".." in (parent := _plain(path.parent)).parts:
        path = parent.resolve() / path.name  # else the dots go, and a link before them with them
    base, target = Path(os.path.abspath(folder)), Path(os.path.abspath(path))  # noqa: PTH100 - links stay
    top = base if base.is_symlink() else base.parent  # what is above a link is not what is beside it
    return Path(os.path.relpath(target, base) if target.is_relative_to(top) else target).as_posix()


def placer(folder: Path) -> Callable[[str], Path]:
    """What a path that is written in a table in `folder` leads to: the folder above it is asked for once.

    What lies beside `clips` is `snd/dog.wav` for people, and not `clips/../snd/dog.wav`.
    """
    above = cache(lambda at: _plain(at / ".."))

    def place(written: str) -> Path:
        at = folder
        while written.startswith("../"):
            at, written = above(at), written[3:]
        return at / written

    return place


def _plain(folder: Path) -> Path:
    """The folder without dots where that is the same one: what is above a link is not what is beside it."""
    plain = Path(os.path.normpath(folder))
    try:
        return plain if plain.samefile(folder) else folder
    except OSError:
        return folder


def _schema() -> Any:
    import pyarrow as pa

    strings = pa.list_(pa.string())
    return pa.schema(
        {
            "key": pa.string(),
            "path": pa.string(),
            "source": pa.string(),
            "mids": strings,
            "names": strings,
            "fold": pa.int32(),
            "start_s": pa.float64(),
        }
    )
