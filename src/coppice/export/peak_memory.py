"""How much memory a model takes in a runtime, measured in a process of its own."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from coppice.core.errors import CoppiceError

if TYPE_CHECKING:
    from coppice.export.model_files import Runnable

_CHILD = "coppice.export.peak_memory_child"
_SECONDS = 120


def peak_memory_bytes(model: "Runnable", runtime: str, *, threads: int = 1) -> int | None:
    """Measure the largest resident memory while a model is loaded and runs, minus that before it is loaded.

    A fresh process imports the runtime, then reads the model from a file and runs one clip three times.

    Parameters
    ----------
    model : Classifier, OnnxFile, OpenVINOFile or LiteRTFile
        What runs in the runtime as it is: a classifier in torch, files elsewhere.
    runtime : str
        Of :data:`coppice.export.runtimes.RUNTIMES`.
    threads : int >= 1
        Of the runtime.

    Returns
    -------
    int or None
        Bytes; None where it cannot be measured: on other systems than Linux, and for a network of somebody's own class,
        which no other process can build.

    Raises
    ------
    CoppiceError
        If the runtime fails in that process.
    """
    if not Path("/proc/self/clear_refs").exists():
        return None
    with tempfile.TemporaryDirectory() as folder:
        try:
            place = _written(model, Path(folder))
        except CoppiceError:
            return None
        shape = getattr(model, "clip_shape", None) or model.input_shape[1:]  # type: ignore[union-attr]
        argv = [sys.executable, "-m", _CHILD, runtime, str(threads), str(place), *map(str, shape)]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
        try:
            done = subprocess.run(argv, capture_output=True, text=True, timeout=_SECONDS, env=environment, check=False)
        except subprocess.TimeoutExpired as error:
            raise CoppiceError(
                f"{runtime} took more than {_SECONDS} s for three clips; its memory is not known."
            ) from error
    said = done.stdout.split()
    if done.returncode or not said:
        if runtime == "torch":
            return None
        reason = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        raise CoppiceError(f"the memory of {runtime} could not be measured: {reason[:200]}.")
    return int(said[-1])


def _written(model: Any, folder: Path) -> Path:
    weights = getattr(model, "weights", None)
    content = getattr(model, "content", None)
    if content is None:
        from coppice.networks.checkpoint import save

        return save(model, folder / "model.safetensors")
    place = folder / "model"
    place.write_bytes(content)
    if weights is not None:
        place.with_suffix(".bin").write_bytes(weights)
    return place
