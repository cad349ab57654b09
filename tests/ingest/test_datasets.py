"""One contract for every layout, over small copies of each; then what is particular to one."""

import json
from pathlib import Path

import pytest

from ingest.audio.clip import AudioItem
from ingest.datasets import DATASETS, choose_dataset
from ingest.errors import UsageError
from ingest.manifest import read_items, write_manifest


def touch(folder: Path, *names: str) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def esc50(folder: Path) -> None:
    touch(folder, "audio/1-100032-A-0.wav", "audio/2-7-B-49.wav", "audio/2-7-A-49.wav", "README.md")
    (folder / "meta").mkdir()
    (folder / "meta/esc50.csv").write_text("filename,fold,target,category\n1-100032-A-0.wav,1,0,dog\n")


def esc10(folder: Path) -> None:
    touch(folder, "001 - Dog bark/1-100032-A.ogg", "002 - Rain/5-9-A.ogg", "002 - Rain/5-9-B.ogg", "README.txt")


def folders(folder: Path) -> None:
    touch(folder, "Dog bark/a.wav", "Dog bark/deep/b.m4a", "02 - Rain/-c d.flac", "Rain/.hidden.wav", "notes.txt")


def csv(folder: Path) -> None:
    touch(folder, "a.wav", "more/b c.wav")
    rows = ["path,labels,fold,source", "more/b c.wav,/m/0bt9lr; Rain,2,tape 1", "a.wav,,,"]
    (folder / "sounds.csv").write_text("\n".join(rows) + "\n")


def urbansound8k(folder: Path) -> None:
    touch(
        folder,
        "audio/fold1/7-3-0-2.wav",
        "audio/fold10/12-0-0-0.wav",
        "audio/fold1/7-3-1-0.wav",
        "FREESOUNDCREDITS.txt",
    )
    rows = ["slice_file_name,fsID,start,end,salience,fold,classID,class"]
    rows += ["7-3-0-2.wav,7,1.5,5.5,1,1,3,dog_bark", "12-0-0-0.wav,12,0.0,4.0,2,10,0,air_conditioner"]
    (folder / "metadata").mkdir()
    (folder / "metadata/UrbanSound8K.csv").write_text("\n".join([*rows, "7-3-1-0.wav,7,9,11,1,1,3,dog_bark"]))


def urbansound8k_flat(folder: Path) -> None:
    urbansound8k(folder)
    for part in ("audio", "metadata"):
        for inside in list((folder / part).iterdir()):
            inside.rename(folder / inside.name)
        (folder / part).rmdir()


def fsd50k(folder: Path) -> None:
    touch(folder, *(f"FSD50K.dev_audio/{name}.wav" for name in (64760, 16399, 99)), "FSD50K.eval_audio/100.wav")
    truth, metadata = folder / "FSD50K.ground_truth", folder / "FSD50K.metadata"
    for new in (truth, metadata):
        new.mkdir()
    guitar = '"Electric_guitar,Guitar","/m/02sgy,/m/0342h"'
    dev = ["fname,labels,mids,split", f"64760,{guitar},train", f"16399,{guitar},val", "99,Dog,/m/0bt9lr,train"]
    (truth / "dev.csv").write_text("\n".join(dev))
    (truth / "eval.csv").write_text("fname,labels,mids\n100,Dog,/m/0bt9lr\n")
    info = {"64760": {"license": "CC0", "uploader": "ann"}, "99": {"license": "BY", "uploader": "ann"}}
    (metadata / "dev_clips_info_FSD50K.json").write_text(json.dumps(info))


def vocalsound(folder: Path) -> None:
    names = ["f0003_0_cough.wav", "f0003_0_throatclearing.wav", "m0004_1_sniff.wav"]
    touch(folder, *(f"audio_{rate}/{name}" for name in names for rate in ("16k", "44k")), "readme.txt")
    for new in ("meta", "datafiles"):
        (folder / new).mkdir()
    speakers = [["f0003", "female", 22, "Peru", "Quechua", "no"]]
    (folder / "meta/all_meta.json").write_text(json.dumps(speakers))
    for part, name in zip(("tr", "te"), (names[0], names[2]), strict=True):
        (folder / f"datafiles/{part}.json").write_text(json.dumps({"data": [{"wav": f"/x/{name}", "labels": "/m/x"}]}))


