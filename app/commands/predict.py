"""`earshot predict`: what is in these sounds."""

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli import end_with_failures
from app.options.engine import engine_options, start_engine
from app.options.places import AudioType, HereType, WeightsType
from ingest.engines.engine import EngineSettings
from ingest.errors import UsageError

if TYPE_CHECKING:
    from app.predicting import FilePrediction
    from ingest.places.arrow_folder import ArrowFolder

PATIENCE_S = 3.0
"""Who waits longer is shown how far it is."""
TOP_IN_TEXT = 3


@click.command(
    epilog="""\b
Examples:
  earshot predict model street.wav
  earshot predict model recordings/ --top 1
  earshot predict model *.m4a --csv > scores.csv
  earshot predict model /data/year --csv --workers 8 > scores.csv
  earshot predict /data/model s3://bucket/year --csv --engine ray --ray-address head:6379 > scores.csv
  earshot predict model emb --csv > scores.csv     what `earshot embed` made: no encoder, no audio is needed

One row per window of ten seconds. A file that cannot be read is named on standard error and the others go on.
"""
)
@click.argument("model", type=HereType())
@click.argument("audio", nargs=-1, required=True, type=AudioType())
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--csv",
    "as_csv",
    is_flag=True,
    help="Print CSV: path, start_s, end_s, answer, known, present and a column per class.",
)
@click.option("--weights", type=WeightsType(), help="A folder with weight files of your own.")
@click.option("--precision", metavar="NAME", help="Of the encoder, if not the model's own: int8 is VGGish's quickest.")
@click.option(
    "--top", type=click.IntRange(1), metavar="K", help="Only the K likeliest classes. Default: 3 as text, all as JSON."
)
@engine_options(local_workers="Processes, 1 by default.")
def command(  # noqa: PLR0917 - click passes them all by name
    model: Path,
    audio: "tuple[Path | ArrowFolder, ...]",
    as_json: bool,
    as_csv: bool,
    weights: Path | None,
    precision: str | None,
    top: int | None,
    engine: EngineSettings,
) -> None:
    """Say which of a model's classes are in audio files, folders of them, or an embedding store."""
    from app.predicting import csv_header, find_audio, find_store, predict_files, predict_store
    from app.terminal.progress import ClipBar
    from classifiers.bundle import find_bundle, load_bundle, read_info
    from embeddings.encoders import require_precision

    if as_csv and (as_json or top):
        raise UsageError("--csv: has a column for every class, so it goes with neither --json nor --top; leave it out")
    info = read_info(find_bundle(model))
    class_names = info.class_set.names
    store = find_store(audio)
    items = find_audio(audio) if store is None else []
    if not (items or store):
        raise UsageError(f"AUDIO: nothing is in {', '.join(map(str, audio))}; name some files, or a store with rows")
    if store is None:
        require_precision(precision, [info.spec.encoder])
    elif engine != EngineSettings() or weights or precision:
        raise UsageError(
            "--engine, --workers, --weights, --precision: are for audio, and a store is made already; leave them out"
        )
    if info.caveat:
        click.echo(f"note: {model}: {info.caveat}", err=True)
    of_json: list[dict[str, Any]] = []  # nothing else is kept: a store may hold millions of rows
    files = failed = 0
    writer = csv.writer(sys.stdout, lineterminator="\n")
    quiet = sys.stdout.isatty() and not as_json  # what is said shows how far it is
    with ClipBar(delay_s=PATIENCE_S if engine == EngineSettings() else 0) as bar:
        progress = (lambda _: None) if quiet else bar
        where = start_engine(engine, processes=min(engine.workers or 1, len(items)))
        of_files = predict_files(where, model, weights, items, precision=precision, progress=progress)
        for files, result in enumerate(of_files if store is None else predict_store(load_bundle(model), store), 1):
            if result.error:
                failed += 1
                bar.say(f"earshot: {result.error}")
            if as_json:
                of_json.append(result.to_json(top))
            elif as_csv:
                if files == 1:
                    writer.writerow(csv_header(class_names))
                writer.writerows(result.to_csv())
            else:
                click.echo(_as_text(result, top or TOP_IN_TEXT), nl=False)
    if as_json:
        said = {"model": str(model), "classes": list(class_names), "caveat": info.caveat or None, "files": of_json}
        click.echo(json.dumps(said))
    end_with_failures(failed, files, "read to the end")


def _as_text(result: "FilePrediction", top: int) -> str:
    """A line a window: the likeliest classes, in brackets those that are not answered."""
    lines = [str(result.path)] if result.predictions else []
    for prediction in result.predictions:
        here = set(prediction.names_present)
        scores = [
            f"{name} {score:.2f}" if name in here else f"({name} {score:.2f})" for name, score in prediction.top(top)
        ]
        if prediction.answer is None:
            scores.insert(0, f"none of these ({prediction.known:.2f} known)")
        lines.append(f"  {_clock(prediction.start_s):>8} - {_clock(prediction.end_s):<8}  {'   '.join(scores)}")
    return "".join(f"{line}\n" for line in lines)


def _clock(seconds: float) -> str:
    """90.5 -> '1:30.5'."""
    minutes, rest = divmod(round(seconds, 1), 60)
    return f"{minutes:.0f}:{rest:04.1f}"
