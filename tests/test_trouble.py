"""Real processes in real trouble: disks that fill, folders that may not be written, files that vanish, signals."""

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import soundfile

from app.cli import main
from embeddings.mapped import zeros
from embeddings.store import EmbeddingStore
from ingest.audioset.features import read_features
from ingest.audioset.labels import load_labels
from ingest.audioset.segments import Segment
from ingest.audioset.tfrecord import SegmentFeatures, serialize_example, write_records
from ingest.ledger.ledger import Ledger, State
from tests.embeddings.test_crash import start as start_embed
from tests.embeddings.test_crash import write_folder
from tests.embeddings.test_embed import rows_of
from tests.ingest.crash_driver import crash_segments
from tests.ingest.fetching import StubSource, end_state, job
from tests.ingest.media import chirp, wav
from tests.ingest.media_server import serve
from tests.soak import soak

ROOT = Path(__file__).resolve().parent.parent
QUICK = ("--head", "logistic", "--set", "search=none")
pytestmark = pytest.mark.slow


def earshot(*words: object, timeout_s: float = 300) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "app.cli", *map(str, words)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=timeout_s)


def succeeds(*words: object) -> None:
    """The same command in this process, where nothing is in its way: that saves starting one."""
    with pytest.raises(SystemExit) as left:
        main([*map(str, words)])
    assert not left.value.code


def last_line(done: "subprocess.CompletedProcess[str]") -> str:
    """What is said of the error: the last line of standard error, behind the bars of progress."""
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip().splitlines()[-1].split("\r")[-1]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, Callable[[int], None]]]:
    """A disk of 256 kB, and what makes it another size."""
    place = tmp_path / "disk"
    place.mkdir()

    def size(kilobytes: int, *also: str) -> None:
        options = ",".join([*also, f"size={kilobytes}k"])
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", place], check=True, capture_output=True)

    try:
        size(256)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root may mount a small disk, and not in every container")
    try:
        yield place, lambda kilobytes: size(kilobytes, "remount")
    finally:
        subprocess.run(["umount", "-l", place], check=True)


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen sounds of two classes, eight seconds each."""
    folder, rng = tmp_path_factory.mktemp("sounds"), np.random.default_rng(0)
    for name, hz in (("low", 200.0), ("high", 2000.0)):
        (folder / "in" / name).mkdir(parents=True)
        for i in range(8):
            tone = np.sin(2 * np.pi * hz * (1 + i / 20) * np.arange(8 * 16_000) / 16_000)
            noisy = 0.3 * tone + 0.05 * rng.standard_normal(len(tone))
            soundfile.write(folder / "in" / name / f"{i}.wav", noisy, 16_000)
    succeeds("ingest", "folder", folder / "in", "--out", folder / "clips")
    return folder / "clips"


@pytest.fixture(scope="module")
def store(clips: Path) -> Path:
    succeeds("embed", clips, "--encoder", "logmel", "--out", clips.parent / "emb")
    return clips.parent / "emb"


def left_behind(folder: Path) -> list[Path]:
    """Everything but locks."""
    return [path for path in folder.rglob("*") if path.is_file() and not path.name.endswith("lock")]


@pytest.fixture(scope="module")
def features(clips: Path) -> Path:
    """Three hundred segments in AudioSet's released form: more than the small disk has room for."""
    rng, mids = np.random.default_rng(0), load_labels().audioset
    folder = clips.parent / "features" / "eval"
    folder.mkdir(parents=True)
    rows = [
        SegmentFeatures(
            Segment(f"id{i:09}", i, i + 10.0, mids[i % 2 : i % 2 + 1]), rng.integers(0, 256, (10, 128), np.uint8)
        )
        for i in range(300)
    ]
    with (folder / "00.tfrecord").open("wb") as file:
        write_records(file, map(serialize_example, rows))
    return folder.parent


@pytest.fixture(scope="module")
def feature_store(features: Path) -> Path:
    succeeds("ingest", "features", features, "--out", features.parent / "vectors")
    return features.parent / "vectors"


@pytest.fixture(scope="module")
def model(store: Path) -> Path:
    succeeds("train", store, *QUICK, "--protocol", "none", "--out", store.parent / "model")
    return store.parent / "model"


