"""The programs that run exported models: which there are, and one call of a model in each."""

import importlib
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.export.onnx_file import OnnxFile, first_line

# Name -> the module that is imported, and the extra of this project that brings it where it is not always there.
RUNTIMES: dict[str, tuple[str, str | None]] = {
    "torch": ("torch", None),
    "onnxruntime": ("onnxruntime", None),
    "openvino": ("openvino", "openvino"),
}

Call = Callable[[], object]


def check_runtimes(names: Sequence[str]) -> None:
    """Refuse runtimes that do not exist or are not installed, before any work is done.

    Raises
    ------
    CoppiceError
        With the command that installs what is missing.

    Examples
    --------
    >>> check_runtimes(["torch", "onnxruntimes"])
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: there is no runtime 'onnxruntimes'. Did you mean 'onnxruntime'?
    """
    if not names:
        raise CoppiceError(f"no runtime is given. {did_you_mean('', RUNTIMES)}")
    for name in names:
        runtime(name)


def runtime(name: str) -> ModuleType:
    """Import a runtime.

    Raises
    ------
    CoppiceError
        If it does not exist or is not installed.
    """
    if name not in RUNTIMES:
        raise CoppiceError(f"there is no runtime {name!r}. {did_you_mean(name, RUNTIMES)}")
    module, extra = RUNTIMES[name]
    try:
        return importlib.import_module(module)
    except ImportError as error:
        package = f"coppice[{extra}]" if extra else module
        raise CoppiceError(f"runtime {name!r} is not installed; install it with: pip install '{package}'.") from error


def torch_call(network: nn.Module, clip: Float32[np.ndarray, "1 *shape"]) -> Call:
    """Return a call of a network in eager PyTorch; in eval mode, it and the threads are the caller's business."""
    example = torch.from_numpy(clip)

    def call() -> object:
        with torch.inference_mode():
            return network(example)

    return call


def onnxruntime_call(model: OnnxFile, clip: Float32[np.ndarray, "1 *shape"], *, threads: int) -> Call:
    """Return a call of an ONNX model in ONNX Runtime on the CPU."""
    session = _onnxruntime_session(model, threads)
    inputs = {session.get_inputs()[0].name: clip}
    return _tried(lambda: session.run(None, inputs), model, "ONNX Runtime")


def openvino_call(model: OnnxFile, clip: Float32[np.ndarray, "1 *shape"], *, threads: int) -> Call:
    """Return a call of an ONNX model in OpenVINO on the CPU, in float32: it would take bfloat16 where it can."""
    openvino = runtime("openvino")
    try:
        core = openvino.Core()
        network = core.read_model(model.content)
        network.reshape(clip.shape)
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        request = core.compile_model(network, "CPU", settings).create_infer_request()
    except Exception as error:  # its exceptions have no common class of their own
        raise CoppiceError(f"OpenVINO cannot run {model.name}: {first_line(error)}.") from error
    tensor = openvino.Tensor(clip)
    return _tried(lambda: request.infer([tensor]), model, "OpenVINO")


def onnxruntime_posteriors(
    model: OnnxFile, *, threads: int
) -> Callable[[Float32[np.ndarray, "clips *shape"]], Float[np.ndarray, "clips classes"]]:
    """Return a function from a batch of inputs to the output ``posteriors``, computed by ONNX Runtime."""
    session = _onnxruntime_session(model, threads)

    def posteriors(clips: Float32[np.ndarray, "clips *shape"]) -> Float[np.ndarray, "clips classes"]:
        return session.run(["posteriors"], {session.get_inputs()[0].name: clips})[0]

    return posteriors


def _onnxruntime_session(model: OnnxFile, threads: int) -> Any:
    onnxruntime = runtime("onnxruntime")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 4
    # Its threads would go on spinning while another runtime is measured.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    try:
        return onnxruntime.InferenceSession(model.content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class of their own
        raise CoppiceError(f"ONNX Runtime cannot run {model.name}: {first_line(error)}.") from error


def _tried(call: Call, model: OnnxFile, name: str) -> Call:
    """Call once: what a runtime cannot compute shows then, and is said in one sentence."""
    try:
        call()
    except Exception as error:
        raise CoppiceError(f"{name} cannot run {model.name}: {first_line(error)}.") from error
    return call
