"""Touches disk, processes and threads: runs models with LiteRT, converting them once from official weights.

The converted model is kept in the cache folder under the weights' SHA-256 and the definition's version, so that a new
weight file, or a new definition, makes a new one.
"""

import logging
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings.hush import hushed_stderr
from embeddings.weights import cache_folder
from ingest.errors import WeightsError

log = logging.getLogger("earshot.litert")

CONVERSION_TIMEOUT_S = 300
BATCH = 3
"""Rows in one call: few enough for their activations to stay in the cache, and a fifth quicker a row than one alone."""

Floats = npt.NDArray[np.float32]


def converted_model(weights: Path, sha256: str, *, module: str, version: int) -> Path:
    """The LiteRT form of a weight file; converted on the first call (about 15 s), in a process of its own.

    Args:
        sha256: of `weights`.
        module: a program that is called with the weights and the path to write, and writes it whole or not at all.
        version: of the module's definition; raise it when the model that it writes changes.
    Raises:
        WeightsError: the weights do not fit the definition, or the conversion failed.
    """
    model = cache_folder() / "litert" / f"{weights.stem}-{sha256[:16]}-v{version}.tflite"
    if model.is_file():
        return model
    log.warning("%s: converting for LiteRT, once; about 15 s", weights.name)
    model.parent.mkdir(parents=True, exist_ok=True)
    root = str(Path(__file__).resolve().parents[1])
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, "-W", "ignore", "-m", module, str(weights), str(model)]
    try:
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=CONVERSION_TIMEOUT_S, check=False
        )
        complaint = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "no message")
    except (OSError, subprocess.TimeoutExpired) as error:
        complaint = str(error)
    if not model.is_file():
        raise WeightsError(
            f"{weights}: could not be converted for LiteRT ({complaint.removeprefix('ingest.errors.WeightsError: ')}); "
            f"check the file: earshot weights verify {weights.name}"
        )
    return model


class LiteRtModel:
    """A LiteRT model of one input and several outputs, told apart by their last dimension.

    Any number of threads may call it at once: each gets interpreters of its own at its first call (10 ms, 20 MB for
    YAMNet), which live as long as the thread and the model. An interpreter gives up the GIL while it works.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        self._path, self._threads = path, threads
        self._local = threading.local()

    def __call__(self, rows: Floats, output_dim: int) -> Floats:
        """Run rows by threes, what is left one by one: float32 [n, ...] -> float32 [n, output_dim]."""
        out = np.empty((len(rows), output_dim), np.float32)
        done = 0
        while done < len(rows):
            size = BATCH if len(rows) - done >= BATCH else 1
            out[done : done + size] = self._runner(size)(rows[done : done + size], output_dim)
            done += size
        return out

    def _runner(self, batch: int) -> Callable[[Floats, int], Floats]:
        runners: dict[int, Callable[[Floats, int], Floats]] = self._local.__dict__.setdefault("runners", {})
        if batch not in runners:
            runners[batch] = _make_runner(self._path, self._threads, batch)
        return runners[batch]


def open_interpreter(path: Path, threads: int = 1) -> Any:
    """A LiteRT interpreter, ready to run. Not thread-safe: one for each thread.

    The first one of a process announces its delegate on standard error; people did not ask for that.
    """
    from ai_edge_litert.interpreter import Interpreter

    with hushed_stderr():
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


def _make_runner(path: Path, threads: int, batch: int) -> Callable[[Floats, int], Floats]:
    interpreter = open_interpreter(path, threads)
    (source,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(source["index"], [batch, *source["shape"][1:]])
    interpreter.allocate_tensors()
    outputs = {int(detail["shape"][-1]): detail["index"] for detail in interpreter.get_output_details()}

    def run(rows: Floats, output_dim: int) -> Floats:
        interpreter.set_tensor(source["index"], rows)
        interpreter.invoke()
        result: Floats = interpreter.get_tensor(outputs[output_dim])
        return result

    return run
