"""The pipeline: every item is a row or a failure, once, whatever happens on the way."""

import json
import os
import shutil
import sys
import threading
import time
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from embeddings.embed import EmbedSettings, Progress, Summary, embed
from embeddings.marks import mark_of
from embeddings.store import EmbeddingStore
from ingest.audio.clip import AudioItem, Clip
from ingest.audio.windows import read_windows
from ingest.errors import FormatError, SpecMismatchError, UsageError
from tests.embeddings.fakes import RATE, StatisticsEncoder, read_wav, write_sound, write_sounds

Row = tuple[str, str, str, float, float, tuple[str, ...], int, bytes]


def run(
    items: list[AudioItem], out: Path, *, batch: int = 1, encoder: StatisticsEncoder | None = None, **settings
) -> Summary:
    encoder = encoder or StatisticsEncoder(batch)
    store = EmbeddingStore.create(out, encoder.spec)
    read = settings.pop("read", read_wav)
    progress, audio = settings.pop("progress", lambda _: None), settings.pop("audio", "")
    summary = embed(items, encoder, store, EmbedSettings(**settings), audio=audio, read=read, progress=progress)
    assert summary.items == summary.done_before + summary.embedded + len(summary.failures)
    return summary


def rows_of(out: Path) -> list[Row]:
    """All that a store says, in the order of the keys, vectors as bytes."""
    table = EmbeddingStore.open(out).load()
    return sorted(
        (
            table.keys[i],
            table.sources[i],
            table.paths[i],
            float(table.start_s[i]),
            float(table.end_s[i]),
            table.mids[i],
            int(table.folds[i]),
            table.vectors[i][table.mask[i]].tobytes(),
        )
        for i in range(len(table))
    )


def parts_of(out: Path) -> dict[str, bytes]:
    """The parts as they are: name -> bytes."""
    return {part: (out / part).read_bytes() for part in EmbeddingStore.open(out).parts()}


def failures_of(out: Path) -> dict[str, str]:
    path = out / "failures.parquet"
    rows = pq.read_table(path).to_pylist() if path.exists() else []
    return {row["key"]: row["kind"] for row in rows}


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> list[AudioItem]:
    return write_sounds(tmp_path_factory.mktemp("sounds"), 40)


@pytest.fixture(scope="module")
def expected(sounds: list[AudioItem]) -> list[Row]:
    """The rows of the sounds, made one by one without any of the pipeline."""
    encoder = StatisticsEncoder()
    rows = []
    for item in sounds:
        form = {"sample_rate": RATE, "window_s": 10.0, "resampler": "soxr"}
        for clip in read_wav(item.path, key=item.key, **form):
            start_s = item.start_s + clip.start_s
            key = item.key if clip.start_s == 0 else f"{item.key}+{round(clip.start_s * 1000)}"
            vectors = encoder.encode([clip.waveform])[0].tobytes()
            fold = -1 if item.fold is None else item.fold
            rows.append(
                (key, item.source, str(item.path), start_s, start_s + clip.duration_s, item.mids, fold, vectors)
            )
    return sorted(rows)


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("batch", [1, 32, 100_000])
@pytest.mark.parametrize("shard_items", [3, 1000])
def test_rows_do_not_depend_on_threads_batches_or_shards(
    sounds: list[AudioItem], expected: list[Row], tmp_path: Path, *, workers: int, batch: int, shard_items: int
) -> None:
    summary = run(sounds, tmp_path, batch=batch, workers=workers, shard_items=shard_items)
    assert rows_of(tmp_path) == expected
    assert (summary.embedded, summary.rows, summary.failures) == (len(sounds), len(expected), ())
    assert summary.audio_s == pytest.approx(sum(row[4] - row[3] for row in expected))


def test_files_come_out_the_same_with_any_number_of_threads(sounds: list[AudioItem], tmp_path: Path) -> None:
    stores = [tmp_path / "one", tmp_path / "many"]
    for out, workers in zip(stores, (1, 5), strict=True):
        run(sounds, out, workers=workers, shard_items=15)
    parts = [parts_of(out) for out in stores]
    assert parts[0] == parts[1] and len(parts[0]) == 3


def test_a_copy_that_counts_as_another_recording_is_told(sounds: list[AudioItem], tmp_path: Path) -> None:
    """Whatever run embedded which; what has one source is apart already."""
    folder = tmp_path / "copies"
    folder.mkdir()
    copied = [
        replace(item, key=f"copy {i}", source=source, path=Path(shutil.copy(item.path, folder / f"{i}.wav")))
        for i, (item, source) in enumerate(zip(sounds, ["elsewhere", sounds[1].source], strict=False))
    ]
    told = (("copy 0", sounds[0].key),)
    assert run(sounds[:4], tmp_path / "store").copies == ()
    assert run([*sounds[:4], *copied], tmp_path / "store").copies == told
    assert run([*sounds[:4], *copied], tmp_path / "store").copies == told
    assert run([*sounds[1:4], *copied], tmp_path / "store").copies == (), "the original is not among them"