LAYOUTS = {
    "urbansound8k": (urbansound8k, urbansound8k_flat),
    "fsd50k": (fsd50k,),
    "vocalsound": (vocalsound,),
    "esc50": (esc50, esc10),
    "folders": (folders,),
    "csv": (csv,),
}
CASES = [(name, make) for name, makers in LAYOUTS.items() for make in makers]


@pytest.fixture(params=CASES, ids=lambda case: case[1].__name__)
def layout(request, tmp_path) -> tuple[str, Path]:
    name, make = request.param
    folder = tmp_path / "sounds"
    folder.mkdir()
    make(folder)
    return name, folder


def test_every_layout_has_a_small_copy_here():
    assert set(LAYOUTS) == set(DATASETS)
    assert all(name == dataset.name and dataset.summary for name, dataset in DATASETS.items())


def test_auto_finds_the_layout(layout):
    name, folder = layout
    assert choose_dataset(folder).name == name


def test_items_are_sorted_unique_there_and_labelled(layout):
    name, folder = layout
    items = DATASETS[name].items(folder)
    assert items == sorted(items, key=lambda item: item.key)
    assert len({item.key for item in items}) == len(items) > 1
    assert all(item.path.is_file() and item.path == folder / item.key for item in items)
    assert all(item.source for item in items)
    assert any(item.mids for item in items)


def test_one_source_stays_in_one_fold(layout):
    name, folder = layout
    folds: dict[str, set[int | None]] = {}
    for item in DATASETS[name].items(folder):
        folds.setdefault(item.source, set()).add(item.fold)
    assert all(len(found) == 1 for found in folds.values())


def test_a_manifest_keeps_everything(layout, tmp_path):
    name, folder = layout
    items = DATASETS[name].items(folder)
    write_manifest(tmp_path / "clips", items)
    found = read_items(tmp_path / "clips")
    assert [item.path.resolve() for item in found] == [item.path.resolve() for item in items]
    assert [(i.key, i.source, i.mids, i.fold) for i in found] == [(i.key, i.source, i.mids, i.fold) for i in items]


def items_of(name: str, folder: Path) -> dict[str, AudioItem]:
    return {item.key: item for item in DATASETS[name].items(folder)}


def test_esc50(tmp_path):
    esc50(tmp_path)
    item = items_of("esc50", tmp_path)["audio/1-100032-A-0.wav"]
    assert (item.mids, item.fold, item.source) == (("dog",), 1, "freesound:100032")
    assert items_of("esc50", tmp_path)["audio/2-7-A-49.wav"].mids == ("hand saw",)
    assert DATASETS["esc50"].licence and DATASETS["esc50"].citation


def test_urbansound8k(tmp_path):
    urbansound8k(tmp_path)
    item = items_of("urbansound8k", tmp_path)["audio/fold1/7-3-0-2.wav"]
    assert (item.mids, item.fold, item.source, item.start_s) == (("dog bark",), 1, "freesound:7", 1.5)
    assert item.about == {"salience": "foreground"}
    flat = tmp_path / "flat"
    flat.mkdir()
    urbansound8k_flat(flat)
    assert items_of("urbansound8k", flat)["fold1/7-3-0-2.wav"].fold == 1


def test_fsd50k(tmp_path):
    fsd50k(tmp_path)
    items = items_of("fsd50k", tmp_path)
    guitar = items["FSD50K.dev_audio/64760.wav"]
    assert (guitar.mids, guitar.source) == (("/m/02sgy", "/m/0342h"), "freesound-user:ann")
    assert guitar.about == {"split": "train", "licence": "CC0"}
    assert items["FSD50K.eval_audio/100.wav"].about["split"] == "eval"
    assert items["FSD50K.dev_audio/16399.wav"].source == "freesound:16399"  # the metadata say nothing of it


