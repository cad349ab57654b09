"""Touches the disk: shows weights to be what they say they are, by their SHA-256 and by published expectations.

Source: `vggish_smoke_test.py` and `yamnet_test.py` (tensorflow/models, research/audioset).
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from embeddings.encoders import EncoderSettings, load_encoder
from embeddings.weights import WEIGHTS, look_up
from ingest.audio.clip import Waveform
from ingest.errors import WeightsError

SAMPLE_RATE = 16_000


@dataclass(frozen=True, slots=True)
class Check:
    """One expectation: what was looked at, what was expected and seen, as text, and whether they agree."""

    what: str
    expected: str
    seen: str
    ok: bool


def sine(frequency_hz: float, seconds: float) -> Waveform:
    """A full-scale sine, float32 [samples] at 16 kHz."""
    t = np.arange(round(seconds * SAMPLE_RATE)) / SAMPLE_RATE
    return np.sin(2 * np.pi * frequency_hz * t).astype(np.float32)


def check_vggish(weights_dir: Path | None) -> list[Check]:
    """Raw embeddings of 3 s of a 1 kHz sine: mean 0.000657 and standard deviation 0.343, within 10 %."""
    (vectors,) = load_encoder("vggish", EncoderSettings(weights_dir=weights_dir)).encode([sine(1000, 3)])
    return [
        _within("1 kHz sine, mean of the raw embedding", 0.000657, float(vectors.mean()), 0.1 * 0.000657),
        _within("1 kHz sine, standard deviation of the raw embedding", 0.343, float(vectors.std()), 0.1 * 0.343),
    ]


def check_vggish_pca(weights_dir: Path | None) -> list[Check]:
    """Post-processed embeddings of the same sine: mean 126.0 and standard deviation 89.3, within 10 %."""
    (vectors,) = load_encoder("vggish-pca", EncoderSettings(weights_dir=weights_dir)).encode([sine(1000, 3)])
    return [
        _within("1 kHz sine, mean of the post-processed embedding", 126.0, float(vectors.mean()), 12.6),
        _within("1 kHz sine, standard deviation of the post-processed embedding", 89.3, float(vectors.std()), 8.93),
    ]


def check_yamnet(weights_dir: Path | None) -> list[Check]:
    """Silence is Silence; White noise is among the first three of white noise, Sine wave among the ten of a sine."""
    from embeddings.encoding.yamnet import Yamnet
    from ingest.audioset.labels import display_name, load_labels

    encoder = load_encoder("yamnet", EncoderSettings(weights_dir=weights_dir))
    assert isinstance(encoder, Yamnet)
    names = [display_name(mid) for mid in load_labels().yamnet]
    noise = np.random.default_rng(51).uniform(-1, 1, 3 * SAMPLE_RATE).astype(np.float32)
    sounds = (
        ("silence", np.zeros(3 * SAMPLE_RATE, np.float32), "Silence", 1),
        ("white noise", noise, "White noise", 3),
        ("440 Hz sine", sine(440, 3), "Sine wave", 10),
    )
    checks = []
    for what, waveform, expected, first in sounds:
        scores = encoder.scores(encoder.patches(waveform)).mean(axis=0)
        best = [names[i] for i in np.argsort(-scores)[:first]]
        checks.append(Check(what, f"{expected} among the first {first}", ", ".join(best), expected in best))
    return checks


@dataclass(frozen=True, slots=True)
class SelfCheck:
    """How a weight file is put to the test, and the weights that this needs."""

    run: Callable[[Path | None], list[Check]]
    needs: tuple[str, ...]


SELF_CHECKS: dict[str, SelfCheck] = {
    "vggish_model.ckpt": SelfCheck(check_vggish, ("vggish_model.ckpt",)),
    "vggish_pca_params.npz": SelfCheck(check_vggish_pca, ("vggish_model.ckpt", "vggish_pca_params.npz")),
    "yamnet.h5": SelfCheck(check_yamnet, ("yamnet.h5",)),
}


def verify(name: str, weights_dir: Path | None = None) -> list[Check]:
    """All that can be said of one weight file: is it there, is it the official one, does it do what is published.

    Raises:
        UsageError: no such name.
    """
    found = look_up(name, weights_dir)
    official = WEIGHTS[name].sha256
    if found is None:
        return [Check(f"{name}: file", f"SHA-256 {official[:12]}", "missing", False)]
    sha256 = Check(f"{name}: SHA-256", official[:12], found.sha256[:12], found.official)
    missing = [needed for needed in SELF_CHECKS[name].needs if look_up(needed, weights_dir) is None]
    if missing:
        return [sha256, Check(f"{name}: self-check", "run", f"needs {', '.join(missing)}", False)]
    try:
        return [sha256, *SELF_CHECKS[name].run(weights_dir)]
    except WeightsError as error:
        return [sha256, Check(f"{name}: self-check", "run", str(error), False)]


def _within(what: str, expected: float, seen: float, tolerance: float) -> Check:
    return Check(what, f"{expected:g} ± {tolerance:.2g}", f"{seen:.4g}", abs(seen - expected) <= tolerance)
