"""`earshot embed`: audio -> an embedding store."""

import json
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ingest.errors import EarshotError, UsageError

if TYPE_CHECKING:
    from embeddings.embed import Summary
    from embeddings.encoders import EncoderSettings
    from ingest.clip import AudioItem

SHOWN_FAILURES = 5


@click.command(
    epilog="""\b
Examples:
  earshot embed sounds --encoder yamnet --out emb             a folder of any audio files
  earshot embed clips --encoder vggish --out emb              a folder that `earshot ingest` made, with its labels
  earshot embed clips --encoder yamnet-128 --fit-pca --out emb
  earshot embed clips --encoder vggish-hub --model ~/vggish_1 --out emb

Stopped at any moment, the same command goes on where it was. Files that failed are tried again.
"""
)
@click.argument("audio", metavar="AUDIO_DIR_OR_MANIFEST", type=click.Path(path_type=Path))
@click.option(
    "--encoder", required=True, metavar="NAME", help="yamnet, yamnet-128, vggish, vggish-pca, handcrafted ..."
)
@click.option(
    "--out", required=True, type=click.Path(path_type=Path), help="Folder of the store, new or to be continued."
)
@click.option("--weights", type=click.Path(path_type=Path), help="A folder with weight files of your own.")
@click.option("--precision", metavar="NAME", help="float32 or, where the encoder has it, bfloat16.")
@click.option(
    "--resampler",
    type=click.Choice(["soxr", "resampy"]),
    default="soxr",
    show_default=True,
    help="resampy is the reference's own, and far slower.",
)
@click.option(
    "--workers", type=click.IntRange(1), help="Threads that read, and threads that encode; all cores by default."
)
@click.option("--pca", type=click.Path(path_type=Path), help="The npz with the projection of yamnet-128.")
@click.option("--fit-pca", is_flag=True, help="Fit the projection of yamnet-128 on this audio first, into the store.")
@click.option("--model", metavar="HANDLE_OR_DIR", help="The SavedModel of vggish-hub or yamnet-hub.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(  # noqa: PLR0917 - click passes them all by name
    audio: Path,
    encoder: str,
    out: Path,
    weights: Path | None,
    precision: str | None,
    resampler: str,
    workers: int | None,
    pca: Path | None,
    fit_pca: bool,
    model: str | None,
    as_json: bool,
) -> None:
    """Turn audio into embeddings: Parquet in a folder, one row per window of at most ten seconds."""
    from app.progress import ClipBar
    from embeddings.embed import EmbedSettings, embed
    from embeddings.encoders import EncoderSettings, encoder_row, load_encoder
    from embeddings.fit import PCA_FILE
    from embeddings.store import ABOUT_FILE, EmbeddingStore
    from ingest.manifest import MANIFEST, keep_columns

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
    items = _items(audio)
    embed_settings = EmbedSettings(**({"workers": workers} if workers else {}))
    settings = EncoderSettings(weights_dir=weights, precision=precision, pca=pca, model=model)
    if fit_pca:
        settings = replace(settings, pca=_fit(items, out, settings, embed_settings.workers, resampler))
    elif encoder == "yamnet-128" and not pca and (out / PCA_FILE).exists():
        settings = replace(settings, pca=out / PCA_FILE)
    loaded = load_encoder(encoder, settings)
    store = EmbeddingStore.create(out, replace(loaded.spec, resampler=resampler))
    manifest = audio / MANIFEST if audio.is_dir() else audio
    if manifest.suffix == ".parquet" and manifest.is_file():
        keep_columns(manifest, out / ABOUT_FILE)
    with ClipBar() as bar:
        summary = embed(items, loaded, store, embed_settings, progress=bar)
    click.echo(json.dumps(_as_json(summary, encoder, out)) if as_json else _as_text(summary, encoder, out))
    if len(summary.failures) == len(items):
        raise EarshotError(f"{audio}: none of its {len(items)} files could be embedded; see {out / 'failures.parquet'}")


def _items(audio: Path) -> "list[AudioItem]":
    from ingest.manifest import AUDIO_SUFFIXES, read_items

    items: list[AudioItem] = read_items(audio)
    if not items:
        raise UsageError(f"{audio}: no audio found; name a folder with {', '.join(sorted(AUDIO_SUFFIXES))} files")
    return items


def _refuse_early(out: Path, encoder: str, resampler: str) -> None:
    """What can be known about a store before the encoder is loaded, which takes seconds."""
    from embeddings.store import SPEC_FILE, EmbeddingStore

    if (out / SPEC_FILE).exists():
        store = EmbeddingStore.open(out)
        store.require(replace(store.spec, encoder=encoder, resampler=resampler))


def _fit(items: "list[AudioItem]", out: Path, settings: "EncoderSettings", workers: int, resampler: str) -> Path:
    from embeddings.fit import PCA_FILE, fitted_projection

    verb = "using" if (out / PCA_FILE).exists() else "fitting"
    click.echo(f"{verb} the projection {out / PCA_FILE}", err=True)
    return fitted_projection(items, out, settings, workers=workers, resampler=resampler)


def _as_json(summary: "Summary", encoder: str, out: Path) -> dict[str, Any]:
    return {
        "store": str(out),
        "encoder": encoder,
        "items": summary.items,
        "done_before": summary.done_before,
        "embedded": summary.embedded,
        "failed": summary.failed,
        "silent": list(summary.silent),
        "rows": summary.rows,
        "audio_s": round(summary.audio_s, 3),
        "seconds": round(summary.seconds, 3),
        "times_real_time": round(summary.times_real_time, 1),
    }


def _as_text(summary: "Summary", encoder: str, out: Path) -> str:
    lines = [
        f"{out}: {summary.embedded} of {summary.items} clips embedded with {encoder}, {summary.done_before} were there"
        f": {summary.rows} new rows, {timedelta(seconds=round(summary.audio_s))} of audio in {summary.seconds:.1f} s, "
        f"{summary.times_real_time:.0f} x real time"
    ]
    if summary.failures:
        kinds = ", ".join(f"{count} {kind}" for kind, count in summary.failed.items())
        lines.append(f"{len(summary.failures)} failed ({kinds}), all in {out / 'failures.parquet'}:")
        lines += [f"  {f.path}: {f.rule}; {f.remedy}" for f in summary.failures[:SHOWN_FAILURES]]
    if summary.silent:
        some = ", ".join(summary.silent[:3]) + (" ..." if len(summary.silent) > 3 else "")
        lines.append(
            f"warning: {len(summary.silent)} clips hold windows of nothing but zeros (digital silence): {some}"
        )
    return "\n".join(lines)