def test_vocalsound(tmp_path):
    vocalsound(tmp_path)
    items = items_of("vocalsound", tmp_path)
    cough = items["audio_16k/f0003_0_cough.wav"]
    assert (cough.mids, cough.source, len(items)) == (("/m/01b_21",), "vocalsound:f0003", 3)
    known = {"gender": "female", "age": "22", "country": "Peru", "language": "Quechua", "health": "no"}
    assert cough.about == known | {"split": "train"}
    assert items["audio_16k/m0004_1_sniff.wav"].about == {"gender": "male", "split": "test"}


@pytest.mark.parametrize(
    ("make", "table", "content"),
    [
        (urbansound8k, "metadata/UrbanSound8K.csv", "slice_file_name,fold\n1-2-3-4.wav,one\n"),
        (fsd50k, "FSD50K.ground_truth/dev.csv", "fname,mids\n7,\n"),
        (fsd50k, "FSD50K.metadata/dev_clips_info_FSD50K.json", "{"),
        (vocalsound, "meta/all_meta.json", "no json"),
        (vocalsound, "meta/all_meta.json", '{"data": []}x'),
        (vocalsound, "datafiles/te.json", "[]"),
    ],
)
def test_a_damaged_table_is_named(tmp_path, make, table, content):
    make(tmp_path)
    (tmp_path / table).write_text(content)
    with pytest.raises(UsageError, match="unpack the data set again") as caught:
        DATASETS[make.__name__].items(tmp_path)
    assert Path(table).name in str(caught.value)


@pytest.mark.parametrize("fold", ["0", "11", "1.5", "-1", "1e1", "²", "٣", "9" * 400])
def test_a_fold_of_urbansound8k_is_one_of_its_ten(tmp_path, fold):
    urbansound8k(tmp_path)
    row = f"7-3-1-0.wav,7,9,11,1,{fold},3,dog_bark"
    (tmp_path / "metadata/UrbanSound8K.csv").write_text(
        f"slice_file_name,fsID,start,end,salience,fold,classID,class\n{row}\n", encoding="utf-8"
    )
    with pytest.raises(UsageError, match="line 2: fold must be a whole number from 1 to 10, got"):
        DATASETS["urbansound8k"].items(tmp_path)


def csv_items(folder: Path, *rows: str) -> list[AudioItem]:
    (folder / "sounds.csv").write_text("\n".join(["path,labels,fold,source", *rows]) + "\n")
    return DATASETS["csv"].items(folder)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        ('b.wav,"Dog;Siren,1,x', "cannot be read as CSV"),  # would take c.wav's row for a part of its label
        ('b.wav,"Dog"x,1,x', "cannot be read as CSV"),
        ("b.wav,Dog,,,Siren", "has more values than the table has columns"),  # which of them are labels?
    ],
)
def test_a_row_of_which_nobody_knows_the_labels_is_refused_with_its_line(tmp_path, row, rule):
    with pytest.raises(UsageError, match=f"sounds.csv, line 3: .*{rule}.*; .*unpack the data set again"):
        csv_items(tmp_path, "a.wav,Cat,1,x", row, "c.wav,Cat,2,y")


def test_a_table_as_spreadsheets_write_it_is_read(tmp_path):
    found = csv_items(tmp_path, '"a, b.wav","Dog;""Siren""",1,"x"', "c.wav,Cat,2,y,,", "d.wav", "", 'e.wav, "Rain", ,')
    assert [(i.key, i.mids, i.fold) for i in found] == [
        ("a, b.wav", ("Dog", '"Siren"'), 1), ("c.wav", ("Cat",), 2), ("d.wav", (), None), ("e.wav", ("Rain",), None)
    ]  # fmt: skip


def test_what_a_data_set_tells_becomes_columns(tmp_path):
    import pyarrow.parquet as pq

    vocalsound(tmp_path)
    table = pq.read_table(write_manifest(tmp_path / "clips", DATASETS["vocalsound"].items(tmp_path)))
    assert table.column("language").to_pylist() == ["Quechua", "Quechua", None]
    assert table.column("split").to_pylist() == ["train", None, "test"]


def test_published_data_sets_have_licence_and_citation():
    assert all(d.licence and d.citation for d in DATASETS.values() if d.name not in ("csv", "folders"))


def test_folders_lose_their_numbers(tmp_path):
    folders(tmp_path)
    items = items_of("folders", tmp_path)
    assert items["02 - Rain/-c d.flac"].mids == ("Rain",)
    assert items["Dog bark/deep/b.m4a"].mids == ("Dog bark",)


