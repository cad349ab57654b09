"""`earshot demo`: the whole pipeline on this machine, no downloads needed."""

import json
import shutil
from pathlib import Path
from typing import Any

import click

from app.commands.places import HereType, WeightsType


@click.command(
    epilog="""\b
Examples:
  earshot demo --out demo
  earshot demo --out demo --weights ~/weights     with a yamnet.h5 of your own
"""
)
@click.option("--out", type=HereType(), default=Path("demo"), show_default=True, help="Folder for it all.")
@click.option("--weights", type=WeightsType(), help="A folder with your own yamnet.h5.")
@click.option("--seed", default=1, show_default=True, help="Of the synthetic sounds.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def command(out: Path, weights: Path | None, seed: int, as_json: bool) -> None:
    """Make city sounds, embed them, train two heads, evaluate, predict, report: in under three minutes."""
    from app.demo import DemoSettings, run_demo

    result = run_demo(
        DemoSettings(out=out, seed=seed, weights_dir=weights),
        say=lambda line: click.echo(line, err=as_json),
    )
    click.echo(json.dumps(result) if as_json else _summary(result))


def _summary(result: dict[str, Any]) -> str:
    rows = [f"  {'head':<12} {'accuracy':>8} {'balanced':>8} {'mAP':>8}   on held-out recordings"]
    rows += [
        f"  {head:<12} {m['accuracy']:8.3f} {m['balanced_accuracy']:8.3f} {m['mAP']:8.3f}   n = {m['n']}"
        for head, m in result["results"].items()
    ]
    heard = result["prediction"]["files"][0]["windows"][0]["scores"]
    likeliest = sorted(heard.items(), key=lambda item: -item[1])[:3]
    activate = [] if shutil.which("earshot") else ["  . .venv/bin/activate"]
    return "\n".join(
        [
            "",
            *rows,
            "",
            f"one sound:  {Path(result['sample']).name} sounds like "
            + ", ".join(f"{name} {p:.2f}" for name, p in likeliest),
            f"report:     {result['report']}  (open it in a browser)",
            f"took:       {result['seconds']:.0f} s with {result['encoder']} embeddings of synthetic sounds:",
            "            the figures show that the road works, not how well it would do on a street",
            "",
            "Next, on real sounds:",
            *activate,
            "  earshot weights fetch yamnet.h5                         the real encoder's weights, once",
            "  earshot ingest folder YOUR_SOUNDS --out clips           a folder per class",
            "  earshot embed clips --encoder yamnet --out emb",
            "  earshot train emb --head attention --out model",
            "  earshot predict model ANY_FILE.wav",
            "  earshot app --model model                               or let it listen, in a browser",
        ]
    )
