"""AudioSet's own files: the table is what is published, and what is fetched is checked."""

import hashlib
import json

import pytest

from app.cli import main
from ingest.audioset.metadata import METADATA, MetadataFile, fetch_metadata, metadata_named
from ingest.errors import DownloadError, UsageError
from tests.ingest.file_server import serving


def published(content: bytes) -> MetadataFile:
    return MetadataFile("a.csv", "v1/a.csv", "", len(content), hashlib.sha256(content).hexdigest())


def test_files_here_have_the_published_size_and_checksum(shared):
    for path in (shared / "audioset").iterdir():
        if path.is_file():
            file = METADATA[path.name]
            assert (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest()) == (file.size, file.sha256)


def test_the_features_come_only_by_name():
    assert METADATA["features.tar.gz"] not in metadata_named(())
    assert len(metadata_named(())) == len(METADATA) - 1
    assert metadata_named(("features.tar.gz",)) == [METADATA["features.tar.gz"]]
    with pytest.raises(UsageError, match=r"no file named 'balanced'; there are balanced_train"):
        metadata_named(("balanced",))


def test_what_is_here_is_not_fetched_again(tmp_path):
    with serving({"v1/a.csv": b"abc"}) as server:
        first, second = (fetch_metadata(published(b"abc"), tmp_path, base=server.url) for _ in range(2))
    assert (first.fetched, second.fetched, len(server.asked)) == (True, False, 1)
    assert first.verified and second.verified


def test_another_file_of_that_name_is_left_alone(tmp_path):
    (tmp_path / "a.csv").write_bytes(b"mine")
    with pytest.raises(DownloadError, match="move it away"):
        fetch_metadata(published(b"abc"), tmp_path)
    assert (tmp_path / "a.csv").read_bytes() == b"mine"


def test_the_command_fetches_by_name_and_says_what_was_checked(tmp_path, capsys, shared):
    files = {
        METADATA[name].path: content
        for name, content in {
            "eval_segments.csv": (shared / "audioset" / "eval_segments.csv").read_bytes(),
            "qa_true_counts.csv": b"label_id,num_rated,num_true\n/m/09x0r,10,9\n",
        }.items()
    }
    with serving(files) as server, pytest.raises(SystemExit) as left:
        names = ["eval_segments.csv", "qa_true_counts.csv"]
        main(["ingest", "metadata", *names, "--out", str(tmp_path), "--base", server.url, "--json"])
    assert not left.value.code
    found = {file["name"]: file for file in json.loads(capsys.readouterr().out)["files"]}
    assert found["eval_segments.csv"]["verified"] and not found["qa_true_counts.csv"]["verified"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
