"""After a crash: whatever lies between a file and its row is mended, and nothing of anybody else's is touched."""

from collections.abc import Callable
from pathlib import Path

import pytest

from ingest.audioset.segments import Segment
from ingest.ledger.ledger import Ledger, State
from ingest.youtube.fetch import FetchSettings
from ingest.youtube.reconcile import Mended, reconcile
from tests.ingest.fetching import StubSource, end_state, job
from tests.ingest.media import chirp, wav
from tests.ingest.media_server import serve

SEGMENTS = [Segment(f"ok/{name}/chirp.wav", 5.0, 15.0) for name in ("aB", "Ab", "-x", "y_z")]


@pytest.fixture(scope="module")
def server():  # type: ignore[no-untyped-def]
    with serve({"chirp.wav": wav(chirp(20.0, 16_000))}) as running:
        yield running


@pytest.fixture
def folder(server: object, tmp_path: Path) -> Path:
    job(SEGMENTS, tmp_path, StubSource(server.url))  # type: ignore[attr-defined]
    return tmp_path


def a_file(folder: Path) -> Path:
    return min((folder / "audio").rglob("*.flac"))


def row_lost(folder: Path) -> None:
    with Ledger.open(folder) as ledger:
        row = next(ledger.rows(State.DONE))
        data = (folder / str(row.path)).read_bytes()
        ledger.forget_file(row.segment.key)
        ledger.claim(0.0)
        (folder / str(row.path)).write_bytes(data)


def row_lost_and_half_a_file(folder: Path) -> None:
    row_lost(folder)
    for path in (folder / "audio").rglob("*.flac"):
        with Ledger.open(folder) as ledger:
            known = {row.path for row in ledger.rows(State.DONE)}
        if str(path.relative_to(folder)) not in known:
            path.write_bytes(path.read_bytes()[:2000])


def ledger_lost(folder: Path) -> None:
    for path in folder.glob("ledger.sqlite*"):
        path.unlink()


def half_written(folder: Path) -> None:
    a_file(folder).with_name(".half.flac.123.tmp").write_bytes(b"fLaC")
    (folder / "shards").mkdir(exist_ok=True)
    for name in (".manifest.parquet.123-ab.tmp", ".status.json.123-ab.tmp", "shards/.000000.tar.123-ab.tmp"):
        (folder / name).write_bytes(b"half")
    (folder / ".scratch" / "left").mkdir(parents=True, exist_ok=True)


def emptied(folder: Path) -> None:
    a_file(folder).write_bytes(b"")


@pytest.mark.parametrize(
    ("damage", "seen"),
    [
        (lambda folder: a_file(folder).unlink(), {"lost": 1}),
        (emptied, {"lost": 1}),
        (half_written, {"removed": 1}),
        (row_lost, {"released": 1, "adopted": 1}),
        (row_lost_and_half_a_file, {"released": 1, "removed": 1}),
        (ledger_lost, {"adopted": 4}),
        (lambda folder: (a_file(folder).parent / "mine.flac").write_bytes(b"x"), {"strangers": 1}),
        (lambda folder: (a_file(folder).parent / "%ff~mine.flac").write_bytes(b"x"), {"strangers": 1}),
    ],
    ids=[
        "file lost",
        "file emptied",
        "half written",
        "row lost",
        "row lost, half a file",
        "ledger lost",
        "stranger",
        "stranger whose name is no text",
    ],
)
def test_the_next_run_ends_where_an_undisturbed_one_does(
    server: object, folder: Path, damage: Callable[[Path], object], seen: dict[str, int]
) -> None:
    rows, files = end_state(folder)
    damage(folder)
    result = job(SEGMENTS, folder, StubSource(server.url))  # type: ignore[attr-defined]
    assert result.mended == Mended(**{"released": 0, "adopted": 0, "removed": 0, "lost": 0, "strangers": 0, **seen})
    strangers = [name for name in end_state(folder)[1] if name.endswith("mine.flac")]
    assert end_state(folder) == (rows, sorted(files + strangers))
    assert not list(folder.rglob("*.tmp"))


def test_what_another_command_is_writing_into_the_folder_stays(server: object, folder: Path) -> None:
    (folder / ".model.123-ab.tmp").mkdir()
    (folder / ".emb.npz.123-ab.tmp").write_bytes(b"half")
    job(SEGMENTS, folder, StubSource(server.url))  # type: ignore[attr-defined]
    assert (folder / ".model.123-ab.tmp").is_dir() and (folder / ".emb.npz.123-ab.tmp").is_file()


def test_a_file_of_other_settings_is_not_adopted(folder: Path) -> None:
    row_lost(folder)
    with Ledger.open(folder) as ledger:
        mended = reconcile(ledger, FetchSettings(sample_rate=8_000), versions="", now=0.0)
    assert (mended.adopted, mended.removed) == (0, 1)


def test_ids_that_differ_in_case_have_files_that_differ_in_more(folder: Path) -> None:
    names = [path.name.casefold() for path in (folder / "audio").rglob("*.flac")]
    assert len(set(names)) == len(SEGMENTS)
