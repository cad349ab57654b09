"""`earshot plot`: what the hand-crafted features see of a sound, as a picture."""

import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from app.cli import end_with_failures
from app.options.numbers import FiniteRange
from app.options.places import AudioType, HereType
from ingest.errors import AudioError, EmptyAudioError, UsageError

if TYPE_CHECKING:
    from ingest.audio.clip import Clip
    from ingest.places.arrow_folder import ArrowFolder
    from ingest.places.folder import AudioPath

FORMATS = (".png", ".svg", ".pdf")
SHOWN_LETTERS = 12


@click.command(
    epilog="""\b
Examples:
  earshot plot street.wav --out street.png
  earshot plot street.wav --start 60 --seconds 30 --out street.svg
  earshot plot recordings/ --out pictures          a folder: a PNG for each

Waveform, log-mel spectrogram, MFCC, chroma and spectral shape on one time axis, and the tempo. A file that cannot be
drawn is named on standard error and the others go on.
"""
)
@click.argument("audio", nargs=-1, required=True, type=AudioType())
@click.option("--out", required=True, type=HereType(), help="A .png, .svg or .pdf, or a folder.")
@click.option(
    "--start",
    "start_s",
    type=FiniteRange(0),
    default=0.0,
    show_default=True,
    metavar="S",
    help="Where to begin, in seconds.",
)
@click.option("--seconds", type=FiniteRange(0.1, 600), default=10.0, show_default=True, metavar="S",
              help="How much to show.")  # fmt: skip
def command(audio: "tuple[Path | ArrowFolder, ...]", out: Path, start_s: float, seconds: float) -> None:
    """Draw the features of audio files, or of folders of them: one calm picture a file."""
    from app.predicting import find_audio

    targets = _targets([item.path for item in find_audio(audio)], out)
    failed, missing = 0, dict[str, None]()
    for path, target in targets.items():
        try:
            clip = _read(path, start_s, seconds)
        except AudioError as error:
            failed += 1
            click.echo(f"earshot: {error}", err=True)
            continue
        missing |= dict.fromkeys(_draw(clip, Path(path.name).name, target))
        click.echo(target)
    if missing:
        click.echo(_as_note("".join(missing)), err=True)
    end_with_failures(failed, len(targets), "drawn")


def _targets(audio: "list[AudioPath]", out: Path) -> "dict[AudioPath, Path]":
    """File -> its picture, each of its own name.

    Raises:
        UsageError: one picture for several files, or a file that would be no picture.
    """
    paths = list(dict.fromkeys(audio))
    if out.suffix.lower() in FORMATS and not out.is_dir():
        if len(paths) > 1:
            raise UsageError(f"--out: {out} is one picture and there are {len(paths)} files; name a folder")
        return {paths[0]: out}
    if (out.suffix or out.exists()) and not out.is_dir():
        raise UsageError(f"--out: takes a {', '.join(FORMATS)} or a folder, got {out}; make it first if it is a folder")
    taken: set[Path] = set()
    targets = {}
    for path in paths:
        stem = Path(path.name).stem
        number, target = 1, out / f"{stem}.png"
        while target in taken:
            number += 1
            target = out / f"{stem}-{number}.png"
        taken.add(target)
        targets[path] = target
    return targets


def _read(path: "AudioPath", start_s: float, seconds: float) -> "Clip":
    """The stretch of a file that is to be drawn; what lies before it is read and let go of.

    Raises:
        AudioError: the file cannot be read that far, or ends before `start_s`.
    """
    import numpy as np

    from ingest.audio.clip import Clip
    from ingest.audio.windows import read_windows

    window_s = 1.0
    parts: list[Any] = []
    first_s, rate = 0.0, 16_000
    for clip in read_windows(path, window_s=window_s, min_tail_s=0):
        if clip.start_s + clip.duration_s > start_s:
            first_s = first_s if parts else clip.start_s
            parts.append(clip.waveform)
        rate = clip.sample_rate
        if clip.start_s + window_s >= start_s + seconds:
            break
    skipped = round((start_s - first_s) * rate)
    waveform = np.concatenate(parts)[skipped : skipped + round(seconds * rate)] if parts else np.zeros(0, np.float32)
    if not len(waveform):
        raise EmptyAudioError(str(path), f"ends before {start_s:g} s", "give a smaller --start")
    return Clip(str(path), waveform, rate, start_s)


def _draw(clip: "Clip", name: str, target: Path) -> str:
    """Write the picture; returns the letters of the name that it could not show."""
    import matplotlib

    from embeddings.lettering import letter
    from embeddings.plot import draw_features
    from ingest.places.files import atomic_path

    title, format_ = letter(name), target.suffix[1:].lower()
    written_out = format_ == "svg"  # its text stays text, and whoever shows it has fonts for it
    figure = draw_features(clip.waveform, title.text if written_out else title.drawable, clip.start_s, title.families)
    target.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(target) as temporary,
        matplotlib.rc_context({"svg.fonttype": "none"}),
        warnings.catch_warnings(),
    ):
        warnings.filterwarnings("ignore", "Glyph .* missing")  # only measured with the wrong font
        figure.savefig(temporary, format=format_)
    return "" if written_out else title.missing


def _as_note(missing: str) -> str:
    some = f"{missing[:SHOWN_LETTERS]} ..." if len(missing) > SHOWN_LETTERS else missing
    return (
        f"note: no font of this machine has {some}, so titles have […] instead; draw .svg, which a browser writes "
        "with its own fonts, or install a font that has them, e.g. Noto"
    )
