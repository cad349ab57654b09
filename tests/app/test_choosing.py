"""The options that choose: what they read, what they refuse, what the plan says."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from app.options.choosing import ChoosingOptions, choosing_options, chosen_segments, tell_bad_rows
from ingest.audioset.choose import ClassCount
from ingest.audioset.segments import StrongEvent
from ingest.errors import EarshotError, FormatError, UsageError
from ingest.youtube.plan import make_plan, plan_text

DOG, SIREN, SPEECH = "/m/0bt9lr", "/m/03kmc9", "/m/09x0r"


@pytest.fixture
def segments(tmp_path: Path) -> Path:
    path = tmp_path / "segments.csv"
    rows = [f'dog_{n:07},{n},{n + 10},"{DOG},{SPEECH}"' for n in range(5)]
    rows += [f'siren{n:06},{n},{n + 10},"{SIREN}"' for n in range(3)]
    path.write_text("\n".join([*rows, "broken row", f"speech00000,0,10,{SPEECH}"]))
    (tmp_path / "strong.tsv").write_text(f"dog_0000001_1000\t0.5\t1\t{DOG}\nelsewhere_0\t0\t1\t{DOG}\nbad\n")
    (tmp_path / "qa_true_counts.csv").write_text(f"label,rated,true\n{DOG},10,9\n{SIREN},10,5\n{SPEECH},0,0\n")
    return path


@click.command()
@click.argument("segments", type=click.Path(path_type=Path))
@choosing_options
def echo(segments: Path, choosing: ChoosingOptions) -> None:
    """Prints what was chosen."""
    found = chosen_segments(segments, choosing)
    tell_bad_rows(found.bad_rows)
    click.echo(json.dumps([s.key for s in found.chosen.segments]))


def test_the_options_arrive_as_one_argument(segments):
    done = CliRunner().invoke(echo, [str(segments), "--classes", "Dog;Siren", "--per-class", "2", "--seed", "1"])
    assert sorted(key[:3] for key in json.loads(done.stdout)) == ["dog", "dog", "sir", "sir"]
    assert "segments.csv, line 9: a row needs id,start,end" in done.stderr
    everything = CliRunner().invoke(echo, [str(segments)])
    assert len(json.loads(everything.stdout)) == 9


def test_quality_and_strong_labels_are_found_beside_the_list(segments):
    found = chosen_segments(segments, ChoosingOptions(min_quality=0.8, strong=segments.parent / "strong.tsv"))
    assert len(found.chosen.segments) == 5
    assert set(found.chosen.distrusted) == {SIREN, SPEECH}
    assert found.strong == {"dog_0000001_1000": [StrongEvent(0.5, 1.0, DOG)]}
    assert {path.name: [bad.line for bad in rows] for path, rows in found.bad_rows.items()} == {
        "segments.csv": [9],
        "strong.tsv": [3],
    }


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"classes": "Sirn"}, UsageError, "did you mean 'Siren'"),
        ({"classes": "Cat"}, UsageError, "none of its 9 segments"),
        ({"classes": "none.toml"}, UsageError, "there is no file"),
        ({"background": 3}, UsageError, "name them with --classes"),
        ({"min_quality": 0.5, "quality": Path("nowhere.csv")}, UsageError, "earshot ingest metadata"),
    ],
)
def test_mistakes_are_one_line_with_a_remedy(segments, options, kind, message):
    with pytest.raises(kind, match=message) as caught:
        chosen_segments(segments, ChoosingOptions(**options))
    assert isinstance(caught.value, EarshotError) and "\n" not in str(caught.value)


def test_a_broken_quality_file_is_named_by_its_line(segments):
    (segments.parent / "qa_true_counts.csv").write_text("label,rated,true\n/m/x,1,1\n/m/y,many,1\n")
    with pytest.raises(FormatError, match="line 3 must be mid,rated,true"):
        chosen_segments(segments, ChoosingOptions(min_quality=0.5))


def test_the_plan_counts_disk_and_time(segments):
    found = chosen_segments(segments, ChoosingOptions(classes="Dog;Siren", background=1))
    plan = make_plan(found.chosen, rate_per_hour=4)
    assert (plan.segments, plan.seconds, plan.hours) == (9, 90.0, 9 / 4)
    assert plan.classes == (ClassCount("Dog", 5, 5), ClassCount("Siren", 3, 3))
    assert plan.background == ClassCount("background", 1, 1)
    assert plan.file_bytes["wav"] == 90 * 32_000
    at_source = make_plan(found.chosen, rate_per_hour=4, sample_rate=None, channels="source")
    assert at_source.file_bytes["wav"] == 90 * 48_000 * 2 * 2
    text = plan_text(plan)
    assert "Dog" in text and "2.88 MB" in text and "2.2 hours" in text and "not yet observed" in text
    assert json.loads(json.dumps(plan.to_json()))["classes"][0] == {"name": "Dog", "available": 5, "chosen": 5}


def test_the_plan_of_all_of_balanced(shared):
    found = chosen_segments(shared / "audioset" / "balanced_train_segments.csv", ChoosingOptions())
    plan = make_plan(found.chosen, rate_per_hour=300)
    assert (plan.segments, len(plan.classes)) == (22_160, 527)
    assert 70 < plan.hours < 75
    assert len(plan_text(plan).splitlines()) < 50
