"""What listens in a command: a checkpoint, a published network, or a file that was exported."""

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from coppice.export.onnx_classifier import OnnxClassifier
    from coppice.networks.classifier import Classifier


def open_hearing(model: Path, *, threads: int = 1) -> "Classifier | OnnxClassifier":
    """Read a network that can listen: ONNX files run in ONNX Runtime with so many threads, all others in PyTorch."""
    if model.suffix.lower() == ".onnx":
        from coppice.export.onnx_classifier import load_onnx

        return load_onnx(model, threads=threads)
    from coppice.networks.loading import load

    return load(model)
