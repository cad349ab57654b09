"""`earshot embed`: audio -> an embedding store."""

import json
import os
import shlex
from contextlib import ExitStack
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.options.engine import engine_options, start_engine
from app.options.places import AudioType, HereType, StoreType, WeightsType
from ingest.counted import counted
from ingest.engines.engine import EngineSettings
from ingest.errors import EarshotError, UsageError

if TYPE_CHECKING:
    from embeddings.embed import EmbedSettings, Summary
    from embeddings.encoders import EncoderSettings
    from ingest.audio.clip import AudioItem
    from ingest.places.arrow_folder import ArrowFolder
    from ingest.places.folder import Folder, LocalFolder

SHOWN_FAILURES = 5


@click.command(
    epilog="""\b
Examples:
  earshot embed sounds --encoder yamnet --out emb             a folder of any audio files
  earshot embed clips --encoder vggish --out emb              a folder that `earshot ingest` made, with its labels
  earshot embed clips --encoder yamnet-128 --fit-pca --out emb
  earshot embed clips --encoder vggish-hub --model ~/vggish_1 --out emb
  earshot embed /data/clips --encoder yamnet --out s3://bucket/emb --engine ray --ray-address head:6379

Stopped at any moment, the same command goes on where it was. Files that failed are tried again.
"""
)
@click.argument("audio", metavar="AUDIO_DIR_OR_MANIFEST", type=AudioType())
@click.option(
    "--encoder", required=True, metavar="NAME", help="yamnet, yamnet-128, vggish, vggish-pca, handcrafted ..."
)
@click.option(
    "--out", required=True, type=StoreType(), help="Folder of the store, new or to be continued; s3:// and gs:// too."
)
@click.option("--weights", type=WeightsType(), help="A folder with weight files of your own.")
@click.option("--precision", metavar="NAME", help="float32, or bfloat16 or int8 where the encoder has it.")
@click.option(
    "--resampler",
    type=click.Choice(["soxr", "resampy"]),
    default="soxr",
    show_default=True,
    help="resampy is the reference's own, and far slower.",
)
@engine_options(local_workers="Threads that read, and threads that encode; all cores by default.")
@click.option("--pca", type=HereType(), help="The npz with the projection of yamnet-128.")
@click.option("--fit-pca", is_flag=True, help="Fit the projection of yamnet-128 on this audio first, into the store.")
@click.option("--model", metavar="HANDLE_OR_DIR", help="The SavedModel of vggish-hub or yamnet-hub.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(  # noqa: PLR0917 - click passes them all by name
    audio: "Path | ArrowFolder",
    encoder: str,
    out: "LocalFolder | ArrowFolder",
    weights: Path | None,
    precision: str | None,
    resampler: str,
    engine: EngineSettings,
    pca: Path | None,
    fit_pca: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """Turn audio into embeddings: Parquet in a folder, one row per window of at most ten seconds."""
    from app.terminal.progress import ClipBar
    from embeddings.embed import embed_on, load_for_worker, spec_of
    from embeddings.encoders import EncoderSettings, encoder_row
    from embeddings.fit import PCA_FILE
    from embeddings.store import EmbeddingStore
    from ingest.manifest import ABOUT_FILE, keep_columns

    row = encoder_row(encoder)
    _refuse_early(out, encoder, resampler)
    if encoder != "yamnet-128" and (fit_pca or pca):
        raise UsageError(
            f"{'--fit-pca' if fit_pca else '--pca'}: only yamnet-128 has a projection, not {encoder}; leave it out"
        )
    if model and row.engine != "tensorflow-hub":
        raise UsageError(f"--model: is for vggish-hub and yamnet-hub, not {encoder}; leave it out")
    if fit_pca and pca:
        raise UsageError("--fit-pca: fits a projection, and --pca names one; leave one of the two out")
    if pca and not pca.is_file():
        raise UsageError(f"--pca: there is no file {pca}; name the {PCA_FILE} of a store that was made with --fit-pca")
    where = start_engine(engine)
    items = _items(audio)
    embed_settings = _embed_settings(engine)
    settings = EncoderSettings(weights_dir=weights, precision=precision, pca=pca, model=model)
    if fit_pca:
        _fit(items, out, settings, embed_settings.workers, resampler)
    with ExitStack() as stack:
        if encoder == "yamnet-128" and not pca and out.has(PCA_FILE):
            settings = replace(settings, pca=stack.enter_context(out.local(PCA_FILE)))
        workers = stack.enter_context(where.workers(load_for_worker, encoder, settings, _projection(settings)))
        ((_, spec),) = workers.run(spec_of, [None])
        store = EmbeddingStore.create(out, replace(spec, resampler=resampler))
        keep_columns(audio, out, ABOUT_FILE)
        bar = stack.enter_context(ClipBar())
        summary = embed_on(workers, items, store, embed_settings, audio=_whole(audio), progress=bar)
    nothing, following = len(summary.failures) == len(items), _following(items, out)
    if as_json:
        click.echo(json.dumps(_as_json(summary, encoder, out) | {"next": None if nothing else following}))
    else:
        click.echo(_as_text(summary, encoder, out) + ("" if nothing else f"\nnext: {following}"))
    if nothing:
        raise EarshotError(
            f"{audio}: 0 of {counted(len(items), 'file')} could be embedded; see {out.at('failures.parquet')}"
        )


def _following(items: "list[AudioItem]", out: "Folder") -> str:
    """What a store is for: to learn from its labels, or to be told what is in it."""
    store, labelled = shlex.quote(str(out)), any(item.mids for item in items)
    return f"earshot train {store} --out MODEL" if labelled else f"earshot predict MODEL {store}"


def _embed_settings(engine: EngineSettings) -> "EmbedSettings":
    """On a cluster every worker is a process with one thread of each kind; here it is one process with all threads."""
    from embeddings.embed import EmbedSettings

    threads = engine.workers if engine.name == "local" else 1
    return EmbedSettings(workers=threads) if threads else EmbedSettings()


def _projection(settings: "EncoderSettings") -> bytes | None:
    """The projection's bytes: its file need not be where the workers are."""
    return settings.pca.read_bytes() if settings.pca and settings.pca.is_file() else None


def _items(audio: "Path | ArrowFolder") -> "list[AudioItem]":
    from ingest.manifest import AUDIO_SUFFIXES, read_items

    items: list[AudioItem] = read_items(audio)
    if not items:
        raise UsageError(f"{audio}: no audio found; name a folder with {', '.join(sorted(AUDIO_SUFFIXES))} files")
    return items


def _whole(audio: "Path | ArrowFolder") -> str:
    """What is embedded, by one name however it is written: runs on it know each other's failures by that."""
    from ingest.manifest import MANIFEST

    if not isinstance(audio, Path):
        return str(audio)
    return os.path.abspath(audio.parent if audio.name == MANIFEST else audio)  # noqa: PTH100 - links stay


def _refuse_early(out: "Folder", encoder: str, resampler: str) -> None:
    """What can be known about a store before the encoder is loaded, which takes seconds."""
    from classifiers.bundle import MODEL_FILE
    from embeddings.store import SPEC_FILE, EmbeddingStore, read_spec

    if out.has(MODEL_FILE):
        raise UsageError(f"--out: {out} is a model; name another folder for the store")
    if out.has(SPEC_FILE):
        store = EmbeddingStore(out, read_spec(out))
        store.require(replace(store.spec, encoder=encoder, resampler=resampler))


def _fit(items: "list[AudioItem]", out: "Folder", settings: "EncoderSettings", workers: int, resampler: str) -> None:
    from embeddings.fit import PCA_FILE, fit_projection

    verb = "using" if out.has(PCA_FILE) else "fitting"
    click.echo(f"{verb} the projection {out.at(PCA_FILE)}", err=True)
    fit_projection(items, out, settings, workers=workers, resampler=resampler)


def _as_json(summary: "Summary", encoder: str, out: "Folder") -> dict[str, Any]:
    return {
        "store": str(out),
        "encoder": encoder,
        "items": summary.items,
        "done_before": summary.done_before,
        "embedded": summary.embedded,
        "failed": summary.failed,
        "silent": list(summary.silent),
        "outdated": list(summary.outdated),
        "changed": list(summary.changed),
        "unlisted": list(summary.unlisted),
        "copies": summary.copies,
        "rows": summary.rows,
        "audio_s": round(summary.audio_s, 3),
        "seconds": round(summary.seconds, 3),
        "times_real_time": round(summary.times_real_time, 1),
    }


def _as_text(summary: "Summary", encoder: str, out: "Folder") -> str:
    lines = [
        f"{out}: {summary.embedded:,} of {counted(summary.items, 'clip')} embedded with {encoder}, "
        f"{summary.done_before:,} {'was' if summary.done_before == 1 else 'were'} there: "
        f"{counted(summary.rows, 'new row')}, {timedelta(seconds=round(summary.audio_s))} of audio in "
        f"{summary.seconds:.1f} s, {summary.times_real_time:.0f} x real time"
    ]
    if summary.failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.failed.items())
        lines.append(f"{len(summary.failures)} failed ({kinds}), all in {out.at('failures.parquet')}:")
        lines += [f"  {f.path}: {f.rule}; {f.remedy}" for f in summary.failures[:SHOWN_FAILURES]]
    if summary.silent:
        lines.append(
            f"warning: {counted(len(summary.silent), 'clip')} with windows of nothing but zeros (digital silence): "
            f"{_some(summary.silent)}"
        )
    if summary.outdated:
        lines.append(
            f"warning: {counted(len(summary.outdated), 'clip')} with other labels, folds or sources now than when "
            f"embedded, and the store keeps the old ones: {_some(summary.outdated)}; embed anew to another --out"
        )
    if summary.changed:
        lines.append(
            f"warning: {counted(len(summary.changed), 'file')} changed since the embedding, and the store "
            f"keeps the old sounds: {_some(summary.changed)}; embed anew to another --out"
        )
    if summary.copies:
        some = _some(tuple(f"{one} as {other}" for one, other in summary.copies))
        lines.append(
            f"warning: copies that count as other recordings, the same to the byte ({len(summary.copies):,}): {some}; "
            "a head would be tested on what it was taught: take one of each out, or list both with one source"
        )
    if summary.unlisted:
        lines.append(
            f"note: the store also holds {counted(len(summary.unlisted), 'clip')} of which nothing is here: "
            f"{_some(summary.unlisted)}; if removed or moved, embed anew to another --out"
        )
    return "\n".join(lines)


def _some(keys: tuple[str, ...]) -> str:
    return ", ".join(keys[:3]) + (" ..." if len(keys) > 3 else "")
