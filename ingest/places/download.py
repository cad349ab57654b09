"""Touches network and disk: a published file, resumed where it stopped, checked before it gets its name."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ingest.errors import DownloadError
from ingest.places.files import sha256_of

CHUNK_BYTES = 1 << 16  # a connection that breaks loses less than one chunk

Progress = Callable[[int, int | None], None]
"""Called with the bytes here so far and the bytes in all, None when the server does not say."""


def download(
    url: str,
    path: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    timeout_s: float = 30.0,
    progress: Progress = lambda done, total: None,
) -> str:
    """Bring the file at `url` to `path`, whatever stands there; its bytes gather in `path`.part.

    Args:
        size, sha256: as published. Without the checksum an interrupted download starts over: nothing could tell
            whether the rest belongs to what is there.
        timeout_s: longest silence of the server, not of the whole download.
    Returns:
        The SHA-256 of what came.
    Raises:
        DownloadError: the server cannot be reached, answers with an error, stops early, or sends other bytes.
    """
    part = path.with_name(f"{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _gather(url, part, size=size, resume=sha256 is not None, timeout_s=timeout_s, progress=progress)
        actual = sha256_of(part)
        if sha256 is not None and actual != sha256:
            part.unlink()
            raise DownloadError(path, url, f"what came has SHA-256 {actual[:12]} (removed)")
        part.replace(path)
    except OSError as error:  # requests' exceptions are OSErrors
        raise DownloadError(path, url, _reason(error)) from error
    return actual


def _gather(url: str, part: Path, *, size: int | None, resume: bool, timeout_s: float, progress: Progress) -> None:
    """Bring `part` to its full size: asks for the rest only, and starts over when the server sends it all."""
    import requests

    start = part.stat().st_size if resume and part.exists() else 0
    if size is not None and start >= size:  # whole already, and the checksum decides; or longer than it can be
        if start == size:
            return
        start = 0
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    with requests.get(url, headers=headers, stream=True, timeout=timeout_s) as response:
        response.raise_for_status()
        resumed = response.status_code == requests.codes.partial_content
        done = start if resumed else 0
        total = size if size is not None else _stated_size(response)
        with part.open("ab" if resumed else "wb") as file:
            for chunk in response.iter_content(CHUNK_BYTES):
                file.write(chunk)
                done += len(chunk)
                progress(done, total)
                if total is not None and done > total:  # other bytes than ours; the checksum will say so
                    break
            file.flush()
            os.fsync(file.fileno())
    if total is not None and done < total:
        raise OSError(f"the download stopped at {done:,} of {total:,} bytes; run it again to go on")


def _stated_size(response: Any) -> int | None:
    stated = response.headers.get("Content-Length", "")
    return int(stated) if stated.isdecimal() else None


def _reason(error: OSError) -> str:
    """One short clause out of what requests or the system says."""
    import requests

    if isinstance(error, requests.HTTPError) and error.response is not None:
        return f"the server answered {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "the server did not answer in time; what came is kept, run it again to go on"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke; what came is kept, run it again to go on"
    if isinstance(error, requests.ConnectionError):
        return "no connection to the server"
    return str(error)
