"""Files and folders appear whole or not at all, and what stood there before is not lost."""

import errno
from pathlib import Path

import pytest

from ingest.places.files import atomic_folder, atomic_path, require_writable


def fill(folder: Path, text: str) -> None:
    with atomic_folder(folder) as made:
        (made / "below").mkdir()
        (made / "below" / "a").write_text(text)


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for text in ("first", "second"):
        fill(tmp_path / "deep" / "out", text)
        assert (tmp_path / "deep" / "out" / "below" / "a").read_text() == text
    assert [path.name for path in (tmp_path / "deep").iterdir()] == ["out"]


def test_a_block_that_fails_leaves_what_stood_there(tmp_path: Path) -> None:
    fill(tmp_path / "out", "first")
    with pytest.raises(ZeroDivisionError), atomic_folder(tmp_path / "out") as made:
        (made / "a").touch()
        raise ZeroDivisionError
    assert (tmp_path / "out" / "below" / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_ctrl_c_between_the_two_renames_brings_the_old_one_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path / "out", "first")
    rename = Path.rename

    def interrupted(path: Path, target: Path) -> Path:
        if path.suffix == ".tmp":
            raise KeyboardInterrupt
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fill(tmp_path / "out", "second")
    assert (tmp_path / "out" / "below" / "a").read_text() == "first"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_what_arrow_says_of_a_place_names_what_the_user_named(tmp_path: Path) -> None:
    with pytest.raises(PermissionError) as caught, atomic_path(tmp_path / "out") as temporary:
        raise PermissionError(
            errno.EACCES, f"Failed to open local file '{temporary}'. Detail: [errno 13] Permission ..."
        )
    assert (caught.value.filename, caught.value.strerror) == (str(tmp_path / "out"), "Permission denied")


def test_what_cannot_be_written_is_named_as_the_user_named_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: Path, **_: bool) -> None:
        if path == tmp_path:
            return
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(PermissionError) as caught, atomic_folder(tmp_path / "out"):
        pass
    assert caught.value.filename == str(tmp_path / "out")
    with pytest.raises(PermissionError) as caught, atomic_path(tmp_path / "file") as made:
        refuse(made)
    assert caught.value.filename == str(tmp_path / "file")


def test_whether_a_place_may_be_written_is_known_before_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    require_writable(tmp_path / "deep" / "out")
    with pytest.raises(NotADirectoryError, match=r"file'$"):
        require_writable(tmp_path / "file" / "deep" / "out")
    monkeypatch.setattr("os.access", lambda path, mode: Path(path) != tmp_path)  # the tests may run as root
    with pytest.raises(PermissionError):
        require_writable(tmp_path / "deep" / "out")


@pytest.mark.parametrize("atomic", [atomic_path, atomic_folder])
def test_a_full_disk_is_named(tmp_path: Path, atomic: object) -> None:
    with pytest.raises(OSError, match="No space") as caught, atomic(tmp_path / "out"):  # type: ignore[operator]
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "out")
    assert not list(tmp_path.iterdir())