def test_labels_that_changed_since_are_told(sounds: list[AudioItem], tmp_path: Path) -> None:
    assert run(sounds[:6], tmp_path).outdated == ()
    assert run(sounds[:8], tmp_path).outdated == ()
    changed = [replace(sounds[0], mids=("other",)), replace(sounds[1], fold=7), replace(sounds[2], source="other")]
    again = run([*changed, *sounds[3:8]], tmp_path)
    assert again.outdated == tuple(sorted(item.key for item in changed))
    assert (again.done_before, again.embedded) == (8, 0)


@pytest.fixture
def copies(sounds: list[AudioItem], tmp_path: Path) -> list[AudioItem]:
    """Sounds that a test may change."""
    copies = [replace(item, path=tmp_path / f"{i}.wav") for i, item in enumerate(sounds[:3])]
    for copy, item in zip(copies, sounds, strict=False):
        copy.path.write_bytes(item.path.read_bytes())
    return copies


def test_clips_that_have_gone_are_told(copies: list[AudioItem], tmp_path: Path) -> None:
    assert run(copies, tmp_path / "store").unlisted == ()
    assert run(copies[1:], tmp_path / "store").unlisted == (copies[0].key,)


def flip_the_end(path: Path, *, grow: int = 0) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"\x7f" * (1 + grow))


