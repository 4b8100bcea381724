"""What listens in a command: a checkpoint, a published network, or a file that was exported."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from coppice.export.onnx_classifier import OnnxClassifier
    from coppice.networks.classifier import Classifier

HearingRuntime = Annotated[
    str | None,
    typer.Option(
        "--runtime",
        help="torch, onnxruntime, openvino or c; if not given torch, for .onnx onnxruntime.",
    ),
]


def open_hearing(model: Path, *, threads: int = 1, runtime: str | None = None) -> "Classifier | OnnxClassifier":
    """Read a network that can listen: ONNX files run in ONNX Runtime with so many threads, all others in PyTorch."""
    if model.suffix.lower() == ".onnx":
        from coppice.export.onnx_classifier import load_onnx

        return load_onnx(model, runtime="onnxruntime" if runtime is None else runtime, threads=threads)
    from coppice.networks.loading import load

    classifier = load(model)
    if runtime is None or runtime == "torch":
        return classifier
    from coppice.export.onnx import onnx_model
    from coppice.export.onnx_classifier import heard_by

    return heard_by(runtime, onnx_model(classifier, name=str(model)), threads=threads)
