"""The commands `youtube` and `status` end to end, yt-dlp included, against a local server."""

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.commands.ingest import command as ingest
from app.terminal.ingest_progress import ProgressDisplay, describe, given_up
from ingest.errors import EarshotError, UsageError
from ingest.ledger.ledger import Ledger, State
from ingest.youtube.governor import Standing
from ingest.youtube.pace import Phase
from ingest.youtube.run import Progress
from ingest.youtube.run_status import STATUS, RunStatus, read_status, to_json
from tests.embeddings.object_store import s3_server
from tests.ingest.media import chirp, wav
from tests.ingest.media_server import MediaServer, serve

LIST = """# YTID, start_seconds, end_seconds, positive_labels
ok, 5.000, 15.000, "/m/09x0r,/t/dd00088"
paced, 5, 15, /m/09x0r
"""


@pytest.fixture(scope="module")
def server() -> Iterator[MediaServer]:
    with serve({"chirp.wav": wav(chirp(20.0, 16_000))}) as running:
        yield running


@pytest.fixture
def listed(tmp_path: Path) -> Path:
    path = tmp_path / "balanced_train_segments.csv"
    path.write_text(LIST)
    return path


def invoke(*args: object) -> Result:
    return CliRunner().invoke(ingest, [str(arg) for arg in args], catch_exceptions=False)


def test_a_list_becomes_files_and_an_account(server: MediaServer, listed: Path, tmp_path: Path) -> None:
    address = f"{server.url}/{{id}}/chirp.wav"
    options = ["--url-template", address, "--rate", "inf", "--out", tmp_path / "o"]
    first = invoke("youtube", listed, *options, "--json", "--shards", "webdataset")
    facts = json.loads(first.stdout)
    assert facts["states"]["done"] == facts["requested"] == facts["available"] == 2
    assert facts["shards_written"] == 1
    assert "ok 2" in first.stderr
    assert json.loads(invoke("youtube", listed, *options, "--json").stdout)["fingerprint"] == facts["fingerprint"]
    shown = invoke("status", tmp_path / "o", "--report")
    assert "requested" in shown.stdout
    assert facts["fingerprint"] in shown.stdout
    assert "split balanced_train: 2 of 2" in shown.stdout
    assert json.loads(invoke("status", tmp_path / "o", "--json").stdout)["states"]["done"] == 2
    assert (tmp_path / "o" / "availability.md").is_file()


def test_a_dead_proxy_holds_itself_up_alone(server: MediaServer, listed: Path, tmp_path: Path) -> None:
    done = invoke("youtube", listed, "--url-template", f"{server.url}/{{id}}/chirp.wav", "--rate", "inf", "--out",
                  tmp_path / "o", "--proxy", "", "--proxy", "http://me:secret@127.0.0.1:9")  # fmt: skip
    assert "ok 2" in done.stdout
    assert "1 of 2 addresses held up: http://127.0.0.1:9 paused" in done.stdout
    assert "secret" not in done.output
    for path in (tmp_path / "o").rglob("*"):
        assert not path.is_file() or b"secret" not in path.read_bytes(), path


def test_stopping_early_is_an_error_of_the_work(listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import ingest.youtube.job
    from tests.ingest.fetching import JumpingClock

    monkeypatch.setattr(ingest.youtube.job, "Clock", JumpingClock)
    with pytest.raises(EarshotError, match="stopped early: 6 probes in a row met no-network"):
        invoke("youtube", listed, "--url-template", "http://no-such-host.invalid/{id}", "--proxy", "",
               "--rate", "inf", "--out", tmp_path / "o")  # fmt: skip
    with Ledger.read(tmp_path / "o") as ledger:
        assert ledger.counts()[State.PENDING] == 2


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (["--rate", "0"], "--rate"),
        (["--workers", "0"], "--workers"),
        (["--url-template", "http://x"], "--url-template"),
        (["--sample-rate", "5"], "--sample-rate"),
        (["--cookies", "/no/such/file"], "--cookies"),
        (["--proxy", "http://a:1", "--proxy", "http://a:1"], "--proxy must name each address once"),
        (["--address-per-node"], "--address-per-node must come with --engine ray"),
        (["--engine", "ray", "--address-per-node", "--proxy", "http://a:1"], "--address-per-node"),
        (["--engine", "ray", "--source-address", "10.0.0.1"], "--source-address is one of this machine"),
        (["--engine", "ray", "--cookies-from-browser", "firefox"], "--cookies-from-browser"),
        (["--ray-address", "x:1"], "--ray-address"),
    ],
)
def test_mistakes_are_named_before_anything_is_written(
    listed: Path, tmp_path: Path, args: list[str], says: str
) -> None:
    with pytest.raises(UsageError, match=says):
        invoke("youtube", listed, "--out", tmp_path / "o", *args)
    assert not (tmp_path / "o").exists()


