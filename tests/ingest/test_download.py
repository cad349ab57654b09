"""Downloads resume, end whole or not at all, and say in one line what went wrong."""

import hashlib

import numpy as np
import pytest

from ingest.errors import DownloadError
from ingest.places.download import download
from ingest.places.files import sha256_of
from tests.ingest.file_server import serving

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
KNOWN = {"size": len(CONTENT), "sha256": SHA256}


@pytest.fixture
def server():
    with serving({"file.bin": CONTENT}) as server:
        yield server


def fetch(server, path, **more):
    return download(f"{server.url}file.bin", path, timeout_s=5, **more)


@pytest.mark.parametrize("known", [KNOWN, {}])
def test_what_comes_is_whole_and_told(server, tmp_path, known):
    told = []
    path = tmp_path / "new folder" / "file.bin"
    assert fetch(server, path, progress=lambda *at: told.append(at), **known) == SHA256 == sha256_of(path)
    assert told[-1] == (len(CONTENT), len(CONTENT)) and told == sorted(told)
    assert [p.name for p in path.parent.iterdir()] == ["file.bin"]


def test_a_broken_download_goes_on_where_it_stopped(server, tmp_path):
    server.break_after = 1_500_000
    with pytest.raises(DownloadError, match="run it again to go on") as caught:
        fetch(server, tmp_path / "file.bin", **KNOWN)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "file.bin").exists()
    here = (tmp_path / "file.bin.part").stat().st_size
    server.break_after, server.bytes_sent = None, 0
    assert fetch(server, tmp_path / "file.bin", **KNOWN) == SHA256
    assert server.bytes_sent == len(CONTENT) - here < len(CONTENT)
    assert server.asked[-1] == ("/file.bin", f"bytes={here}-")


@pytest.mark.parametrize("part", [b"", CONTENT[:7], CONTENT, CONTENT + b"more", b"others" * 9])
@pytest.mark.parametrize("ranges", [True, False])
def test_whatever_was_left_behind_the_end_is_right_or_an_error(server, tmp_path, part, ranges):
    server.ranges = ranges
    (tmp_path / "file.bin.part").write_bytes(part)
    try:
        fetch(server, tmp_path / "file.bin", **KNOWN)
    except DownloadError as error:
        assert "SHA-256" in str(error) and CONTENT[: len(part)] != part
        assert not (tmp_path / "file.bin.part").exists()
        fetch(server, tmp_path / "file.bin", **KNOWN)  # and the next run starts over
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_without_a_checksum_it_starts_over(server, tmp_path):
    (tmp_path / "file.bin.part").write_bytes(b"of an older file")
    fetch(server, tmp_path / "file.bin")
    assert server.asked == [("/file.bin", None)]
    assert (tmp_path / "file.bin").read_bytes() == CONTENT


def test_other_bytes_are_refused_and_removed(server, tmp_path):
    with pytest.raises(DownloadError, match="SHA-256"):
        fetch(server, tmp_path / "file.bin", size=len(CONTENT), sha256="0" * 64)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("status", [403, 404, 500])
def test_the_servers_answer_is_named(server, tmp_path, status):
    server.status = status
    with pytest.raises(DownloadError, match=f"the server answered {status}"):
        fetch(server, tmp_path / "file.bin", **KNOWN)


def test_no_server_is_named(tmp_path):
    with pytest.raises(DownloadError, match=r"no connection to the server.* bring http://127.0.0.1:9/x to"):
        download("http://127.0.0.1:9/x", tmp_path / "x", timeout_s=2)
