"""What a lower precision costs and saves: VGGish in bfloat16 and int8, YAMNet in int8, beside float32; and VGGish in
float32 with TensorFlow's own convolutions, not Winograd's. One thread.

All patches of ESC-10. Value: milliseconds of a core a patch. Floor: float32's, divided by the factor that is the goal.
The notes say how near the vectors are to float32's, as they are and without the mean of all vectors, which all have in
common; and the accuracy over ESC-10's five folds of a logistic regression on mean vectors: trained on vectors of that
precision, and trained on float32's and given those of that precision. VGGish has random weights of the official layout:
what its head reaches says what rounding does to a head, and nothing of what VGGish reaches.

YAMNet in int8 is not offered; this is why. Expected before measuring: VGGish 1.4 x and 2 x, YAMNet no faster;
cosines of .999 and more; accuracies that differ by a clip or two.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt

from bench.clips import shared_folder
from bench.result import LeftOutError, Result
from bench.weights import random_vggish, weights_folder
from embeddings.encoders import EncoderSettings, load_encoder
from embeddings.encoding.vggish_model import Floats
from embeddings.encoding.yamnet import PATCHES_AT_ONCE, WEIGHTS_NAME, Yamnet
from embeddings.logmel import Patches
from ingest.audio.clip import Waveform
from ingest.audio.windows import read_clip

GOALS = {"vggish bfloat16": 1.2, "vggish int8": 1.8}
"""How many times as fast as float32."""
COSINE = 0.999
"""Of the worst patch, where there is a goal."""

Encode = Callable[[Patches], Any]


@dataclass(frozen=True, slots=True)
class Clips:
    """ESC-10: waveforms at 16 kHz, and for each its class (its folder) and fold (what its name begins with)."""

    waveforms: list[Waveform]
    classes: npt.NDArray[np.str_]
    folds: npt.NDArray[np.str_]


def run() -> list[Result]:
    """Raises LeftOutError without ESC-10."""
    shared = shared_folder()
    if shared is None:
        raise LeftOutError("EARSHOT_SHARED does not name the folder with ESC-10")
    paths = sorted((shared / "esc10").rglob("*.ogg"))
    clips = Clips(
        [read_clip(path).waveform for path in paths],
        np.array([path.parent.name for path in paths]),
        np.array([path.name[0] for path in paths]),
    )
    vggish = random_vggish()
    others: list[tuple[str, Encode]] = [("float32, plain graph", random_vggish(plain=True).encode_patches)]
    others += [(precision, random_vggish(precision=precision).encode_patches) for precision in ("bfloat16", "int8")]
    results = _compare("vggish", clips, vggish.patches, vggish.encode_patches, others)
    folder = weights_folder()
    if folder is None or not (folder / WEIGHTS_NAME).is_file():
        return results
    yamnet = load_encoder("yamnet", EncoderSettings(weights_dir=folder))
    assert isinstance(yamnet, Yamnet)
    with TemporaryDirectory() as made:
        others = [("int8", _yamnet_int8(folder / WEIGHTS_NAME, Path(made, "yamnet.tflite")))]
        return results + _compare("yamnet", clips, yamnet.patches, yamnet.encode_patches, others)


def _yamnet_int8(weights: Path, path: Path) -> Encode:
    from embeddings.encoding.yamnet_model import DIM, load_yamnet
    from embeddings.runtimes.litert import LiteRtModel
    from embeddings.runtimes.tf import to_litert

    path.write_bytes(to_litert(load_yamnet(weights), "int8"))
    model = LiteRtModel(path, rows_at_once=PATCHES_AT_ONCE)
    return lambda patches: model(patches, DIM)


def _compare(
    name: str, clips: Clips, patches_of: Callable[[Waveform], Patches], exact: Encode, others: list[tuple[str, Encode]]
) -> list[Result]:
    patches = [patches_of(waveform) for waveform in clips.waveforms]
    ends = np.cumsum([len(p) for p in patches])[:-1]
    every = np.concatenate(patches)

    def means(vectors: Floats) -> Floats:
        return np.array([rows.mean(axis=0) for rows in np.split(vectors, ends)])

    expected, exact_ms = _timed(exact, every)
    own = _accuracy(clips, means(expected), means(expected))
    results = [Result(f"{name} float32", exact_ms, exact_ms, "ms", "none set", True, f"accuracy {own:.4f}")]
    for precision, encode in others:
        vectors, ms = _timed(encode, every)
        near, centred = _cosines(vectors, expected), _cosines(vectors, expected, expected.mean(axis=0))
        own, given = (_accuracy(clips, means(seen), means(vectors)) for seen in (vectors, expected))
        factor = GOALS.get(case := f"{name} {precision}")
        results.append(
            Result(
                f"{case}, {exact_ms / ms:.2f} x float32", ms, exact_ms / (factor or 1), "ms",
                f"{factor:g} x and cosines of {COSINE:g}" if factor else "none set",
                factor is None or bool(exact_ms / ms >= factor and near.min() >= COSINE),
                f"cosine at least {near.min():.5f}, median {np.median(near):.5f}, without the mean "
                f"{centred.min():.4f}, {np.median(centred):.4f}; accuracy {own:.4f}, of float32's head {given:.4f}",
            )
        )  # fmt: skip
    return results


def _timed(encode: Encode, patches: Patches) -> tuple[Floats, float]:
    """Vectors, and milliseconds of a core for each patch."""
    encode(patches[:64])  # what is made at first use is made now
    begin = time.process_time()
    vectors = encode(patches)
    return vectors, 1e3 * (time.process_time() - begin) / len(patches)


def _cosines(a: Floats, b: Floats, origin: Floats | float = 0.0) -> Floats:
    a, b = a - origin, b - origin
    return np.asarray((a * b).sum(axis=1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1))


def _accuracy(clips: Clips, seen: Floats, asked: Floats) -> float:
    """Share of clips that a head names right, which was trained on `seen` of the other folds and is given `asked`."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    right = 0
    for fold in np.unique(clips.folds):
        held = clips.folds == fold
        head = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=1000))
        head.fit(seen[~held], clips.classes[~held])
        right += (head.predict(asked[held]) == clips.classes[held]).sum()
    return float(right) / len(clips.classes)