def test_status_of_a_folder_without_a_ledger(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no"):
        invoke("status", tmp_path)


def test_a_sample_rate_that_is_no_number(listed: Path, tmp_path: Path) -> None:
    assert "--sample-rate" in invoke("youtube", listed, "--out", tmp_path / "o", "--sample-rate", "high").stderr


COUNTS = {State.PENDING: 90, State.RUNNING: 2, State.DONE: 5, State.GONE: 2, State.WAITING: 1, State.FAILED: 0}


def test_progress_says_what_why_and_how_long(capsys: pytest.CaptureFixture[str]) -> None:
    moving = Progress(COUNTS, 300.0, 1104.0, Phase.RUNNING, "", 0.0, 0)
    paused = Progress(COUNTS, 300.0, math.inf, Phase.PAUSED, "bot-check: Sign in", 90.0, 0)
    assert describe(moving) == "ok 5, gone 2, waiting 1, failed 0 | 300/h, 0:18:24 left"
    assert describe(Progress(COUNTS, None, None, Phase.PAUSED, "bot-check: Sign in", 90.0, 0)).endswith(
        "paused 0:01:30: bot-check: Sign in"
    )
    with ProgressDisplay() as display:
        for progress in (moving, moving, Progress(COUNTS, 300.0, 1.0, paused.phase, paused.pause, 90.0, 0), moving):
            display(progress)
    lines = capsys.readouterr().err.splitlines()
    assert [("paused" in line) for line in lines] == [False, True, False], "a line at once when it is paused or goes on"
    assert all(line.startswith("7/100 | ok 5") for line in lines)


def test_progress_names_the_addresses_that_are_held_up() -> None:
    one = Standing("http://one:1", Phase.RUNNING, "", 0.0, 300.0, 1, 44)
    two = Standing("http://two:2", Phase.PAUSED, "bot-check: Sign in", 90.0, 150.0, 0, 20)
    three = Standing("http://three:3", Phase.STOPPED, "6 probes in a row met proxy", 0.0, 150.0, 0, 7)
    progress = Progress(COUNTS, None, None, Phase.RUNNING, "", 0.0, 0, (one, two, three))
    assert describe(progress).endswith(
        " | 2 of 3 addresses held up: http://two:2 paused 0:01:30 (bot-check: Sign in); "
        "http://three:3 stopped (6 probes in a row met proxy)"
    )
    assert given_up(progress) == {"http://three:3": "6 probes in a row met proxy"}


def run_status(folder: Path, **changes: object) -> RunStatus:
    found = read_status(folder)
    assert found
    changed = replace(found, **changes)  # type: ignore[arg-type]
    (folder / STATUS).write_text(to_json(changed))
    return changed


def test_status_tells_how_the_run_stands(server: MediaServer, listed: Path, tmp_path: Path) -> None:
    out = tmp_path / "o"
    options = ["--url-template", f"{server.url}/{{id}}/chirp.wav", "--rate", "inf", "--out", out]
    invoke("youtube", listed, *options, "--json", "--publish", tmp_path / "copy")
    shown = invoke("status", out).stdout
    assert shown.startswith("last run: on ") and ", ended\n" in shown
    assert invoke("status", f"file://{tmp_path}/copy").stdout == shown
    facts = json.loads(invoke("status", out, "--json").stdout)
    assert (facts["run"]["ended"], facts["run"]["engine"], facts["requested"]) == (True, "local", 2)
    paused = Standing("http://two:2", Phase.PAUSED, "bot-check: Sign in", 90.0, 150.0, 0, 20)
    progress = Progress(COUNTS, None, None, Phase.PAUSED, "bot-check: Sign in", 90.0, 0, (paused,))
    run_status(out, ended=False, progress=progress)
    assert "was cut off at" in invoke("status", out).stdout, "nobody holds the lock"
    with Ledger.open(out):
        shown = invoke("status", out).stdout
    assert shown.startswith("running on ") and "seconds" not in shown
    assert "http://two:2                     paused          20      150  for 0:01:30: bot-check: Sign in" in shown


def test_status_of_a_run_on_another_machine_does_not_touch_its_ledger(
    server: MediaServer, listed: Path, tmp_path: Path
) -> None:
    out = tmp_path / "o"
    options = ["--url-template", f"{server.url}/{{id}}/chirp.wav", "--rate", "inf", "--out", out]
    invoke("youtube", listed, *options, "--json")
    run_status(out, ended=False, host="elsewhere")
    (out / "ledger.sqlite").write_bytes(b"torn")
    shown = invoke("status", out).stdout
    assert shown.startswith("running on elsewhere (process ")
    assert "done              2" in shown
    run_status(out, at=0.0)
    assert "nothing was heard of it since" in invoke("status", out).stdout


@pytest.mark.slow
def test_status_of_a_run_that_publishes_to_an_object_store(server: MediaServer, listed: Path, tmp_path: Path) -> None:
    with s3_server() as address:
        options = ["--url-template", f"{server.url}/{{id}}/chirp.wav", "--rate", "inf", "--out", tmp_path / "o"]
        invoke("youtube", listed, *options, "--json", "--publish", address("runs/balanced"))
        assert invoke("status", address("runs/balanced")).stdout == invoke("status", tmp_path / "o").stdout
        with pytest.raises(UsageError, match=r"holds no status\.json") as caught:
            invoke("status", address("runs/none"))
    assert "@" not in str(caught.value), "no keys"


def test_status_of_places_that_say_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"holds no status\.json; name the folder that a run was given as --publish"):
        invoke("status", f"file://{tmp_path}/none")
    with pytest.raises(UsageError, match="is no address that Arrow takes"):
        invoke("status", "none://x")
