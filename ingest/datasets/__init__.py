"""The table of layouts that labelled audio comes in: one module of data each."""

from pathlib import Path

from ingest.counted import counted
from ingest.datasets import csv_manifest, esc, folders, fsd50k, urbansound8k, vocalsound
from ingest.datasets.dataset import Dataset
from ingest.errors import UsageError
from ingest.manifest import audio_files

DATASETS: dict[str, Dataset] = {
    module.DATASET.name: module.DATASET for module in (urbansound8k, fsd50k, vocalsound, csv_manifest, esc, folders)
}
"""By name, the most particular first: `choose_dataset` takes the first that fits."""

AUTO = "auto"


def choose_dataset(folder: Path, layout: str = AUTO) -> Dataset:
    """The layout of that name, or with 'auto' the first that the folder has.

    Raises:
        UsageError: no such folder or layout, or none that fits.
    """
    if folder.is_file():
        raise UsageError(f"{folder}: must be a folder of audio, and is a file; name the folder that it is in")
    if not folder.is_dir():
        raise UsageError(f"{folder}: must be a folder of audio, and there is none; check the path")
    if layout != AUTO:
        if layout not in DATASETS:
            raise UsageError(f"--layout: no layout named {layout!r}; choose one of {', '.join((AUTO, *DATASETS))}")
        return DATASETS[layout]
    for dataset in DATASETS.values():
        if dataset.detect(folder):
            return dataset
    files, unread = audio_files(folder), csv_manifest.unread(folder)
    if not (files or unread):
        raise UsageError(f"{folder}: holds no audio; name a folder that does, or see that it is unpacked")
    known = "; ".join(f"{dataset.name}: {dataset.summary}" for dataset in DATASETS.values())
    loose = [path.name for path in files if path.parent == folder]
    share = f"{len(loose):,} of {counted(len(files), 'audio file')}"
    seen = f"{share} in no class's folder, {loose[0]} first" if loose else "no audio"
    raise UsageError(
        f"{folder}: has none of the known layouts ({known}), but {'; '.join(filter(None, [seen, unread]))}; sort the "
        "files so, or name one with --layout"
    )


__all__ = ["AUTO", "DATASETS", "Dataset", "choose_dataset"]