@pytest.mark.parametrize("shard_items", [1, 100])
def test_files_that_are_others_now_are_told_however_old_they_look(
    copies: list[AudioItem], tmp_path: Path, shard_items: int
) -> None:
    """One of another size, and one of another date; of the same size and date a file is the same, as for git."""
    longer, as_long, same = copies
    assert run(copies, tmp_path / "store", shard_items=shard_items).changed == ()
    for item, grow in ((longer, 2), (as_long, 0)):
        before = item.path.stat()
        flip_the_end(item.path, grow=grow)
        os.utime(item.path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert run(copies, tmp_path / "store").changed == (longer.key,)
    os.utime(as_long.path, (1, 1))
    told = tuple(sorted([longer.key, as_long.key]))
    assert run(copies, tmp_path / "store").changed == run(copies, tmp_path / "store").changed == told
    assert same.key not in told


def test_a_fresh_copy_of_the_audio_is_no_change_and_is_read_once(
    copies: list[AudioItem], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(copies, tmp_path / "store", shard_items=2)
    for item in copies:
        os.utime(item.path, (time.time() + 5, time.time() + 5))
    read: list[Path] = []
    monkeypatch.setattr("embeddings.shards.mark_of", lambda path: read.append(path) or mark_of(path))
    for _ in range(3):
        assert run(copies, tmp_path / "store").changed == ()
    assert sorted(read) == [item.path for item in copies]


@pytest.mark.parametrize("date_s", [0, -1, -(10**9), 10**10])
def test_any_date_is_a_date(copies: list[AudioItem], tmp_path: Path, date_s: int) -> None:
    os.utime(copies[0].path, (date_s, date_s))
    assert run(copies, tmp_path / "store").changed == run(copies, tmp_path / "store").changed == ()
    os.utime(copies[0].path)
    assert run(copies, tmp_path / "store").changed == ()
    flip_the_end(copies[0].path)
    assert run(copies, tmp_path / "store").changed == (copies[0].key,)


def test_a_store_of_an_earlier_version_goes_by_the_clock(copies: list[AudioItem], tmp_path: Path) -> None:
    run(copies, tmp_path / "store")
    for stats in (tmp_path / "store").glob("part-*.json"):
        facts = json.loads(stats.read_text())
        stats.write_text(json.dumps({name: facts[name] for name in facts if name not in ("marks", "audio")}))
    assert run(copies, tmp_path / "store").changed == ()
    os.utime(copies[0].path, (time.time() + 5, time.time() + 5))
    assert run(copies, tmp_path / "store").changed == (copies[0].key,)


def test_marks_that_are_not_as_many_as_the_files_are_refused(copies: list[AudioItem], tmp_path: Path) -> None:
    run(copies, tmp_path / "store")
    (stats,) = (tmp_path / "store").glob("part-*.json")
    facts = json.loads(stats.read_text())
    for marks in (facts["marks"][:-32], facts["marks"] + "A", "no marks"):
        stats.write_text(json.dumps(facts | {"marks": marks}))
        with pytest.raises(FormatError, match="not the stats of a shard"):
            run(copies, tmp_path / "store")


def test_failures_of_what_has_been_taken_out_are_forgotten(
    sounds: list[AudioItem], bad_items: dict[str, AudioItem], tmp_path: Path
) -> None:
    """Of the same audio alone: another folder that goes into the same store says nothing of it."""
    out, bad = tmp_path / "out", list(bad_items.values())
    run([*sounds[:3], *bad[:2]], out, audio="one")
    run([*sounds[3:6], *bad[2:]], out, audio="another", shard_items=1)
    everything = {item.key for item in bad}
    assert set(failures_of(out)) == everything
    run(sounds[6:7], out)
    assert set(failures_of(out)) == everything
    before = rows_of(out)
    run([*sounds[:3], bad[1]], out, audio="one")
    assert set(failures_of(out)) == everything - {bad[0].key}
    run(sounds[3:6], out, audio="another")
    assert set(failures_of(out)) == {bad[1].key}
    run(sounds[:3], out, audio="one")
    assert failures_of(out) == {}
    assert rows_of(out) == before


def test_a_group_of_windows_shares_a_call(sounds: list[AudioItem], tmp_path: Path) -> None:
    class Counting(StatisticsEncoder):
        patches: list[int] = []  # noqa: RUF012 - one list for the one instance

        def encode(self, waveforms):  # type: ignore[no-untyped-def]
            vectors = super().encode(waveforms)
            self.patches.append(sum(map(len, vectors)))
            return vectors

    encoder = Counting(batch_patches=32)
    run(sounds, tmp_path, encoder=encoder)
    assert sum(patches < 32 for patches in encoder.patches) <= 1  # the last one
    assert max(encoder.patches) < 32 + 10  # one window more than enough at most


@pytest.mark.parametrize("workers", [1, 3])
def test_as_many_threads_as_were_asked_for_are_at_work(sounds: list[AudioItem], tmp_path: Path, workers: int) -> None:
    """Reading and encoding both count: never more of them at a time, and that many once there is enough to do."""
    at_work, seen, lock = 0, [], threading.Lock()

    @contextmanager
    def counted() -> Iterator[None]:
        nonlocal at_work
        with lock:
            at_work += 1
            seen.append(at_work)
        time.sleep(0.002)
        yield
        with lock:
            at_work -= 1

    def read(path: Path, **form) -> Iterator[Clip]:
        windows = read_wav(path, **form)
        while True:
            with counted():
                clip = next(windows, None)
            if clip is None:
                return
            yield clip

    class Counted(StatisticsEncoder):
        def encode(self, waveforms):  # type: ignore[no-untyped-def]
            with counted():
                return super().encode(waveforms)

    run(sounds, tmp_path, encoder=Counted(), workers=workers, read=read)
    assert max(seen) == workers
    assert np.mean(seen[len(seen) // 4 : -len(seen) // 4]) > workers - 0.5


def test_one_long_file_keeps_all_threads_busy(tmp_path: Path) -> None:
    """One reads on while others encode what it has read."""
    threads = set()

    class Noting(StatisticsEncoder):
        def encode(self, waveforms):  # type: ignore[no-untyped-def]
            threads.add(threading.get_ident())
            return super().encode(waveforms)

    item = write_sound(tmp_path / "long.wav", np.random.default_rng(0), seconds=300)
    summary = run([item], tmp_path / "out", encoder=Noting(delay_s=0.01), workers=3)
    assert summary.rows == 30
    assert len(threads) == 3


def test_running_again_does_nothing(sounds: list[AudioItem], expected: list[Row], tmp_path: Path) -> None:
    run(sounds, tmp_path, shard_items=7)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")}
    again = run(sounds, tmp_path)
    assert (again.done_before, again.embedded, again.rows) == (len(sounds), 0, 0)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("part-*")} == before
    assert rows_of(tmp_path) == expected


def test_new_files_are_added(sounds: list[AudioItem], expected: list[Row], tmp_path: Path) -> None:
    run(sounds[::2], tmp_path, shard_items=7)
    more = run(sounds, tmp_path, shard_items=7)
    assert (more.done_before, more.embedded) == (20, 20)
    assert rows_of(tmp_path) == expected


@pytest.fixture
def bad_items(tmp_path: Path) -> dict[str, AudioItem]:
    folder = tmp_path / "bad"
    folder.mkdir()
    rng = np.random.default_rng(1)
    items = {
        "empty": AudioItem("empty.wav", folder / "empty.wav", "empty"),
        "notaudio": AudioItem("- text.wav", folder / "- text.wav", "text"),
        "missing": AudioItem("nowhere.wav", folder / "nowhere.wav", "nowhere"),
        "truncated": write_sound(folder / "truncated.wav", rng, seconds=35),
    }
    items["empty"].path.touch()
    items["notaudio"].path.write_text("not a sound")
    return items


@pytest.mark.parametrize("batch", [1, 64])
def test_bad_files_harm_no_other(
    sounds: list[AudioItem], expected: list[Row], bad_items: dict[str, AudioItem], tmp_path: Path, batch: int
) -> None:
    items = sorted([*sounds, *bad_items.values()], key=lambda item: item.key)
    summary = run(items, tmp_path / "out", batch=batch, shard_items=10)
    assert rows_of(tmp_path / "out") == expected
    assert summary.failed == dict.fromkeys(bad_items, 1)
    assert failures_of(tmp_path / "out") == {item.key: kind for kind, item in bad_items.items()}


def test_failures_are_tried_again_and_forgotten_when_mended(bad_items: dict[str, AudioItem], tmp_path: Path) -> None:
    out, items = tmp_path / "out", list(bad_items.values())
    for _ in range(3):
        summary = run(items, out)
        assert (summary.done_before, summary.embedded, len(summary.failures)) == (0, 0, 4)
        assert len(failures_of(out)) == 4 and len(list(out.glob("part-*"))) == 1
    write_sound(bad_items["missing"].path, np.random.default_rng(2), seconds=3)
    summary = run(items, out)
    assert (summary.embedded, len(summary.failures)) == (1, 3)
    assert set(failures_of(out)) == {bad_items[kind].key for kind in ("empty", "notaudio", "truncated")}
    summary = run(items[:0], out)
    assert len(rows_of(out)) == 1


def test_an_unexpected_error_of_a_decoder_is_a_failure_too(sounds: list[AudioItem], tmp_path: Path) -> None:
    def read(path: Path, **form) -> Iterator[Clip]:  # type: ignore[no-untyped-def]
        if path == sounds[3].path:
            raise RuntimeError("deep in\nthe decoder")
        return read_wav(path, **form)

    summary = run(sounds, tmp_path, read=read)
    assert [(failure.key, failure.kind) for failure in summary.failures] == [(sounds[3].key, "unexpected")]
    assert summary.failures[0].rule == "RuntimeError: deep in the decoder"


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes on Linux only")
def test_a_name_that_is_not_utf8_is_embedded_like_any_other(sounds: list[AudioItem], tmp_path: Path) -> None:
    path = tmp_path / "caf\udce9.wav"
    shutil.copy(sounds[0].path, path)
    items = [*sounds[:2], AudioItem(path.name, path, path.name)]
    assert run(items, tmp_path / "out", read=read_windows).embedded == 3
    assert run(items, tmp_path / "out", read=read_windows).done_before == 3
    assert "caf\\udce9.wav" in EmbeddingStore.open(tmp_path / "out").load().keys


def test_a_file_may_vanish_during_the_run(tmp_path: Path) -> None:
    items = write_sounds(tmp_path / "sounds", 30)

    def remove_the_last(progress: Progress) -> None:
        if progress.items == 5:
            items[-1].path.unlink(missing_ok=True)

    summary = run(items, tmp_path / "out", workers=1, progress=remove_the_last)
    assert summary.failed == {"missing": 1} and summary.embedded == 29


def test_a_mistake_of_the_user_ends_the_run(sounds: list[AudioItem], tmp_path: Path) -> None:
    def read(path: Path, **form) -> Iterator[Clip]:  # type: ignore[no-untyped-def]
        raise UsageError("--resampler: no such resampler")

    with pytest.raises(UsageError, match="resampler"):
        run(sounds, tmp_path, read=read)
    assert list(tmp_path.glob("*part-*")) == []


@pytest.mark.parametrize("batch", [1, 32])
def test_an_error_of_the_encoder_ends_the_run_and_the_next_goes_on(
    sounds: list[AudioItem], expected: list[Row], tmp_path: Path, batch: int
) -> None:
    class Breaking(StatisticsEncoder):
        seconds = 0.0

        def encode(self, waveforms):  # type: ignore[no-untyped-def]
            self.seconds += sum(map(len, waveforms)) / RATE
            if self.seconds > 300:
                raise MemoryError
            return super().encode(waveforms)

    with pytest.raises(MemoryError):
        run(sounds, tmp_path, encoder=Breaking(batch), shard_items=5)
    assert 0 < len(EmbeddingStore.open(tmp_path)) < len(expected)
    run(sounds, tmp_path, batch=batch, shard_items=5)
    assert rows_of(tmp_path) == expected


def test_an_interrupt_leaves_quickly(sounds: list[AudioItem], expected: list[Row], tmp_path: Path) -> None:
    def interrupt(progress: Progress) -> None:
        if progress.items == 12:
            raise KeyboardInterrupt

    begin = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(sounds, tmp_path, encoder=StatisticsEncoder(delay_s=0.02), shard_items=5, progress=interrupt)
    assert time.monotonic() - begin < 5
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("earshot")]
    assert len(list(tmp_path.glob("part-*.parquet"))) == 2
    run(sounds, tmp_path, shard_items=5)
    assert rows_of(tmp_path) == expected


def test_silence_is_counted(tmp_path: Path) -> None:
    def read(path: Path, *, key: str, sample_rate: int, window_s: float, resampler: str) -> Iterator[Clip]:
        yield Clip(key, np.full(RATE, float(key != "b"), np.float32), sample_rate)

    items = [AudioItem(key, tmp_path / key, key) for key in "abc"]
    assert run(items, tmp_path / "out", read=read).silent == ("b",)


def test_keys_must_be_unique(sounds: list[AudioItem], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"keys must be unique, got 'sound 000\.wav'"):
        run([sounds[0], sounds[0]], tmp_path)


def test_rows_put_there_by_others_are_kept_and_not_made_again(sounds: list[AudioItem], tmp_path: Path) -> None:
    run(sounds[:4], tmp_path, shard_items=2)
    for part in tmp_path.glob("part-audio-*.parquet"):
        part.rename(tmp_path / part.name.replace("audio", "released"))
    before = rows_of(tmp_path)
    summary = run(sounds[:4], tmp_path)
    assert (summary.done_before, summary.embedded) == (4, 0)
    assert rows_of(tmp_path) == before


def test_another_encoder_is_refused(sounds: list[AudioItem], tmp_path: Path) -> None:
    run(sounds[:2], tmp_path)
    encoder = StatisticsEncoder()
    store = EmbeddingStore.open(tmp_path)
    object.__setattr__(encoder.spec, "encoder", "another")
    with pytest.raises(SpecMismatchError, match="encoder: statistics against another"):
        embed(sounds, encoder, store, read=read_wav)


def test_progress_counts_up_to_all(sounds: list[AudioItem], tmp_path: Path) -> None:
    run(sounds[:3], tmp_path)
    seen: list[Progress] = []
    summary = run(sounds, tmp_path, progress=seen.append)
    assert {progress.total for progress in seen} == {40}
    assert [progress.items for progress in seen] == sorted(progress.items for progress in seen)
    assert (seen[0].items, seen[-1].items) == (3, 40)
    assert seen[-1].audio_s == pytest.approx(summary.audio_s)


@pytest.mark.parametrize("setting", ["workers", "shard_items", "shard_bytes"])
def test_settings_are_checked(setting: str) -> None:
    with pytest.raises(UsageError, match=f"{setting}: must be at least 1, got 0"):
        EmbedSettings(**{setting: 0})


@pytest.mark.parametrize("fails", [False, True])
def test_hours_of_audio_take_no_more_memory_than_minutes(tmp_path: Path, fails: bool) -> None:
    hours, rate = 5, 16_000

    class Wide(StatisticsEncoder):
        """80 kB a window like YAMNet's: five hours are 150 MB."""

        def __init__(self) -> None:
            super().__init__()
            self.spec = type(self.spec)("wide", 1024, "float32", 0.5, 0.5, rate)

        def encode(self, waveforms):  # type: ignore[no-untyped-def]
            return [np.full((20, 1024), waveform[0], np.float32) for waveform in waveforms]

    def read(path: Path, *, key: str, sample_rate: int, window_s: float, resampler: str) -> Iterator[Clip]:
        for window in range(hours * 360):
            yield Clip(
                key, np.full(round(sample_rate * window_s), window + 1, np.float32), sample_rate, window * window_s
            )
        if fails:
            raise RuntimeError("at the very end")

    tracemalloc.start()
    try:
        summary = run(
            [AudioItem("night", tmp_path / "night.wav", "night")], tmp_path / "out", encoder=Wide(), read=read
        )
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert summary.rows == (0 if fails else hours * 360)
    assert peak < 80 << 20
    if not fails:
        firsts = [table.vectors[:, 0, 0] for table in EmbeddingStore.open(tmp_path / "out").tables()]
        assert np.array_equal(np.concatenate(firsts), np.arange(1, hours * 360 + 1))
