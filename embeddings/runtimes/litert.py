"""Touches disk, processes and threads: runs models with LiteRT, converting them once from official weights.

The converted model is kept in the cache folder under the weights' SHA-256, its precision and the definition's version,
so that a new weight file, or a new definition, makes a new one.
"""

import logging
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embeddings.runtimes.hush import hushed_stderr
from embeddings.weights import cache_folder
from ingest.errors import WeightsError

log = logging.getLogger("earshot.litert")

CONVERSION_TIMEOUT_S = 900
Floats = npt.NDArray[np.float32]


def converted_model(
    weights: Path, sha256: str, *, module: str, version: int, precision: str = "float32", takes: str = "about 15 s"
) -> Path:
    """The LiteRT form of a weight file; converted on the first call, in a process of its own.

    Args:
        sha256: of `weights`.
        module: a program that is called with the weights and the path to write, and writes it whole or not at all.
        version: of the module's definition; raise it when the model that it writes changes.
        precision: of the model that the module writes.
        takes: what people are told before they wait.
    Raises:
        WeightsError: the weights do not fit the definition, or the conversion failed.
    """
    form = "" if precision == "float32" else f"-{precision}"
    model = cache_folder() / "litert" / f"{weights.stem}-{sha256[:16]}{form}-v{version}.tflite"
    if model.is_file():
        return model
    log.warning("%s: converting for LiteRT, once; %s", weights.name, takes)
    model.parent.mkdir(parents=True, exist_ok=True)
    root = str(Path(__file__).resolve().parents[2])
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

    Any number of threads may call it at once: a call takes an interpreter that no other uses, or makes one (for YAMNet
    30 ms and 40 MB, for VGGish in int8 130 ms and 80 MB), which lives as long as the model. An interpreter gives up the
    GIL while it works.

    Args:
        rows_at_once: the most in one call of the interpreter.
    """

    def __init__(self, path: Path, threads: int = 1, *, rows_at_once: int) -> None:
        self._path, self._threads, self._rows_at_once = path, threads, rows_at_once
        self._idle: list[_Runner] = []

    def __call__(self, rows: Floats, output_dim: int) -> Floats:
        """Run rows in equal calls: float32 [n, ...] -> float32 [n, output_dim]. A row's company changes nothing."""
        if not len(rows):
            return np.empty((0, output_dim), np.float32)
        calls = np.array_split(rows, -(-len(rows) // self._rows_at_once))
        with self._runner() as runner:
            return np.concatenate([runner(call, output_dim) for call in calls])

    @contextmanager
    def _runner(self) -> Iterator["_Runner"]:
        try:
            runner = self._idle.pop()
        except IndexError:
            runner = _Runner(self._path, self._threads)
        yield runner
        self._idle.append(runner)  # not after an error: who knows what it has left behind


def open_interpreter(path: Path, threads: int = 1) -> Any:
    """A LiteRT interpreter, ready to run. Not thread-safe: one for each thread.

    The first one of a process announces its delegate on standard error; people did not ask for that.
    """
    from ai_edge_litert.interpreter import Interpreter

    with hushed_stderr():
        interpreter = Interpreter(str(path), num_threads=threads)
        interpreter.allocate_tensors()
    return interpreter


class _Runner:
    """An interpreter that takes any number of rows: another number than before costs it 0.1 ms. Not thread-safe."""

    def __init__(self, path: Path, threads: int) -> None:
        self._interpreter = open_interpreter(path, threads)
        (self._source,) = self._interpreter.get_input_details()
        self._outputs = {int(detail["shape"][-1]): detail["index"] for detail in self._interpreter.get_output_details()}
        self._rows = 0

    def __call__(self, rows: Floats, output_dim: int) -> Floats:
        index = self._source["index"]
        if len(rows) != self._rows:
            self._interpreter.resize_tensor_input(index, [len(rows), *self._source["shape"][1:]])
            self._interpreter.allocate_tensors()
            self._rows = len(rows)
        self._interpreter.set_tensor(index, rows)
        self._interpreter.invoke()
        result: Floats = self._interpreter.get_tensor(self._outputs[output_dim])
        return result
