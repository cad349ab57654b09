"""Touches the disk: what was trained becomes a bundle with its pages for people, the report and the card."""

from pathlib import Path

from classifiers.bundle import save_bundle
from classifiers.report.examples import choose_examples
from classifiers.report.page import render_card, render_report
from classifiers.report.players import load_players
from classifiers.train import Trained


def save_model(folder: str | Path, trained: Trained, *, pca: Path | None = None) -> None:
    """Write a bundle whole or not at all, what `earshot train --out` does; one that is there already is replaced.

    Args:
        pca: the projection of the encoder that made the store (`pca.npz` in its folder), to travel along.
    Raises:
        UsageError: the folder holds something else.
    """
    measured = trained.measured
    players = load_players(choose_examples(measured)) if measured else {}
    pages = {
        "report.html": render_report(trained.info, measured, players=players),
        "card.md": render_card(trained.info),
    }
    save_bundle(Path(folder), trained.info, trained.head, sources=trained.sources, pages=pages, pca=pca)
