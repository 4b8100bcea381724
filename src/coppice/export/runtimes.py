"""The programs that run exported models: which there are, and one call of a model in each.

Nothing here loads torch before it is used, so that the memory of the other runtimes can be measured without it.
"""

import importlib
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float, Float32

from coppice.core.errors import CoppiceError, did_you_mean

if TYPE_CHECKING:
    from torch import nn

    from coppice.export.litert.model_file import LiteRTFile
    from coppice.export.onnx_file import OnnxFile
    from coppice.export.openvino_file import OpenVINOFile

# Name -> the module that is imported, and the extra of this project that brings it where it is not always there.
RUNTIMES: dict[str, tuple[str, str | None]] = {
    "torch": ("torch", None),
    "onnxruntime": ("onnxruntime", None),
    "openvino": ("openvino", "openvino"),
    "litert": ("ai_edge_litert.interpreter", "litert"),
    "c": ("coppice.compiler.runtime", None),  # a floor above, so imported by its name when it is used
}

Call = Callable[[], object]
Posteriors = Callable[[Float32[np.ndarray, "clips *shape"]], Float[np.ndarray, "clips classes"]]


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


def torch_call(network: "nn.Module", clip: Float32[np.ndarray, "1 *shape"]) -> Call:
    """Return a call of a network in eager PyTorch; in eval mode, it and the threads are the caller's business."""
    import torch

    example = torch.from_numpy(clip)

    def call() -> object:
        with torch.inference_mode():
            return network(example)

    return call


def onnxruntime_call(model: "OnnxFile", clip: Float32[np.ndarray, "1 *shape"], *, threads: int) -> Call:
    """Return a call of an ONNX model in ONNX Runtime on the CPU."""
    session = _onnxruntime_session(model, threads)
    inputs = {session.get_inputs()[0].name: clip}
    return _tried(lambda: session.run(None, inputs), model.name, "ONNX Runtime")


def openvino_call(model: "OnnxFile | OpenVINOFile", clip: Float32[np.ndarray, "1 *shape"], *, threads: int) -> Call:
    """Return a call of an ONNX model or of OpenVINO's own format in OpenVINO on the CPU.

    Numbers that are not int8 are computed in float32: it would take bfloat16 where it can.
    """
    request = _openvino_request(model, clip.shape, threads)
    tensor = runtime("openvino").Tensor(clip)
    return _tried(lambda: request.infer([tensor]), model.name, "OpenVINO")


def litert_call(model: "LiteRTFile", clip: Float32[np.ndarray, "1 *shape"], *, threads: int) -> Call:
    """Return a call of a LiteRT model on the CPU, with XNNPACK's kernels where it has them."""
    interpreter = _litert_interpreter(model, threads)
    number = interpreter.get_input_details()[0]["index"]

    def call() -> object:
        interpreter.set_tensor(number, clip)
        return interpreter.invoke()

    return _tried(call, model.name, "LiteRT")


def c_call(model: "OnnxFile", clip: Float32[np.ndarray, "1 *shape"], *, threads: int) -> Call:
    """Return a call of an ONNX model as machine code, compiled by way of Coppice's own C."""
    _one_thread(threads)
    call: Call = runtime("c").call(model, clip)
    return call


def c_posteriors(model: "OnnxFile", *, threads: int) -> Posteriors:
    """Return a function from a batch of inputs to the output ``posteriors``, compiled by way of Coppice's own C."""
    _one_thread(threads)
    posteriors: Posteriors = runtime("c").posteriors(model)
    return posteriors


def _one_thread(threads: int) -> None:
    if threads != 1:
        raise CoppiceError(f"threads is {threads}, and C runs on one; give 1, or another runtime.")


def onnxruntime_posteriors(model: "OnnxFile", *, threads: int) -> Posteriors:
    """Return a function from a batch of inputs to the output ``posteriors``, computed by ONNX Runtime."""
    session = _onnxruntime_session(model, threads)

    def posteriors(clips: Float32[np.ndarray, "clips *shape"]) -> Float[np.ndarray, "clips classes"]:
        return session.run(["posteriors"], {session.get_inputs()[0].name: clips})[0]

    return posteriors


def openvino_posteriors(model: "OnnxFile | OpenVINOFile", *, threads: int) -> Posteriors:
    """Return a function from a batch of inputs to the output ``posteriors``, computed by OpenVINO clip by clip."""
    request = _openvino_request(model, (1, *model.clip_shape), threads)
    tensor = runtime("openvino").Tensor

    def posteriors(clips: Float32[np.ndarray, "clips *shape"]) -> Float[np.ndarray, "clips classes"]:
        return np.concatenate([request.infer([tensor(clip[None])])["posteriors"].copy() for clip in clips])

    return posteriors


def litert_posteriors(model: "LiteRTFile", *, threads: int) -> Posteriors:
    """Return a function from a batch of inputs to the output ``posteriors``, computed by LiteRT clip by clip."""
    signature = _litert_interpreter(model, threads).get_signature_runner()
    (name,) = signature.get_input_details()

    def posteriors(clips: Float32[np.ndarray, "clips *shape"]) -> Float[np.ndarray, "clips classes"]:
        return np.concatenate([signature(**{name: clip[None]})["posteriors"] for clip in clips])

    return posteriors


def _onnxruntime_session(model: "OnnxFile", threads: int) -> Any:
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


def _openvino_request(model: "OnnxFile | OpenVINOFile", shape: tuple[int, ...], threads: int) -> Any:
    openvino = runtime("openvino")
    try:
        core = openvino.Core()
        weights = getattr(model, "weights", None)
        if weights is None:
            network = core.read_model(model.content)
        else:
            network = core.read_model(model.content, openvino.Tensor(np.frombuffer(weights, np.uint8)))
        network.reshape(shape)
        settings = {"INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        return core.compile_model(network, "CPU", settings).create_infer_request()
    except Exception as error:  # its exceptions have no common class of their own
        raise CoppiceError(f"OpenVINO cannot run {model.name}: {first_line(error)}.") from error


def _litert_interpreter(model: "LiteRTFile", threads: int) -> Any:
    litert = runtime("litert")
    try:
        with silenced():
            interpreter = litert.Interpreter(model_content=model.content, num_threads=threads)
            interpreter.allocate_tensors()
    except Exception as error:  # its exceptions have no common class of their own
        raise CoppiceError(f"LiteRT cannot run {model.name}: {first_line(error)}.") from error
    return interpreter


@contextmanager
def silenced() -> Iterator[None]:
    """Keep what LiteRT says of its kernels off the standard error stream, which it writes to by itself."""
    sys.stderr.flush()
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _tried(call: Call, model: str, name: str) -> Call:
    """Call once: what a runtime cannot compute shows then, and is said in one sentence."""
    try:
        call()
    except Exception as error:
        raise CoppiceError(f"{name} cannot run {model}: {first_line(error)}.") from error
    return call


def first_line(error: BaseException) -> str:
    r"""Return the first line of an error's message that says something, without its full stop.

    Examples
    --------
    >>> first_line(ValueError("\n  no such operator.\nat line 3"))
    'no such operator'
    """
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(("Exception from src/", "Check '"))] or lines  # of OpenVINO
    return said[0].rstrip(".;:")[:200] if said else type(error).__name__