def test_csv(tmp_path):
    csv(tmp_path)
    items = items_of("csv", tmp_path)
    assert items["more/b c.wav"].mids == ("/m/0bt9lr", "Rain")
    assert (items["more/b c.wav"].fold, items["more/b c.wav"].source) == (2, "tape 1")
    assert (items["a.wav"].mids, items["a.wav"].fold, items["a.wav"].source) == ((), None, "a.wav")


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (",Dog,1,", "path is empty"),
        ("a.wav,Dog,one,", "whole number"),
        ("./x.wav,Bark,1,", "'x.wav' has a row above already"),
    ],
)
def test_a_bad_row_is_named_by_its_line(tmp_path, row, rule):
    (tmp_path / "a.csv").write_text(f"path,label,fold,source\nx.wav,Dog,1,\n{row}\n")
    with pytest.raises(UsageError, match=f"line 3: .*{rule}"):
        DATASETS["csv"].items(tmp_path)


def test_two_columns_of_one_name_are_one_too_many(tmp_path):
    (tmp_path / "a.csv").write_text("path,label,label\nx.wav,Dog,Bark\n")
    with pytest.raises(UsageError, match="two columns 'label'"):
        DATASETS["csv"].items(tmp_path)


def test_two_tables_are_one_too_many(tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.csv").write_text("path,label\nx.wav,Dog\n")
    with pytest.raises(UsageError, match=r"found a\.csv, b\.csv; keep one"):
        DATASETS["csv"].items(tmp_path)


@pytest.mark.parametrize(
    ("content", "seen"),
    [
        (b"path;label\na.wav;Dog\n", "t.csv with columns path;label"),
        (b"filename,category\na.wav,Dog\n", "t.csv with columns filename, category"),
        ("path,label\na.wav,Hündin\n".encode("latin-1"), "t.csv that is empty or no UTF-8 text"),
    ],
)
def test_a_table_that_is_none_is_shown(tmp_path, content, seen):
    touch(tmp_path, "a.wav")
    (tmp_path / "t.csv").write_bytes(content)
    for layout in ("auto", "csv"):
        with pytest.raises(UsageError, match=seen):
            choose_dataset(tmp_path, layout).items(tmp_path)


def test_a_csv_keeps_what_else_it_tells_and_a_label_once(tmp_path):
    touch(tmp_path, "a.wav")
    (tmp_path / "T.CSV").write_text(",path , labels,age,names,empty\n0,a.wav,Dog;Rain; Dog,old,x,\n")
    (item,) = items_of("csv", tmp_path).values()
    assert item.mids == ("Dog", "Rain")
    assert dict(item.about) == {"age": "old"}


def test_no_layout_fits_unlabelled_audio(tmp_path):
    touch(tmp_path, "a.wav")
    with pytest.raises(UsageError, match="none of the known layouts"):
        choose_dataset(tmp_path)
    with pytest.raises(UsageError, match=r"a\.wav: must be a folder of audio, and is a file; name the folder"):
        choose_dataset(tmp_path / "a.wav")
    with pytest.raises(UsageError, match=r"found no CSV file; make one, as UTF-8 text with commas"):
        choose_dataset(tmp_path, "csv").items(tmp_path)
    with pytest.raises(UsageError, match=r"holds no metadata/UrbanSound8K.csv; name another"):
        choose_dataset(tmp_path, "urbansound8k").items(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UsageError, match="empty: holds no audio; name a folder that does"):
        choose_dataset(tmp_path / "empty")


def test_unknown_names_are_the_users_mistake(tmp_path):
    with pytest.raises(UsageError, match="no layout named"):
        choose_dataset(tmp_path, "esc")
    with pytest.raises(UsageError, match="must be a folder"):
        choose_dataset(tmp_path / "nowhere")


def test_esc10_itself(shared):
    dataset = choose_dataset(shared / "esc10")
    items = dataset.items(shared / "esc10")
    assert (dataset.name, len(items), len({item.mids for item in items})) == ("esc50", 400, 10)
    assert all(sum(item.fold == fold for item in items) == 80 for fold in range(1, 6))
