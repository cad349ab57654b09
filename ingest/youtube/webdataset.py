"""Touches the disk: finished segments as WebDataset shards, tar files of audio and JSON for training at scale.

A shard appears whole, then its segments are marked in the ledger; a shard whose marks were lost to a crash is written
again under the same name. Segments that are finished later go into further shards. The single files stay: they are
what the ledger vouches for.
"""

import io
import json
import tarfile
from pathlib import Path

from ingest.audioset.labels import display_name
from ingest.ledger.ledger import Ledger, Row
from ingest.places.files import atomic_path

FOLDER = "shards"
PER_SHARD = 1000


def write_shards(ledger: Ledger, per_shard: int = PER_SHARD) -> int:
    """Pack what is done and in no shard yet into `shards/NNNNNN.tar`, at most `per_shard` segments each. How many."""
    (ledger.folder / FOLDER).mkdir(exist_ok=True)
    written = 0
    while rows := ledger.unpacked(per_shard):
        number = ledger.next_shard()
        with atomic_path(ledger.folder / FOLDER / f"{number:06d}.tar") as temporary:
            _write(temporary, ledger.folder, rows)
        ledger.packed([row.segment.key for row in rows], number)
        written += 1
    return written


def _write(path: Path, folder: Path, rows: list[Row]) -> None:
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for row in rows:
            audio = folder / str(row.path)
            _add(tar, audio.name, audio.read_bytes())
            _add(tar, f"{audio.stem}.json", json.dumps(_facts(row), sort_keys=True).encode())


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)  # no times, no owners: the same segments give the same bytes
    member.size = len(data)
    tar.addfile(member, io.BytesIO(data))


def _facts(row: Row) -> dict[str, object]:
    segment = row.segment
    return {
        "key": segment.key,
        "source": segment.youtube_id,
        "start_s": segment.start_s,
        "end_s": segment.end_s,
        "mids": segment.mids,
        "names": [display_name(mid) for mid in segment.mids],
        "split": row.split,
        "origin": row.origin,
        "duration_s": row.duration_s,
        "sample_rate": row.sample_rate,
        "sha256": row.sha256,
    }
