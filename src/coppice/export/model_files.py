"""Model files of all formats that can be timed: read by what they are, and where each of them runs."""

from collections.abc import Callable
from pathlib import Path

from coppice.core.errors import CoppiceError
from coppice.export.litert.model_file import LiteRTFile, read_litert
from coppice.export.onnx_file import OnnxFile, read_onnx
from coppice.export.openvino_file import OpenVINOFile, read_openvino
from coppice.export.runtimes import RUNTIMES
from coppice.networks.classifier import Classifier

ModelFile = OnnxFile | OpenVINOFile | LiteRTFile
Runnable = Classifier | ModelFile

_READERS: dict[str, Callable[[Path], ModelFile]] = {".onnx": read_onnx, ".xml": read_openvino, ".tflite": read_litert}


def is_model_file(path: Path) -> bool:
    """Say whether a path names a file for a runtime, which can be timed but not pruned.

    Examples
    --------
    >>> is_model_file(Path("a.onnx")), is_model_file(Path("a.safetensors"))
    (True, False)
    """
    return path.suffix.lower() in {*_READERS, ".pt2"}


def read_model_file(path: str | Path) -> ModelFile:
    """Read an exported file: ``.onnx``, ``.xml`` with its ``.bin``, ``.tflite``.

    Raises
    ------
    CoppiceError
        If it is missing, cut off or damaged, has another ending, or its runtime is not installed.

    Examples
    --------
    >>> read_model_file("a.pt2")
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: a.pt2 is not read, because loading a .pt2 file can run code that is in it; give
    the checkpoint that it was exported from.
    """
    path = Path(path)
    ending = path.suffix.lower()
    if ending == ".pt2":
        raise CoppiceError(
            f"{path} is not read, because loading a .pt2 file can run code that is in it; give the checkpoint that it "
            "was exported from."
        )
    if ending not in _READERS:
        raise CoppiceError(f"{path} ends in {ending!r}; files that runtimes run end in {', '.join(_READERS)}.")
    return _READERS[ending](path)


def runs_in(model: Runnable) -> tuple[str, ...]:
    """Return the runtimes that can run a model, a classifier by way of an export.

    Examples
    --------
    >>> runs_in(OnnxFile("a.onnx", b"", (1,), {}))
    ('onnxruntime', 'openvino', 'c')
    """
    if isinstance(model, Classifier):
        return tuple(RUNTIMES)
    if isinstance(model, OnnxFile):
        return ("onnxruntime", "openvino", "c")
    return ("openvino",) if isinstance(model, OpenVINOFile) else ("litert",)
