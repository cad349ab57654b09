"""Touches network and disk: AudioSet's own files: lists of segments, labels, ontology, quality, released features."""

from dataclasses import dataclass
from pathlib import Path

from ingest.errors import DownloadError, UsageError
from ingest.places.download import Progress, download
from ingest.places.files import sha256_of

BASE = "https://storage.googleapis.com/us_audioset/youtube_corpus/"
"""Google's own copies stand in Europe and Asia too: eu_audioset, asia_audioset."""
ONTOLOGY_BASE = "https://raw.githubusercontent.com/audioset/ontology/master/"


@dataclass(frozen=True, slots=True)
class MetadataFile:
    """A published file, as a fact.

    path: below `base`. size, sha256: where they are published or were measured, else None.
    by_name_only: too large to come along unless it is asked for.
    """

    name: str
    path: str
    summary: str
    size: int | None = None
    sha256: str | None = None
    base: str = BASE
    by_name_only: bool = False


METADATA: dict[str, MetadataFile] = {
    file.name: file
    for file in (
        MetadataFile("balanced_train_segments.csv", "v1/csv/balanced_train_segments.csv",
                     "22,160 segments, each of the 527 labels at least 59 times", 1_211_931,
                     "3b83e5ff9ed72cfda37d4e36ce08250e107c1ea70f109f6ab6668ac200db5e94"),
        MetadataFile("eval_segments.csv", "v1/csv/eval_segments.csv", "20,371 segments to test on", 1_143_389,
                     "f7055f53935f70e74e39494a5c8c4c78f1700fce275028bd36e31186f33d45db"),
        MetadataFile("unbalanced_train_segments.csv", "v1/csv/unbalanced_train_segments.csv",
                     "2,041,789 segments, as they came", 101_468_408,
                     "bb2dfd5e4f1ced39db9480633c510f813d7899f4b7472aa83a411b4a43a12698"),
        MetadataFile("class_labels_indices.csv", "v1/csv/class_labels_indices.csv", "the 527 labels", 14_675,
                     "cdd1049833c4b86127c2773ac0d14a2754b6a6d0d1798002ed5c66e699708429"),
        MetadataFile("ontology.json", "ontology.json", "the labels' tree", 354_156,
                     "d305439cfa218558c4ed295883fb77894ff7c58ae0082a5bb635bcf3f72c786a", ONTOLOGY_BASE),
        MetadataFile("qa_true_counts.csv", "v1/qa/qa_true_counts.csv", "how often raters found each label right"),
        MetadataFile("rerated_video_ids.txt", "v1/qa/rerated_video_ids.txt", "videos whose labels were rated again"),
        MetadataFile("audioset_train_strong.tsv", "strong/audioset_train_strong.tsv", "when within the clip, train"),
        MetadataFile("audioset_eval_strong.tsv", "strong/audioset_eval_strong.tsv", "when within the clip, eval"),
        MetadataFile("features.tar.gz", "v1/features/features.tar.gz",
                     "the released VGGish features; `earshot ingest features` reads it as it is", 2_588_881_044,
                     "cd95d500ab2422d4233cb822e25cf73033633e2068eab64d39024e85125cb760", by_name_only=True),
    )
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class FetchedMetadata:
    """A file that is here now. verified: its SHA-256 is the published one. fetched: it came just now."""

    name: str
    path: Path
    sha256: str
    verified: bool
    fetched: bool


def metadata_named(names: tuple[str, ...]) -> list[MetadataFile]:
    """The files of those names; all but the very large ones when there are none.

    Raises:
        UsageError: a name that no file has.
    """
    if unknown := [name for name in names if name not in METADATA]:
        raise UsageError(f"NAMES: no file named {unknown[0]!r}; there are {', '.join(METADATA)}")
    return [METADATA[name] for name in names] or [file for file in METADATA.values() if not file.by_name_only]


def fetch_metadata(
    file: MetadataFile,
    folder: Path,
    *,
    base: str | None = None,
    timeout_s: float = 30.0,
    progress: Progress = lambda done, total: None,
) -> FetchedMetadata:
    """Bring one file to `folder`, unless it is there: whole and right where its checksum is published.

    Args:
        base: another address with the tree of BASE; files that stand elsewhere keep their own.
        timeout_s: longest silence of the server, not of the whole download.
    Raises:
        DownloadError: it could not be had; or another file of its name is there, which is left alone.
    """
    if base is None or file.base != BASE:
        base = file.base
    path, url = folder / file.name, f"{base.rstrip('/')}/{file.path}"
    if fetched := not path.is_file():
        actual = download(url, path, size=file.size, sha256=file.sha256, timeout_s=timeout_s, progress=progress)
    else:
        actual = sha256_of(path)
    if file.sha256 is not None and actual != file.sha256:
        raise DownloadError(path, url, f"{path} is there and is not the published file, move it away")
    return FetchedMetadata(file.name, path, actual, file.sha256 is not None, fetched)
