"""Finding and fetching weights, against a real server on this machine that can misbehave."""

import hashlib
import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

import embeddings.weights as module
from embeddings.weights import WEIGHTS, cached_sha256, fetch, find_all, find_weights, look_up
from ingest.errors import UsageError, WeightsError
from ingest.places.download import CHUNK_BYTES
from ingest.places.files import sha256_of

NAME = "yamnet.h5"
CONTENT = np.random.default_rng(0).bytes(3_500_000)


class Server(ThreadingHTTPServer):
    """Serves CONTENT, as told: with ranges or without, cut short, other bytes, an error."""

    ranges, cut_at, content, status = True, None, CONTENT, 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []
        self.url = f"http://127.0.0.1:{self.server_port}/{NAME}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        server = self.server
        wanted = self.headers["Range"]
        server.asked.append(wanted)
        if server.status != 200:
            self.send_error(server.status)
            return
        start = int(re.findall(r"\d+", wanted)[0]) if wanted and server.ranges else 0
        body = server.content[start:]
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}")
        self.end_headers()
        self.wfile.write(body[: server.cut_at])

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def sandbox(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder of the test's own, a yamnet.h5 whose official content is CONTENT, and no EARSHOT_WEIGHTS."""
    monkeypatch.setattr(module.platformdirs, "user_cache_path", lambda *_, **__: tmp_path / "cache")
    monkeypatch.delenv("EARSHOT_WEIGHTS", raising=False)
    row = replace(WEIGHTS[NAME], size=len(CONTENT), sha256=hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(WEIGHTS, NAME, row)
    return tmp_path


def test_fetch_then_find(server: Server, sandbox: Path) -> None:
    seen: list[tuple[int, int]] = []
    path = fetch(NAME, url=server.url, progress=lambda done, total: seen.append((done, total)))
    assert path == sandbox / "cache" / "weights" / NAME
    assert find_weights(NAME) == (path, WEIGHTS[NAME].sha256)
    assert seen == sorted(seen)
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [file.name for file in path.parent.iterdir()] == [NAME]


def test_what_is_there_is_not_fetched_again(server: Server) -> None:
    assert fetch(NAME, url=server.url) == fetch(NAME, url=server.url)
    assert server.asked == [None]


def test_a_broken_download_goes_on_where_it_stopped(server: Server) -> None:
    server.cut_at = 2_000_000
    with pytest.raises(WeightsError, match="run it again to go on"):
        fetch(NAME, url=server.url)
    server.cut_at = None
    assert fetch(NAME, url=server.url).read_bytes() == CONTENT
    start = int(re.findall(r"\d+", str(server.asked[1]))[0])
    assert 2_000_000 - CHUNK_BYTES <= start <= 2_000_000


def test_a_server_without_ranges_starts_over(server: Server) -> None:
    server.cut_at = 2_000_000
    with pytest.raises(WeightsError):
        fetch(NAME, url=server.url)
    server.cut_at, server.ranges = None, False
    assert fetch(NAME, url=server.url).read_bytes() == CONTENT


def test_killed_between_download_and_rename(server: Server, sandbox: Path) -> None:
    part = sandbox / "cache" / "weights" / f"{NAME}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(CONTENT)
    assert fetch(NAME, url=server.url).read_bytes() == CONTENT
    assert server.asked == []


@pytest.mark.parametrize("content", [CONTENT[::-1], CONTENT + b"more"])
def test_other_bytes_are_removed(server: Server, sandbox: Path, content: bytes) -> None:
    server.content = content
    with pytest.raises(WeightsError, match="SHA-256"):
        fetch(NAME, url=server.url)
    assert list((sandbox / "cache" / "weights").iterdir()) == []
    server.content = CONTENT
    assert fetch(NAME, url=server.url).read_bytes() == CONTENT


def test_an_error_page_is_not_a_weight_file(server: Server) -> None:
    server.status = 404
    with pytest.raises(WeightsError, match="answered 404 Not Found"):
        fetch(NAME, url=server.url)


def test_no_network_says_all_in_one_line(sandbox: Path) -> None:
    url = "http://127.0.0.1:9/yamnet.h5"  # the discard port: nothing listens
    with pytest.raises(WeightsError) as error:
        fetch(NAME, url=url, timeout_s=1)
    text, row = str(error.value), WEIGHTS[NAME]
    for part in (NAME, url, f"{row.size:,}", row.sha256, str(sandbox / "cache" / "weights" / NAME)):
        assert part in text
    assert "\n" not in text


def test_missing_says_the_same(sandbox: Path) -> None:
    with pytest.raises(WeightsError) as error:
        find_weights(NAME, sandbox / "own")
    text, row = str(error.value), WEIGHTS[NAME]
    for part in (row.url, row.sha256, str(sandbox / "own" / NAME), f"earshot weights fetch {NAME}"):
        assert part in text
    assert "\n" not in text


def test_all_that_is_missing_is_named_at_once(sandbox: Path) -> None:
    names = ("vggish_model.ckpt", "vggish_pca_params.npz")
    with pytest.raises(
        WeightsError, match=rf"^{' and '.join(names)}: not in .*`earshot weights fetch {' '.join(names)}`"
    ):
        find_all(names, sandbox)
    (sandbox / names[0]).write_bytes(b"retrained")
    with pytest.raises(WeightsError, match=f"^{names[1]}: not in"):
        find_all(names, sandbox)
    (sandbox / names[1]).write_bytes(b"retrained")
    assert find_all(names, sandbox) == {name: find_weights(name, sandbox) for name in names}


def test_another_file_is_used_with_a_warning(sandbox: Path, caplog: pytest.LogCaptureFixture) -> None:
    (sandbox / NAME).write_bytes(b"retrained")
    path, sha256 = find_weights(NAME, sandbox)
    assert (path, sha256) == (sandbox / NAME, hashlib.sha256(b"retrained").hexdigest())
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert sha256[:12] in record.getMessage()
    assert WEIGHTS[NAME].sha256[:12] in record.getMessage()


def test_fetch_leaves_another_file_alone(server: Server, sandbox: Path) -> None:
    (sandbox / NAME).write_bytes(b"retrained")
    with pytest.raises(WeightsError, match="move it away"):
        fetch(NAME, folder=sandbox, url=server.url)
    assert (sandbox / NAME).read_bytes() == b"retrained"


def test_the_order_of_folders(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("cache/weights", "environment", "argument"):
        (sandbox / folder).mkdir(parents=True)
        (sandbox / folder / NAME).write_text(folder)

    def found(weights_dir: Path | None = None) -> str:
        entry = look_up(NAME, weights_dir)
        assert entry is not None
        return entry.path.read_text()

    assert found() == "cache/weights"
    monkeypatch.setenv("EARSHOT_WEIGHTS", str(sandbox / "environment"))
    assert found() == "environment"
    assert found(sandbox / "argument") == "argument"
    (sandbox / "argument" / NAME).unlink()
    assert found(sandbox / "argument") == "cache/weights"


def test_a_sum_is_remembered_until_the_file_changes(sandbox: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sandbox / "big"
    path.write_bytes(b"one")
    first = cached_sha256(path)
    with monkeypatch.context() as patch:
        patch.setattr(module, "sha256_of", lambda _: pytest.fail("read again"))
        assert cached_sha256(path) == first
    path.write_bytes(b"two")
    os.utime(path, ns=(1, 1))
    assert cached_sha256(path) == sha256_of(path) != first


def test_a_damaged_memo_is_no_harm(sandbox: Path) -> None:
    path = sandbox / "big"
    path.write_bytes(b"one")
    first = cached_sha256(path)
    (memo,) = (sandbox / "cache" / "sha256").iterdir()
    memo.write_text('{"file": [')
    assert cached_sha256(path) == first


def test_an_unwritable_cache_is_no_harm(sandbox: Path) -> None:
    (sandbox / "cache").write_text("a file where the folder should be")
    (sandbox / "big").write_bytes(b"one")
    assert cached_sha256(sandbox / "big") == hashlib.sha256(b"one").hexdigest()


def test_an_unknown_name() -> None:
    with pytest.raises(UsageError, match=r"resnet.*vggish_model\.ckpt"):
        find_weights("resnet")


@pytest.mark.parametrize("row", WEIGHTS.values(), ids=lambda row: row.name)
def test_rows_are_complete(row: module.WeightsFile) -> None:
    assert row.url.startswith("https://")
    assert row.url.endswith(row.name)
    assert re.fullmatch(r"[0-9a-f]{64}", row.sha256)
    assert row.size > 10_000