def command_lines(clips: Path, store: Path, out: Path) -> dict[str, list[object]]:
    return {
        "ingest folder": ["ingest", "folder", clips.parent / "in", "--out", out],
        "embed": ["embed", clips, "--encoder", "logmel", "--out", out],
        "export npz": ["export", store, "--format", "npz", "--out", out],
        "export parquet": ["export", store, "--format", "parquet", "--out", out],
        "train": ["train", store, *QUICK, "--protocol", "none", "--out", out],
    }


NAMES = ("ingest folder", "embed", "export npz", "export parquet", "train")


@pytest.mark.parametrize("name", NAMES)
def test_a_full_disk_leaves_nothing_half_written_and_the_same_command_goes_on(
    name: str, clips: Path, store: Path, disk: tuple[Path, Callable[[int], None]]
) -> None:
    place, resize = disk
    left = 40 << 10 if name == "embed" else 0  # room for the store's own files: it ends in the middle of a part
    (place / "others").write_bytes(b"\0" * ((256 << 10) - left))
    command = command_lines(clips, store, place / "out")[name]
    done = earshot(*command)
    assert done.returncode == 1, done.stderr
    assert "room" in last_line(done) and str(place) in last_line(done)
    kept = [path for path in left_behind(place) if path.name not in ("others", "spec.json", "about.parquet")]
    assert not kept
    resize(64 << 10)
    succeeds(*command)
    if name == "embed":
        assert rows_of(place / "out") == rows_of(store)


@pytest.mark.parametrize("name", ["ingest features", "export tfrecord", "evaluate", "compare", "pack", "plot"])
def test_other_writers_on_a_full_disk(  # noqa: PLR0917 - pytest passes them all by name
    name: str,
    clips: Path,
    store: Path,
    features: Path,
    feature_store: Path,
    model: Path,
    disk: tuple[Path, Callable[[int], None]],
) -> None:
    place, resize = disk
    left = 40 << 10 if name in ("ingest features", "export tfrecord") else 0
    (place / "others").write_bytes(b"\0" * ((256 << 10) - left))
    out = place / "out"
    command: list[object] = {
        "ingest features": ["ingest", "features", features, "--out", out],
        "export tfrecord": ["export", feature_store, "--format", "tfrecord", "--out", out],
        "evaluate": ["evaluate", model, store, "--report", out / "report.html"],
        "compare": ["compare", store, "--heads", "logistic", "--set", "logistic.search=none", "--protocol", "split",
                    "--out", out],
        "pack": ["models", "pack", model, "--out", out],
        "plot": ["plot", clips.parent / "in" / "low" / "0.wav", "--out", out / "sound.png"],
    }[name]  # fmt: skip
    done = earshot(*command)
    assert done.returncode == 1, done.stderr
    assert "room" in last_line(done) and str(place) in last_line(done)
    assert {path.name for path in left_behind(place)} <= {"others", "spec.json"}
    resize(64 << 10)
    succeeds(*command)
    if name == "export tfrecord":
        assert [row.segment for row in read_features(out)] == [row.segment for row in read_features(features)]
    if name == "ingest features":
        assert rows_of(out) == rows_of(feature_store)


