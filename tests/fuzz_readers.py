"""The readers that `tests.fuzz` feeds: how whole files are made, how they are read, what every result must keep."""

import json
import math
import shutil
import tarfile
from collections.abc import Callable
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np

from ingest.errors import EarshotError, FormatError
from tests.fuzz import Mutator, Reader
from tests.fuzz_mutators import (
    json_node,
    npy_array,
    npz_array,
    parquet_column,
    sqlite_value,
    table_cell,
    tfrecord_payload,
    toml_value,
)

NOW = 1_700_000_000.0
csv_cell, tsv_cell = table_cell(","), table_cell("\t")


def put(data: bytes, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


# --- audio ---


@cache
def audio_seeds() -> tuple[bytes, ...]:
    """A third of a second of chirp in every container there is a writer for."""
    import soundfile

    from tests.ingest.media import CONTAINERS, chirp, chirp_file

    def encoded(channels: int, **options: str) -> bytes:
        buffer = BytesIO()
        soundfile.write(buffer, np.tile(chirp(0.3, 8_000)[:, None], (1, channels)), 8_000, **options)
        return buffer.getvalue()

    kinds = [
        ("WAV", "PCM_16"),
        ("WAV", "FLOAT"),
        ("WAV", "MS_ADPCM"),
        ("AIFF", "PCM_24"),
        ("AU", "ULAW"),
        ("W64", "PCM_16"),
        ("CAF", "ALAC_16"),
        ("FLAC", "PCM_16"),
        ("OGG", "VORBIS"),
        ("MP3", "MPEG_LAYER_III"),
    ]
    return (
        *(encoded(channels, format=form, subtype=kind) for form, kind in kinds for channels in (1, 2)),
        *(chirp_file(name, 0.3) for name in CONTAINERS),
    )


def read_audio(data: bytes, folder: Path) -> None:
    from ingest.audio.windows import read_windows

    last = -1.0
    for clip in read_windows(put(data, folder / "sound.wav"), window_s=0.5):
        assert clip.waveform.dtype == np.float32 and clip.waveform.ndim == 1
        assert 0 < len(clip.waveform) <= 8_000 and np.isfinite(clip.waveform).all()
        assert clip.sample_rate == 16_000 and clip.start_s > last
        last = clip.start_s
    assert last >= 0, "no clip and no error"


# --- lists, manifests, tables ---

WEAK = b"# Segments csv created\n# num_ytids=3\n# YTID, start_seconds, end_seconds, positive_labels\n" + b"".join(
    b'%s, %d.000, %d.000, "/m/09x0r,/t/dd00088"\n' % (name, i, i + 10)
    for i, name in enumerate((b"--PJHxphWEs", b"-_abcdefghi", b"0123456789A", b"zzzzzzzzzzz"))
)
STRONG = (
    b"segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n"
    b"b0RFKhbpFJA_30000\t0.000\t10.000\t/m/03m9d0z\nb0RFKhbpFJA_30000\t4.753\t5.720\t/m/05zppz\n"
    b"-_x_yz_1_5000\t0.1\t2\t/t/dd00134\n"
)


def read_segment_list(data: bytes, folder: Path) -> None:
    from ingest.audioset.segments import read_segments

    found = read_segments(put(data, folder / "list.csv"))
    assert found.segments
    keys = {segment.key for segment in found.segments}
    for segment in found.segments:
        assert 0 <= segment.start_s < segment.end_s and math.isfinite(segment.end_s)
        assert 0 < len(segment.youtube_id) <= 64
        assert all(mid and mid.isprintable() and '"' not in mid for mid in segment.mids)
    assert set(found.strong) <= keys
    assert all("\n" not in str(row) and len(str(row)) < 300 for row in found.bad_rows)


def check_items(items: list[Any]) -> None:
    for item in items:
        assert isinstance(item.key, str) and item.key and isinstance(item.source, str) and isinstance(item.path, Path)
        assert all(isinstance(mid, str) and mid for mid in item.mids) and math.isfinite(item.start_s)
        assert item.fold is None or -(2**31) <= item.fold < 2**31


def dataset_reader(layout: str, place: str, also: dict[str, bytes]) -> Callable[[bytes, Path], None]:
    """Lists the files of a data set by a damaged table; what is listed must make a manifest, and that the same list."""

    def read(data: bytes, folder: Path) -> None:
        from ingest.datasets import DATASETS
        from ingest.manifest import read_items, write_manifest

        for name, content in also.items():
            put(content, folder / name)
        put(data, folder / place)
        items = DATASETS[layout].items(folder)
        check_items(items)
        write_manifest(folder / "clips", items)
        if items:
            check_items(read_items(folder / "clips"))

    return read


CSV_TABLE = (
    b'path,label,fold,source\na.wav,Dog;Siren,1,x\nsub/b.wav,/m/09x0r,2,y\n"c, d.wav",,,\ne.flac, Dog ,3,"z ""q"""\n'
)
URBANSOUND = b"slice_file_name,fsID,start,end,salience,fold,classID,class\n" + b"".join(
    b"%d-%d-0-0.wav,%d,%d.5,4.5,1,%d,%d,street_music\n" % (i, i % 10, i, i, 1 + i % 10, i % 10) for i in range(4)
)
FSD50K = b'fname,labels,mids,split\n64760,"Electric_guitar","/m/02sgy,/m/0fx80y",train\n16399,Dog,/m/0bt9lr,val\n'
CLIPS_INFO = b'{"64760": {"title": "t", "license": "l", "uploader": "u"}, "16399": {"license": "l", "uploader": "v"}}'
VOCALSOUND = b'[["f0001", "female", 30, "US", "English", "good"], ["m0002", "male", 41, "DE", "German", "good"]]'
VOCALSOUND_SPLIT = b'{"data": [{"wav": "/x/f0001_0_cough.wav"}, {"wav": "m0002_0_sigh.wav"}]}'


def read_manifest(data: bytes, folder: Path) -> None:
    from ingest.manifest import read_column, read_items

    path = put(data, folder / "manifest.parquet")
    told: EarshotError | None = None
    try:
        assert all(isinstance(v, str) for row in read_column(path, "split").items() for v in row)
    except EarshotError as error:
        told = error
    check_items(read_items(path))
    if told:
        raise told


def manifest_seeds(folder: Path) -> list[bytes]:
    from ingest.audio.clip import AudioItem
    from ingest.manifest import write_manifest

    items = [
        AudioItem(
            f"k{i}",
            folder / f"{i}.wav",
            f"s{i // 2}",
            ("/m/09x0r", "Dog")[: i % 3],
            i % 5 or None,
            1.5 * i,
            {"split": "train"} if i % 2 else {"split": "test", "age": "30"},
        )
        for i in range(5)
    ]
    return [write_manifest(folder / "made", items).read_bytes()]


def read_quality_file(data: bytes, folder: Path) -> None:
    from ingest.audioset.quality import read_quality

    for mid, quality in read_quality(put(data, folder / "qa.csv")).items():
        assert isinstance(mid, str) and 0 <= quality.true <= quality.rated


# --- TOML ---


def class_set_seeds(_: Path) -> list[bytes]:
    from ingest.audioset.class_sets import CLASS_SETS

    small = (
        b'title = ""\nmode = "multi"\nbalanced = true\nchildren = true\n[[classes]]\nname = "D"\nmids = ["/m/0bt9lr"]\n'
    )
    return [small, *((CLASS_SETS / f"{name}.toml").read_bytes() for name in ("city10", "speech", "broad4"))]


def read_class_set_file(data: bytes, folder: Path) -> None:
    from ingest.audioset.class_sets import ClassSet, read_class_set

    found = read_class_set(put(data, folder / "set.toml"))
    assert isinstance(found.title, str) and isinstance(found.balanced, bool)
    assert all(isinstance(text, str) and text for c in found.classes for text in (c.name, *c.mids))
    assert ClassSet.from_json(json.loads(json.dumps(found.to_json()))) == found


def recipe_seeds(_: Path) -> list[bytes]:
    from app.recipes.recipe import RECIPES

    return [path.read_bytes() for path in sorted(RECIPES.glob("*.toml"))]


def read_recipe_file(data: bytes, folder: Path) -> None:
    from app.recipes.recipe import read_recipe

    recipe = read_recipe(str(put(data, folder / "r.toml")))
    assert all(isinstance(text, str) for text in (recipe.title, recipe.problem, recipe.data))
    for quick in (False, True):
        for step in recipe.plan(data="D", out="O", kind="audio", quick=quick):
            assert all(isinstance(text, str) for text in (step.say, step.row, *step.words, *step.needs))
            assert step.takes({"O/x"}) is not None


def read_set_option(data: bytes, _: Path) -> None:
    """--set NAME=VALUE: whatever stands there becomes settings of a head, or is refused."""
    from app.options.problem import parse_changes
    from classifiers.heads import head_row, make_settings
    from classifiers.shallow.svc import SvcSettings

    text = data.decode(errors="replace").replace("\0", "")
    settings = make_settings(SvcSettings, head_row("svc"), parse_changes((text,)))
    assert settings.folds >= 2
    assert all(isinstance(v, float) and 0 <= v < math.inf for v in (*settings.costs, *settings.gammas))


# --- AudioSet's features ---


def feature_seeds(_: Path) -> list[bytes]:
    from ingest.audioset.labels import load_labels
    from ingest.audioset.segments import Segment
    from ingest.audioset.tfrecord import SegmentFeatures, serialize_example, write_records

    mids, buffer = load_labels().audioset, BytesIO()
    rows = [
        SegmentFeatures(Segment(f"id{i:09}", i, i + 10.0, mids[i : 2 * i]), np.full((1 + i * 3, 128), 7 * i, np.uint8))
        for i in range(4)
    ]
    write_records(buffer, map(serialize_example, rows))
    return [buffer.getvalue()]


def check_features(source: Path) -> None:
    from ingest.audioset.features import read_features

    damage: list[FormatError] = []
    for found in read_features(source, "eval", damage.append):
        assert found.vectors.dtype == np.uint8 and found.vectors.shape[1:] == (128,) and 1 <= len(found.vectors) <= 10
        assert 0 <= found.segment.start_s < found.segment.end_s < math.inf
        assert found.segment.key and all(found.segment.mids)
    if damage:
        raise damage[0]


def read_tfrecord(data: bytes, folder: Path) -> None:
    check_features(put(data, folder / "features" / "eval" / "0.tfrecord").parent.parent)


def tar_seeds(folder: Path) -> list[bytes]:
    """gzip hides its content from the bytes' mutators, so plain tars come too."""
    content, found = feature_seeds(folder)[0], []
    for mode in ("w", "w:gz", "w:xz"):
        buffer = BytesIO()
        with tarfile.open(fileobj=buffer, mode=mode) as tar:  # type: ignore[call-overload]
            for name in ("f/eval/00.tfrecord", "f/eval/01.tfrecord", "f/README"):
                info = tarfile.TarInfo(name)
                info.size = len(content)
                tar.addfile(info, BytesIO(content))
        found.append(buffer.getvalue())
    return found


def read_tar(data: bytes, folder: Path) -> None:
    check_features(put(data, folder / "features.tar"))


# --- stores ---


def small_store(folder: Path) -> Path:
    """Five rows in two parts with their stats, one failure, and spec."""
    from embeddings.embed import EmbedSettings, embed
    from embeddings.store import EmbeddingStore
    from tests.embeddings.fakes import StatisticsEncoder, read_wav, write_sound

    if not (folder / "store").exists():
        rng, encoder = np.random.default_rng(0), StatisticsEncoder()
        (folder / "wav").mkdir(parents=True, exist_ok=True)
        names = ("a", "b", "c", "d", "truncated")
        items = [write_sound(folder / "wav" / f"{n}.wav", rng, seconds=3 + 10 * (n > "c")) for n in names]
        store = EmbeddingStore.create(folder / "store", encoder.spec)
        embed(items, encoder, store, EmbedSettings(workers=1, shard_items=3), read=read_wav)
    return folder / "store"


def store_reader(pattern: str, name: str) -> Reader:
    def file_in(store: Path) -> Path:
        return min(store.glob(pattern))

    def seeds(folder: Path) -> list[bytes]:
        return [file_in(small_store(folder)).read_bytes()]

    def read(data: bytes, folder: Path) -> None:
        from embeddings.shards import changed_keys, clear_unfinished, held_keys, read_stats, write_failures
        from embeddings.store import EmbeddingStore
        from ingest.audio.clip import AudioItem

        made, used = small_store(folder), folder / "used"
        shutil.rmtree(used, ignore_errors=True)
        shutil.copytree(made, used)
        file_in(used).write_bytes(data)
        store = EmbeddingStore.open(used)
        table = store.load()
        check_table(table, store)
        assert sum(len(part.keys) for part in store.tables()) == len(table.keys) == len(store)
        clear_unfinished(store)
        finished = read_stats(store)
        assert all(isinstance(key, str) for key in held_keys(store, finished))
        assert sum(stats.rows for stats in finished) >= 0
        items = [AudioItem(path.name, path, path.name) for path in (folder / "wav").iterdir()]
        assert changed_keys(store, items, finished, readers=1) <= {item.key for item in items}
        write_failures(store)

    form: Mutator = parquet_column if pattern.endswith("parquet") else json_node
    return Reader(name, seeds, read, (form,))


def check_table(table: Any, store: Any) -> None:
    n = len(table.keys)
    assert len(set(table.keys)) == n == len(table.sources) == len(table.mids) == len(table.paths) == len(table.folds)
    assert all(isinstance(text, str) for column in (table.keys, table.sources, table.paths) for text in column)
    assert all(isinstance(mid, str) for row in table.mids for mid in row)
    assert table.vectors.dtype == np.dtype(store.spec.dtype) and table.vectors.shape[::2] == (n, store.spec.dim)
    assert table.mask.shape == table.vectors.shape[:2] and table.mask.any(axis=1).all()
    assert np.isfinite(table.start_s).all() and np.isfinite(table.end_s).all()


# --- bundles ---


QUICK = {"forest": {"search": "none", "n_estimators": 10, "pooling": "mean"}}
"""Settings of heads that would take seconds to train."""


def bundle_seeds(folder: Path, head: str) -> Path:
    """A trained bundle of the head, made once for a folder."""
    from classifiers.bundle import save_bundle
    from classifiers.train import TrainSettings, train
    from tests.classifiers.generated import make_spec, make_table

    made = folder / f"bundle-{head}"
    if not made.exists():
        settings = TrainSettings(head=head, head_changes=QUICK.get(head, {}), protocol="none")
        trained = train(make_table(36), make_spec(), settings, store="s")
        save_bundle(made, trained.info, trained.head, sources=trained.sources, pages={})
    return made


def bundle_reader(head: str, file: str, *mutators: Mutator, runtime: str = "light", name: str = "") -> Reader:
    def seeds(folder: Path) -> list[bytes]:
        return [(bundle_seeds(folder, head) / file).read_bytes()]

    def read(data: bytes, folder: Path) -> None:
        from classifiers.bundle import SUMS_FILE

        made = bundle_seeds(folder, head)
        used = folder / "used"
        if not used.exists():
            shutil.copytree(made, used)
            (used / SUMS_FILE).unlink()  # else nothing but the checksum would be tested
        before = (made / file).read_bytes()
        try:
            (used / file).write_bytes(data)
            check_bundle(used, runtime)
        finally:
            (used / file).write_bytes(before)

    return Reader(name or f"{head}-{file.replace('.', '-')}", seeds, read, mutators)


def check_bundle(folder: Path, runtime: Any) -> None:
    from classifiers.bundle import load_bundle
    from tests.classifiers.generated import make_table

    bundle, table = load_bundle(folder, runtime), make_table(4)
    classes = len(bundle.class_names)
    if bundle.spec.dim == table.vectors.shape[2] and bundle.spec.dtype == "uint8":
        said = bundle.predict(table.vectors, table.mask)
        assert said.scores.shape == (4, classes)
        assert np.isfinite(said.scores).all() and (said.scores >= 0).all() and (said.scores <= 1).all()
        answers = bundle.decide(said)
        assert answers.present.shape == (4, classes) and (answers.answer < classes).all()
    assert 0 <= bundle.shared_sources(table.sources) <= 2
    assert "\n" not in bundle.info.caveat
    json.dumps(bundle.info.to_json())


def tflite_seeds(folder: Path) -> list[bytes]:
    """The head of the bundle that comes along: training a network needs TensorFlow, reading one does not."""
    return [(packed_bundle() / "head.tflite").read_bytes()]


def packed_bundle() -> Path:
    from classifiers.bundle import MODELS

    return MODELS / "city10"


def read_tflite(data: bytes, folder: Path) -> None:
    from classifiers.bundle import load_bundle

    used = folder / "tflite"
    if not used.exists():
        shutil.copytree(packed_bundle(), used)
    put(data, used / "head.tflite")
    bundle = load_bundle(used)
    rng = np.random.default_rng(0)
    vectors = rng.integers(0, 256, (2, 10, bundle.spec.dim)).astype(bundle.spec.dtype)
    said = bundle.predict(vectors, np.ones((2, 10), bool))
    assert said.scores.shape == (2, len(bundle.class_names)) and np.isfinite(said.scores).all()


def source_seeds(_: Path) -> list[bytes]:
    return [(packed_bundle() / "sources.npy").read_bytes()]


def read_sources(data: bytes, folder: Path) -> None:
    from classifiers.bundle import SOURCES_FILE, load_bundle

    used = folder / "sources"
    if not used.exists():
        shutil.copytree(packed_bundle(), used)
    put(data, used / SOURCES_FILE)
    assert 0 <= load_bundle(used).shared_sources(["a", "b", "a"]) <= 3


def pca_seeds(folder: Path) -> list[bytes]:
    from embeddings.pca import fit_pca, save_pca

    save_pca(fit_pca(np.random.default_rng(0).normal(size=(40, 6)).astype(np.float32), 3), folder / "p.npz")
    return [(folder / "p.npz").read_bytes()]


def read_pca(data: bytes, folder: Path) -> None:
    from embeddings.pca import load_pca

    pca = load_pca(put(data, folder / "pca.npz"), dim_in=6, dim=3)
    assert pca(np.ones((2, 6), np.float32)).shape == (2, 3)
    assert np.isfinite(pca.eigen_vectors).all() and np.isfinite(pca.means).all()


# --- ledger ---


def ledger_seeds(folder: Path) -> list[bytes]:
    from ingest.audioset.segments import Segment, StrongEvent
    from ingest.ledger.file import FILE_NAME
    from ingest.ledger.ledger import AudioFile, Ledger, State

    place = folder / "ledger-made"
    segments = [Segment(f"video{i:06}", i, i + 10.0, ("/m/09x0r",)) for i in range(6)]
    with Ledger.open(place) as ledger:
        ledger.settle({"format": "flac", "sample_rate": 16_000})
        ledger.request(segments, split="eval", now=NOW)
        ledger.keep_strong({segments[0].key: [StrongEvent(0.5, 1.0, "/m/09x0r")]})
        for segment in segments[:4]:
            ledger.claim(NOW)
            file = AudioFile(f"audio/{segment.key}.flac", 1000, "0" * 64, 10.0, 16_000)
            if segment is segments[1]:
                ledger.failed(segment.key, State.GONE, failure="private", text="Private video", now=NOW)
            elif segment is segments[2]:
                ledger.failed(segment.key, State.WAITING, failure="server", text="503", now=NOW, next_attempt=NOW + 9)
            else:
                ledger.done(segment.key, file, bytes_read=2000, versions="x", now=NOW, origin="youtube")
        ledger.query("PRAGMA wal_checkpoint(TRUNCATE)")
    return [(place / FILE_NAME).read_bytes()]


def read_ledger(data: bytes, folder: Path) -> None:
    from ingest.ledger.file import FILE_NAME
    from ingest.ledger.ledger import Ledger, State
    from ingest.youtube.availability import markdown, survey
    from ingest.youtube.fetched_manifest import write_fetched_manifest

    place = folder / "ledger"
    shutil.rmtree(place, ignore_errors=True)
    put(data, place / FILE_NAME)
    with Ledger.read(place) as ledger:
        counts = ledger.counts()
        assert all(isinstance(n, int) for n in counts.values())
        for row in ledger.rows():
            assert isinstance(row.state, State) and isinstance(row.segment.key, str)
        markdown(survey(ledger), "it")
    with Ledger.open(place) as ledger:
        ledger.release_running()
        ledger.claim(NOW + 100)
        write_fetched_manifest(ledger)


def status_seeds(_: Path) -> list[bytes]:
    from ingest.youtube.run_status import to_json
    from tests.ingest.test_run_status import status

    return [to_json(one).encode() for one in (status(), status(ended=True, stopped="the disk is full"))]


def read_run_status(data: bytes, folder: Path) -> None:
    """As a look from elsewhere, which has nothing but this file."""
    from click.testing import CliRunner

    from app.commands.status import status
    from ingest.youtube.run_status import STATUS, read_status, to_json

    place = put(data, folder / "status" / STATUS).parent
    found = read_status(place)
    assert found and json.loads(to_json(found))
    for options in ([], ["--json"]):
        CliRunner().invoke(status, [f"file://{place}", *options], catch_exceptions=False)


READERS: dict[str, Reader] = {
    reader.name: reader
    for reader in (
        Reader("audio", lambda _: list(audio_seeds()), read_audio),
        Reader(
            "segments", lambda _: [WEAK, STRONG, b"abc,1,2\nd-_,3.5,4,x\n"], read_segment_list, (csv_cell, tsv_cell)
        ),
        Reader(
            "quality",
            lambda _: [b"label_id,num_rated,num_true\n/m/09x0r,10,9\n/m/05zppz,10,10\n"],
            read_quality_file,
            (csv_cell,),
        ),
        Reader("csv-manifest", lambda _: [CSV_TABLE], dataset_reader("csv", "table.csv", {}), (csv_cell,)),
        Reader(
            "urbansound8k",
            lambda _: [URBANSOUND],
            dataset_reader("urbansound8k", "metadata/UrbanSound8K.csv", {}),
            (csv_cell,),
        ),
        Reader(
            "fsd50k",
            lambda _: [FSD50K],
            dataset_reader("fsd50k", "FSD50K.ground_truth/dev.csv", {"FSD50K.dev_audio/64760.wav": b""}),
            (csv_cell,),
        ),
        Reader(
            "fsd50k-clips",
            lambda _: [CLIPS_INFO],
            dataset_reader(
                "fsd50k",
                "FSD50K.metadata/dev_clips_info_FSD50K.json",
                {"FSD50K.dev_audio/64760.wav": b"", "FSD50K.ground_truth/dev.csv": FSD50K},
            ),
            (json_node,),
        ),
        Reader(
            "vocalsound",
            lambda _: [VOCALSOUND],
            dataset_reader("vocalsound", "meta/all_meta.json", {"audio_16k/f0001_0_cough.wav": b""}),
            (json_node,),
        ),
        Reader(
            "vocalsound-split",
            lambda _: [VOCALSOUND_SPLIT],
            dataset_reader("vocalsound", "datafiles/tr.json", {"audio_16k/f0001_0_cough.wav": b""}),
            (json_node,),
        ),
        Reader("manifest", manifest_seeds, read_manifest, (parquet_column,)),
        Reader("class-set", class_set_seeds, read_class_set_file, (toml_value,)),
        Reader("recipe", recipe_seeds, read_recipe_file, (toml_value,)),
        Reader(
            "set-option", lambda _: [b"costs=[1, 3.0]", b"folds=4", b"gammas=[0.5]"], read_set_option, (toml_value,)
        ),
        Reader("tfrecord", feature_seeds, read_tfrecord, (tfrecord_payload,)),
        Reader("features-tar", tar_seeds, read_tar),
        store_reader("spec.json", "spec"),
        store_reader("part-audio-*.parquet", "part"),
        store_reader("part-audio-*.json", "stats"),
        bundle_reader("logistic", "model.json", json_node, name="bundle"),
        Reader("sources", source_seeds, read_sources, (npy_array,)),
        bundle_reader("svc", "head.npz", npz_array, name="head-npz"),
        bundle_reader("forest", "head.npz", npz_array, name="head-npz-trees"),
        bundle_reader("logistic", "head.skops", runtime="full", name="head-skops"),
        Reader("head-tflite", tflite_seeds, read_tflite),
        Reader("pca", pca_seeds, read_pca, (npz_array,)),
        Reader("ledger", ledger_seeds, read_ledger, (sqlite_value,)),
        Reader("status", status_seeds, read_run_status, (json_node,)),
    )
}
"""Every door through which bytes of others come in. What stands below data/ came with Earshot and is no such door;
a class set, recipe or model of one's own is read by the same code."""
