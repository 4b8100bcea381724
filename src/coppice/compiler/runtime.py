"""C as a runtime of exported models: what :mod:`coppice.export.runtimes` imports under the name ``c``."""

from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Float32

from coppice import __version__ as __version__
from coppice.compiler.compiled import CompiledNetwork, compile_planned
from coppice.compiler.planned import planned
from coppice.compiler.programs import file_program, precision_of
from coppice.export.onnx_file import OnnxFile


def call(model: Any, clip: Float32[np.ndarray, "clips *shape"]) -> Callable[[], object]:
    """Return a call of an ONNX model, compiled for this processor, with one input.

    Parameters
    ----------
    model : OnnxFile
        Or anything with its ``name`` and ``content``. What was rounded to 8 bits computes in int8.
    clip : ndarray of float32

    Raises
    ------
    CoppiceError
        If there is no C compiler, or an operator has no C.
    """
    return compiled(OnnxFile(model.name, model.content, clip.shape[1:], {})).call(clip)


def posteriors(model: OnnxFile) -> CompiledNetwork:
    """Return a function from a batch of inputs to the output ``posteriors``, compiled for this processor."""
    return compiled(model)


def compiled(model: OnnxFile) -> CompiledNetwork:
    """Compile an ONNX model for this processor."""
    program = file_program(model)
    return compile_planned(planned(program, precision=precision_of(program)), model.clip_shape)