def test_vectors_that_find_no_room_are_refused_and_end_no_process(
    disk: tuple[Path, Callable[[int], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    place, resize = disk
    monkeypatch.setattr("embeddings.mapped.IN_MEMORY_BYTES", 0)
    with pytest.raises(OSError, match="No space left") as caught:
        zeros((1 << 20,), np.uint8, place)
    assert caught.value.filename == str(place)
    assert not left_behind(place)
    resize(2048)
    assert not zeros((1 << 20,), np.uint8, place).any()


def test_ingest_on_a_full_disk_stops_and_goes_on_when_there_is_room(
    tmp_path: Path, disk: tuple[Path, Callable[[int], None]]
) -> None:
    place, resize = disk
    resize(2048)
    segments = crash_segments(60)
    with serve({"chirp.wav": wav(chirp(12.0, 16_000))}) as server:
        command = [sys.executable, "-m", "tests.ingest.crash_driver", str(place / "out"), server.url, "60"]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=120)
        with Ledger.read(place / "out") as ledger:
            counts = ledger.counts()
        assert counts[State.DONE] < 40, "the disk was too large for this test"
        assert sum(counts.values()) == 60
        resize(64 << 10)
        job(segments, place / "out", StubSource(server.url), shards=True)
        job(segments, tmp_path / "undisturbed", StubSource(server.url), shards=True)
    assert end_state(place / "out") == end_state(tmp_path / "undisturbed"), done.stderr


@pytest.mark.parametrize("name", NAMES)
def test_a_folder_that_may_not_be_written_is_named(
    name: str, clips: Path, store: Path, disk: tuple[Path, Callable[[int], None]]
) -> None:
    place, _ = disk  # root may write everywhere but on a disk that is read-only
    subprocess.run(["mount", "-o", "remount,ro", place], check=True)
    done = earshot(*command_lines(clips, store, place / "out")[name])
    assert done.returncode in (1, 2), done.stderr
    assert str(place) in last_line(done)
    assert not left_behind(place)


def test_files_that_vanish_or_change_while_they_are_embedded_are_failures_of_their_own(tmp_path: Path) -> None:
    folder, out = tmp_path / "sounds", tmp_path / "out"
    write_folder(folder)
    process = start_embed(folder, out, 1, delay_s=0.05)
    paths = sorted(folder.glob("*.wav"))
    paths[20].unlink()
    paths[30].write_bytes(b"something else")
    paths[35].write_bytes(paths[35].read_bytes()[:30])
    assert process.communicate(timeout=120)[0] == "finished\n"
    embedded = {row[0] for row in rows_of(out)}
    assert {path.name for path in paths[36:40]} <= embedded
    assert paths[30].name not in embedded
    assert len(EmbeddingStore.open(out)) > 0


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "SIGTERM")]
)
@pytest.mark.parametrize("name", ["embed", "train"])
def test_a_signal_ends_it_with_a_way_to_go_on(  # noqa: PLR0917 - pytest passes them all by name
    name: str, number: signal.Signals, code: int, word: str, clips: Path, store: Path, tmp_path: Path
) -> None:
    command = command_lines(clips, store, tmp_path / "out")[name]
    if name == "train":  # for longer than it takes to send a signal
        command = ["train", store, "--head", "forest", "--set", "trials=500", "--out", tmp_path / "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "app.cli", *map(str, command)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    wait_for_work(process.pid, tmp_path, name)
    process.send_signal(number)
    _, said = process.communicate(timeout=120)
    assert process.returncode == code, said
    line = said.strip().splitlines()[-1]
    assert word in line and "run the same command again" in line and "Traceback" not in said
    assert not [path for path in left_behind(tmp_path) if path.suffix in (".tmp", ".old")]
    if name == "embed":
        succeeds(*command)
        assert rows_of(tmp_path / "out") == rows_of(store)
    else:
        assert not (tmp_path / "out").exists()


def wait_for_work(pid: int, folder: Path, name: str) -> None:
    """Until the store's folder is there, or the engine of training has been loaded."""
    end = time.monotonic() + 120
    while time.monotonic() < end and Path(f"/proc/{pid}").exists():
        if name == "embed" and list((folder / "out").glob("spec.json")):
            return
        if name == "train" and "sklearn" in Path(f"/proc/{pid}/maps").read_text():
            return
        time.sleep(0.02)
    pytest.fail("it never began to work")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_an_ingest_with_nothing_running(number: signal.Signals, tmp_path: Path) -> None:
    program = (
        "import sys; from unittest.mock import patch; from app import cli; "
        "from tests.ingest.crash_driver import *\n"
        "out, url = sys.argv[1:]\n"
        "import click\n"
        "def told(_): print('ready', flush=True)\n"
        "@click.command()\n"
        "def go(): job(crash_segments(560), Path(out), StubSource(url), progress=told)\n"
        "with patch.object(cli, 'earshot', go): cli.main([])\n"
    )
    with serve({"chirp.wav": wav(chirp(12.0, 16_000))}) as server:
        process = subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path), server.url],
            cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert process.stdout
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 128 + number
    assert "run the same command again" in said and "Traceback" not in said
    with Ledger.read(tmp_path) as ledger:
        counts = ledger.counts()
    assert counts[State.RUNNING] == 0 and counts[State.DONE] < 560


def test_mixed_work_under_kills_ends_like_undisturbed_work(tmp_path: Path) -> None:
    result = soak(tmp_path, 18.0, seed=0)
    assert not result["differs"] and not result["leftovers"], result
    assert result["kills"], "nothing was killed"
