"""Local servers of S3 and of Google Cloud Storage, and the addresses of folders in them."""

import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from urllib.parse import quote, urlsplit

import pytest

from tests.embeddings import gcs_server

Address = Callable[[str], str]
"""From the name of a folder to its address."""


@contextmanager
def s3_server() -> Iterator[Address]:
    """Keys stand in the address, as a user's might: they must not be shown anywhere."""
    pytest.importorskip("moto.server", reason="moto, the S3 server of these tests, is not installed")
    import logging

    from moto.server import ThreadedMotoServer
    from pyarrow import fs

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    os.environ["AWS_EC2_METADATA_DISABLED"] = "true"
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        bucket = f"bucket{secrets.token_hex(4)}"
        options = f"endpoint_override={quote(f'http://{host}:{port}', safe='')}&region=us-east-1"
        fs.FileSystem.from_uri(f"s3://key:secret@{bucket}?{options}&allow_bucket_creation=true")[0].create_dir(bucket)
        yield lambda name: f"s3://key:secret@{bucket}/{name}?{options}"
    finally:
        server.stop()


@contextmanager
def gs_server() -> Iterator[Address]:
    """Ours, or the one that STORAGE_EMULATOR_HOST names (`http://127.0.0.1:4443`), as Google's own clients take it."""
    from pyarrow import fs

    elsewhere = urlsplit(os.environ.get("STORAGE_EMULATOR_HOST", "")).netloc
    with nullcontext(elsewhere) if elsewhere else gcs_server.serving() as host:
        bucket = f"bucket{secrets.token_hex(4)}"
        options = f"scheme=http&endpoint_override={quote(host, safe='')}"
        fs.FileSystem.from_uri(f"gs://anonymous@{bucket}?{options}&project_id=tests")[0].create_dir(
            bucket, recursive=False
        )
        yield lambda name: f"gs://anonymous@{bucket}/{name}?{options}"
