"""earshot ingest youtube from end to end: what is chosen is what is fetched, with its strong labels."""

import io
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import soundfile

from app.cli import main
from tests.ingest.media import chirp, wav
from tests.ingest.media_server import serve

DOG, BARK, SIREN = "/m/0bt9lr", "/m/05tny_", "/m/03kmc9"
SOUND = wav(chirp(20.0, 16_000))


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    rows = [f'dog{n},2.000,12.000,"{DOG}"' for n in range(4)] + [f'siren{n},2.000,12.000,"{SIREN}"' for n in range(4)]
    (tmp_path / "my_segments.csv").write_text("\n".join([*rows, "no segment"]))
    events = "".join(f"dog{n}_2000\t0.5\t1.25\t{BARK}\n" for n in range(4))
    (tmp_path / "strong.tsv").write_text(f"segment_id\tstart_time_seconds\tend_time_seconds\tlabel\n{events}")
    return tmp_path / "my_segments.csv"


def run(capsys: pytest.CaptureFixture[str], *argv: object) -> tuple[int, str, str]:
    with pytest.raises(SystemExit) as left:
        main(["ingest", "youtube", *map(str, argv)])
    captured = capsys.readouterr()
    return int(left.value.code or 0), captured.out, captured.err


def test_what_is_chosen_is_fetched_with_its_strong_labels(segments, tmp_path, capsys):
    with serve({f"dog{n}.wav": SOUND for n in range(4)}) as server:
        source = ("--url-template", f"{server.url}/ok/{{id}}.wav", "--rate", "inf")
        choice = ("--classes", "Dog", "--per-class", "2", "--strong", segments.parent / "strong.tsv")
        code, out, err = run(capsys, segments, "--out", tmp_path / "out", *source, *choice, "--json")
        facts = json.loads(out)
        assert (code, facts["requested"], facts["available"]) == (0, 2, 2)
        assert "line 9" in err and "segments: 2" in err
        code, out, _ = run(capsys, segments, "--out", tmp_path / "out", *source, "--classes", "Dog", "--json")
        assert (code, json.loads(out)["available"]) == (0, 4)  # the two of before are among the four
    rows = pq.read_table(facts["manifest"]).to_pylist()
    bark = [{"start_s": 0.5, "end_s": 1.25, "mid": BARK, "name": "Bark"}]
    assert [row["strong"] for row in rows].count(bark) == 2
    assert [row["strong"] for row in rows].count(None) == 2
    assert {row["split"] for row in rows} == {"my"}


def test_a_dry_run_fetches_nothing_and_leaves_nothing(segments, tmp_path, capsys):
    code, out, _ = run(capsys, segments, "--out", tmp_path / "out", "--dry-run", "--json")
    plan = json.loads(out)
    assert (code, plan["segments"], plan["rate_per_hour"], plan["observed"]) == (0, 8, 300.0, False)
    assert not (tmp_path / "out").exists()
    code, out, _ = run(capsys, segments, "--out", tmp_path / "out", "--dry-run", "--rate", "inf")
    assert code == 0 and "300 an hour" in out


@pytest.fixture
def mirror(tmp_path: Path) -> Path:
    """Copies of the four dogs, from 2 s to 12 s."""
    copy = io.BytesIO()
    soundfile.write(copy, chirp(12.0, 16_000)[2 * 16_000 :], 16_000, format="FLAC")
    rows = [{"video_id": f"dog{n}", "audio": {"bytes": copy.getvalue(), "path": f"dog{n}.flac"}} for n in range(4)]
    (tmp_path / "copies").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "copies" / "00.parquet")
    return tmp_path / "copies"


def test_a_mirror_fills_what_the_videos_lack(segments, mirror, tmp_path, capsys):
    official = segments.rename(tmp_path / "eval_segments.csv")
    common = (official, "--out", tmp_path / "out", "--mirror", mirror, "--json")
    with serve({f"siren{n}.wav": SOUND for n in range(4)}) as server:
        source = ("--source", "mirror,youtube", "--url-template", f"{server.url}/ok/{{id}}.wav", "--rate", "inf")
        code, out, err = run(capsys, *common, *source)
    facts = json.loads(out)
    assert (code, facts["available"]) == (0, 8), err
    origins = {row["source"]: row["origin"] for row in pq.read_table(facts["manifest"]).to_pylist()}
    assert origins == {f"dog{n}": "mirror" for n in range(4)} | {f"siren{n}": "youtube" for n in range(4)}
    code, out, _ = run(capsys, *common, "--source", "mirror")
    assert (code, json.loads(out)["fingerprint"]) == (0, facts["fingerprint"])


def test_times_of_your_own_need_audiosets_lists_beside_them(segments, mirror, tmp_path, capsys):
    command = (segments, "--out", tmp_path / "out", "--source", "mirror", "--mirror", mirror, "--json")
    code, _, err = run(capsys, *command)
    assert code == 2 and "only AudioSet's lists tell where they begin" in err
    (tmp_path / "eval_segments.csv").write_text("dog0,2.000,12.000\ndog1,3.000,13.000\n")
    code, out, err = run(capsys, *command)
    states = json.loads(out)["states"]
    assert (code, states["done"], states["gone"]) == (0, 1, 7), err


@pytest.mark.parametrize("options", [("--source", "mirror"), ("--mirror", "copies"), ("--source", "elsewhere")])
def test_sources_that_make_no_sense_are_refused(options, segments, tmp_path, capsys):
    code, _, err = run(capsys, segments, "--out", tmp_path / "out", *options)
    assert code == 2 and "--source" in err
    assert not (tmp_path / "out").exists()
