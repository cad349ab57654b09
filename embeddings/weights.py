"""Touches disk and network: where official weight files are found, and how they are fetched and checked.

Looked for in the user's own folder (`--weights` or EARSHOT_WEIGHTS), then in the platform's cache folder. A file of
another SHA-256 than the official one is used, with a warning that says so.
"""

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import platformdirs

from ingest.errors import DownloadError, UsageError, WeightsError
from ingest.places.download import Progress, download
from ingest.places.files import sha256_of, write_whole

log = logging.getLogger("earshot.weights")

BASE = "https://storage.googleapis.com/audioset/"


@dataclass(frozen=True, slots=True)
class WeightsFile:
    """An official file, as a fact: name, address, size in bytes, SHA-256, and what it is."""

    name: str
    url: str
    size: int
    sha256: str
    summary: str


WEIGHTS: dict[str, WeightsFile] = {
    file.name: file
    for file in (
        WeightsFile("vggish_model.ckpt", BASE + "vggish_model.ckpt", 291_108_469,
                    "0962b1914e3e053922d957c45bc84a78c985765641dc6bceeeb3a7d8dfecfdf6", "VGGish, a TF1 checkpoint"),
        WeightsFile("vggish_pca_params.npz", BASE + "vggish_pca_params.npz", 73_020,
                    "4d878af3e306defbfb37095365aa7e5a6cecb86bad13e859e626151c4e6a8b9d", "PCA of AudioSet's vectors"),
        WeightsFile("yamnet.h5", BASE + "yamnet.h5", 15_296_092,
                    "13c3308955bbfaef262f175ac9c40e47b134573a93984f009220dd7cc12a1744", "YAMNet, Keras-2 weights"),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FoundWeights:
    """A weight file on this machine. official: its SHA-256 is the published one."""

    name: str
    path: Path
    sha256: str

    @property
    def official(self) -> bool:
        return self.sha256 == WEIGHTS[self.name].sha256


def cache_folder() -> Path:
    """The platform's cache folder for Earshot; need not exist yet."""
    return platformdirs.user_cache_path("earshot", appauthor=False)


def weights_folders(weights_dir: Path | None = None) -> list[Path]:
    """Where weights are looked for, in this order: `weights_dir`, else EARSHOT_WEIGHTS; then the cache folder."""
    own = weights_dir or (Path(value) if (value := os.environ.get("EARSHOT_WEIGHTS")) else None)
    return [*([own.expanduser()] if own else []), cache_folder() / "weights"]


def look_up(name: str, weights_dir: Path | None = None) -> FoundWeights | None:
    """The file on this machine, or None. Says nothing of its SHA-256 and fetches nothing."""
    _row(name)
    for folder in weights_folders(weights_dir):
        if (path := folder / name).is_file():
            return FoundWeights(name, path, cached_sha256(path))
    return None


def find_all(names: Sequence[str], weights_dir: Path | None = None) -> dict[str, tuple[Path, str]]:
    """Path and SHA-256 of each weight file, as `find_weights` gives them.

    Raises:
        WeightsError: some are not here; the message names all of them.
    """
    missing = [name for name in names if look_up(name, weights_dir) is None]
    if len(missing) > 1:
        where = " or ".join(map(str, weights_folders(weights_dir)))
        raise WeightsError(
            f"{' and '.join(missing)}: not in {where}; run `earshot weights fetch {' '.join(missing)}`, or bring them "
            "there from where `earshot weights list` says"
        )
    return {name: find_weights(name, weights_dir) for name in names}


def find_weights(name: str, weights_dir: Path | None = None) -> tuple[Path, str]:
    """Path and SHA-256 of a weight file on this machine. Logs one warning when it is not the official file.

    Raises:
        WeightsError: it is not here; the message says where to get it and where to put it.
    """
    found = look_up(name, weights_dir)
    if found is None:
        raise WeightsError(_missing(_row(name), weights_folders(weights_dir)))
    if not found.official:
        log.warning(
            "%s: not the official file (SHA-256 %s, official %s); used all the same, scores may differ",
            found.path, found.sha256[:12], WEIGHTS[name].sha256[:12],
        )  # fmt: skip
    return found.path, found.sha256


def fetch(
    name: str,
    *,
    folder: Path | None = None,
    url: str | None = None,
    timeout_s: float = 30.0,
    progress: Progress = lambda done, total: None,
) -> Path:
    """Download an official file, going on where an interrupted download stopped.

    Args:
        folder: where it goes; the cache folder when None.
        url: another address for the same bytes (a mirror).
        timeout_s: longest silence of the server, not of the whole download.
    Returns:
        Its path. Nothing is downloaded when the right file is there already.
    Raises:
        WeightsError: the server cannot be reached, answers with an error, stops early, or sends other bytes; or
            another file of this name is there, which is left alone.
    """
    row = _row(name)
    folder = folder or cache_folder() / "weights"
    path = folder / name
    if path.is_file():
        if cached_sha256(path) == row.sha256:
            return path
        raise WeightsError(f"{path}: is there and is not the official file; move it away, then fetch again")
    try:
        download(url or row.url, path, size=row.size, sha256=row.sha256, timeout_s=timeout_s, progress=progress)
    except DownloadError as error:
        raise WeightsError(_missing(row, [folder], error.reason, url)) from error
    return path


def cached_sha256(path: Path) -> str:
    """SHA-256 of a file, read again only when its size or modification time has changed.

    Remembered in the cache folder, not beside the file: a folder of one's own may be read-only.
    """
    stat = path.stat()
    file = str(path.resolve())
    stamp = [file, stat.st_size, stat.st_mtime_ns]
    memo = cache_folder() / "sha256" / f"{hashlib.sha256(file.encode()).hexdigest()[:32]}.json"
    try:
        known = json.loads(memo.read_text())
        if known["file"] == stamp:
            return str(known["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # no memo, or half of one: it is only a memo
    sha256 = sha256_of(path)
    with suppress(OSError):  # a home without a writable cache: hashed anew at each start
        write_whole(memo, json.dumps({"file": stamp, "sha256": sha256}))
    return sha256


def _missing(row: WeightsFile, folders: list[Path], reason: str = "", url: str | None = None) -> str:
    what = f"could not be fetched: {reason}" if reason else f"not in {' or '.join(map(str, folders))}"
    return (
        f"{row.name}: {what}; run `earshot weights fetch {row.name}`, or bring {url or row.url} "
        f"({row.size:,} bytes, SHA-256 {row.sha256}) to {folders[0] / row.name}"
    )


def _row(name: str) -> WeightsFile:
    if name not in WEIGHTS:
        raise UsageError(f"no weights named {name!r}; there are {', '.join(WEIGHTS)}")
    return WEIGHTS[name]
