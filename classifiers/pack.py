"""Makes a bundle small enough to travel with the code: the light form of its head only. Touches the disk."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np

from classifiers.bundle import (
    MODEL_FILE,
    PCA_FILE,
    SOURCES_FILE,
    check_free,
    load_bundle,
    read_info,
    require_whole,
    write_sums,
)
from classifiers.heads import HeadRow, head_row
from embeddings.runtimes.litert import open_interpreter
from embeddings.runtimes.tf import LiteWeights, import_keras, to_litert
from ingest.errors import UsageError
from ingest.places.files import atomic_folder

CARD_FILE = "card.md"
MAX_BYTES = 8_000_000
"""Of a bundle in data/models: what a clone should not have to wait for."""


def pack(folder: Path, out: Path, weights: LiteWeights | None = None) -> int:
    """Copy a bundle without its full form and its report; returns the size in bytes.

    Args:
        weights: how a LiteRT head shall store its weights, None for as they are; arrays of other heads become float32
            at most.
    Raises:
        UsageError: weights are asked for that this head does not have, or that only its full form can give, which is
            not there; `out` is the model itself or a folder around it, or holds something else.
        FormatError: the bundle is damaged: the copy's checksums would vouch for it.
    """
    row = head_row(read_info(folder).head)
    if weights and Path(row.light_file).suffix != ".tflite":
        raise UsageError(f"--weights: head {row.name} stores {row.light_file}, which has no {weights}; leave it out")
    if weights and not (folder / row.full_file).is_file():
        raise UsageError(
            f"--weights: {weights} is made from {row.full_file}, and {folder} has none: it is packed already; pack the "
            "model that it was made from, or leave --weights out"
        )
    if folder.resolve().is_relative_to(out.resolve()):
        raise UsageError(f"--out: {out} is or holds the model itself, which would be lost; name another folder")
    check_free(out)
    load_bundle(folder)
    for name in (SOURCES_FILE, PCA_FILE, row.full_file):
        if (folder / name).is_file():
            require_whole(folder / name)
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


def _write_light(folder: Path, target: Path, row: HeadRow, weights: LiteWeights | None) -> None:
    light = folder / row.light_file
    if light.suffix == ".npz":
        with np.load(light, allow_pickle=False) as arrays:
            np.savez_compressed(target, **{name: _narrow(arrays[name]) for name in arrays.files})
    elif weights:
        target.write_bytes(converted_again(folder / row.full_file, light, weights))
    else:
        shutil.copyfile(light, target)


def _narrow(values: Any) -> Any:
    return values.astype(np.float32) if values.dtype == np.float64 else values


def converted_again(full: Path, light: Path, weights: LiteWeights) -> bytes:
    """The Keras head converted once more, with the inputs that its light form has."""
    keras = import_keras()
    details = open_interpreter(light).get_signature_runner().get_input_details()
    inputs = {
        name: keras.Input(batch_shape=tuple(map(int, d["shape"])), dtype=np.dtype(d["dtype"]).name, name=name)
        for name, d in details.items()
    }
    model = keras.models.load_model(full)
    return to_litert(keras.Model(list(inputs.values()), model(inputs)), weights)
