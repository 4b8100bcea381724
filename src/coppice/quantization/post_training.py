"""Post-training quantization of an ONNX graph to int8, by NNCF."""

import os
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import onnx
from jaxtyping import Float32

from coppice.core.errors import CoppiceError
from coppice.export.onnx_file import OnnxFile
from coppice.export.runtimes import first_line
from coppice.export.traced import quiet

_NO_TELEMETRY = "NNCF_CI"


def nncf() -> ModuleType:
    """Import NNCF, without the reports that it would send to its makers about its use.

    Raises
    ------
    CoppiceError
        If it is not installed.
    """
    before = os.environ.get(_NO_TELEMETRY)
    os.environ[_NO_TELEMETRY] = "1"
    try:
        with quiet():
            import nncf
            import nncf.quantization.advanced_parameters
            import nncf.quantization.range_estimator
    except ImportError as error:
        raise CoppiceError("int8 needs NNCF, which is not installed; install it with: pip install nncf.") from error
    finally:
        if before is None:
            del os.environ[_NO_TELEMETRY]
        else:
            os.environ[_NO_TELEMETRY] = before
    return nncf


def rounded_graph(model: OnnxFile, inputs: Float32[np.ndarray, "clips *shape"], *, in_float: Sequence[str] = ()) -> Any:
    """Return an ONNX model with weights in int8 and activations rounded to 8 bit, by one ``QuantizeLinear`` each.

    Weights are symmetric with one scale per filter; activations have one scale and zero point each, from the smallest
    and largest value on any of the clips; biases are corrected layer by layer for the mean error of the layers before.

    Two choices are not NNCF's own. It would take the mean of the clips' extremes, which clips loud sounds: on ESC-10's
    validation clips that moves posteriors three times as far. And all weights keep 7 bits: processors without VNNI add
    two products in 16 bits, where those of 8-bit weights do not fit. With them a published network of the DCASE 2022
    system of Singh and Plumbley changes its class on a third of the clips on such a processor, and with 7 bits on none
    more than elsewhere.

    Parameters
    ----------
    model : OnnxFile
        Float32, with one input.
    inputs : ndarray of float32, shape (clips, ...)
        What ranges and biases are measured on.
    in_float : sequence of str
        Nodes that stay as they are.

    Returns
    -------
    onnx.ModelProto
        Of the same opset, names and metadata.

    Raises
    ------
    CoppiceError
        If NNCF is not installed or cannot quantize the graph.
    """
    engine = nncf()
    graph = onnx.load_model_from_string(model.content)
    name = graph.graph.input[0].name
    settings = engine.AdvancedQuantizationParameters(
        overflow_fix=engine.OverflowFix.ENABLE,
        # Runtimes take one scale for all channels of what they multiply; NNCF gives depthwise layers one for each.
        activations_quantization_params=engine.quantization.advanced_parameters.QuantizationParameters(
            per_channel=False
        ),
        activations_range_estimator_params=engine.quantization.range_estimator.RangeEstimatorParametersSet.MINMAX,
    )
    try:
        with quiet():
            return engine.quantize(
                graph,
                engine.Dataset(list(inputs[:, None]), lambda clip: {name: clip}),
                preset=engine.QuantizationPreset.MIXED,
                subset_size=len(inputs),
                fast_bias_correction=False,
                ignored_scope=engine.IgnoredScope(names=list(in_float)),
                advanced_parameters=settings,
            )
    except Exception as error:  # its exceptions, and those of the runtime within it, have no common class
        raise CoppiceError(f"NNCF cannot quantize {model.name}: {first_line(error)}.") from error
