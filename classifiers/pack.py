"""Makes a bundle small enough to travel with the code: the light form of its head only. Touches the disk."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.bundle import MODEL_FILE, PCA_FILE, SOURCES_FILE, check_free, read_info, write_sums
from classifiers.heads import HeadRow, head_row
from embeddings.litert import open_interpreter
from embeddings.tf import LiteWeights, import_keras, to_litert
from ingest.errors import UsageError
from ingest.files import atomic_folder

CARD_FILE = "card.md"
MAX_BYTES = 8_000_000
"""Of a bundle in data/models: what a clone should not have to wait for."""


def pack(folder: Path, out: Path, weights: LiteWeights = "float32") -> int:
    """Copy a bundle without its full form and its report; returns the size in bytes.

    Args:
        weights: how a LiteRT head stores its weights; arrays of other heads become float32 at most.
    Raises:
        UsageError: weights are asked for that this head does not have, or that only its full form can give, which is
            not there; `out` is the model itself, or holds something else.
    """
    row = head_row(read_info(folder).head)
    if weights != "float32" and Path(row.light_file).suffix != ".tflite":
        raise UsageError(f"--weights: head {row.name} stores {row.light_file}, which has no {weights}; leave it out")
    if weights != "float32" and not (folder / row.full_file).is_file():
        raise UsageError(
            f"--weights: {weights} is made from {row.full_file}, and {folder} has none: it is packed already"
        )
    if out.resolve() == folder.resolve():
        raise UsageError(f"--out: {out} is the model itself, and would lose its full form; name another folder")
    check_free(out)
    with atomic_folder(out) as temporary:
        for name in (SOURCES_FILE, PCA_FILE, CARD_FILE, MODEL_FILE):
            if (folder / name).is_file():
                shutil.copyfile(folder / name, temporary / name)
        _write_light(folder, temporary / row.light_file, row, weights)
        write_sums(temporary)
    return bundle_bytes(out)


def bundle_bytes(folder: Path) -> int:
    """The size of all files of a bundle."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _write_light(folder: Path, target: Path, row: HeadRow, weights: LiteWeights) -> None:
    light = folder / row.light_file
    if light.suffix == ".npz":
        with np.load(light, allow_pickle=False) as arrays:
            np.savez_compressed(target, **{name: _narrow(arrays[name]) for name in arrays.files})
    elif weights == "float32":
        shutil.copyfile(light, target)
    else:
        target.write_bytes(_converted_again(folder / row.full_file, light, weights))


def _narrow(values: Any) -> Any:
    return values.astype(np.float32) if values.dtype == np.float64 else values


def _converted_again(full: Path, light: Path, weights: LiteWeights) -> bytes:
    """The Keras head converted once more, with the inputs that its light form has."""
    keras = import_keras()
    details = open_interpreter(light).get_signature_runner().get_input_details()
    inputs = {
        name: keras.Input(batch_shape=tuple(map(int, d["shape"])), dtype=np.dtype(d["dtype"]).name, name=name)
        for name, d in details.items()
    }
    model = keras.models.load_model(full)
    return to_litert(keras.Model(list(inputs.values()), model(inputs)), weights)
