"""What an ONNX file holds and computes, read off its graph: values by number format, and MACs of one clip."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper, shape_inference

from coppice.audio.front_end import FrontEnd
from coppice.challenge.storage import Storage
from coppice.core.errors import CoppiceError
from coppice.export.onnx_file import OnnxFile
from coppice.export.posterior_graph import WAVEFORM

# Operator -> where its weight and its bias stand among the inputs; QLinear ones have scales and zero points between.
_PRODUCTS: dict[str, tuple[int, ...]] = {
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Gemm": (1, 2),
    "MatMul": (0, 1),
    "ConvInteger": (1,),
    "MatMulInteger": (0, 1),
    "QLinearConv": (3, 8),
    "QLinearMatMul": (0, 3),
}
_UNCOUNTED = ("LSTM", "GRU", "RNN", "Einsum", "Loop", "Scan", "If", "Attention", "DeformConv")
_HANDS_ON = ("DequantizeLinear", "QuantizeLinear", "Cast", "Identity", "Transpose", "Reshape", "Squeeze", "Unsqueeze")


@dataclass(frozen=True)
class OnnxCount:
    """What was counted.

    Attributes
    ----------
    storage : Storage
        Weights, biases and other constants of the graph, at the number formats in which the file has them; scales and
        zero points of quantization are not among them.
    scale_bytes : int
        Of these scales and zero points.
    macs : int
        Of one clip: convolutions and matrix products, without biases.
    front_end : FrontEnd or None
        What the file says that the network hears; None where it does not, as files from elsewhere.
    """

    storage: Storage
    scale_bytes: int
    macs: int
    front_end: FrontEnd | None


def count_onnx(file: OnnxFile) -> OnnxCount:
    """Count an ONNX file.

    Parameters
    ----------
    file : OnnxFile
        From :func:`coppice.export.onnx_file.read_onnx`; of a network alone, since the rules do not count features.

    Raises
    ------
    CoppiceError
        If the front end is inside, an operator has no rule, or a shape depends on what the graph computes.

    Examples
    --------
    >>> import torch
    >>> from coppice.audio.front_end import front_end
    >>> from coppice.export.onnx import onnx_model
    >>> from coppice.networks.classifier import Classifier
    >>> from coppice.networks.surrey2022 import Surrey2022
    >>> one = Classifier(Surrey2022(), front_end("surrey2022"), tuple("abcdefghij"), None, None)
    >>> found = count_onnx(onnx_model(one))
    >>> found.macs, found.storage.weight_formats
    (5369960, {'float32': 57824})
    """
    if file.metadata.get("input") == WAVEFORM:
        raise CoppiceError(
            f"{file.name} has its front end inside, which the rules do not count; export the network without it."
        )
    model = onnx.load_model_from_string(file.content)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1
    shapes = _shapes(model, file.name)
    constants = dict(_constants(model.graph))
    makers = {out: node for node in model.graph.node for out in node.output}
    weights: set[str] = set()
    macs = 0
    for node in model.graph.node:
        if node.op_type in _UNCOUNTED or (node.domain not in ("", "ai.onnx") and node.op_type not in _PRODUCTS):
            raise CoppiceError(f"{file.name} has the operator {node.op_type}, whose products are not counted here.")
        if node.op_type in _PRODUCTS:
            macs += _macs(node, shapes, file.name)
            for place in _PRODUCTS[node.op_type]:
                weights |= _behind(node.input[place], makers, constants) if place < len(node.input) else set()
    scales = {name for node in model.graph.node for name in _scales_of(node)} & constants.keys()
    return OnnxCount(
        # A number that stands alone is part of the program, as the slope of an activation or the power of a norm is.
        storage=_storage(
            {name: array for name, array in constants.items() if array.ndim and name not in scales}, weights
        ),
        scale_bytes=sum(constants[name].nbytes for name in scales),
        macs=macs,
        front_end=_front_end_in(file),
    )


def _front_end_in(file: OnnxFile) -> FrontEnd | None:
    try:
        return FrontEnd.from_dict(json.loads(file.metadata["front_end"]))
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError, CoppiceError):
        return None


def _shapes(model: Any, name: str) -> dict[str, tuple[int, ...]]:
    del model.graph.value_info[:]
    for value in model.graph.output:  # said with a free axis, which is 1 now
        value.type.tensor_type.ClearField("shape")
    try:
        inferred = shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        raise CoppiceError(f"{name} does not say its shapes ({str(error).splitlines()[0][:120]}).") from error
    graph = inferred.graph
    shapes = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    for value in (*graph.input, *graph.value_info, *graph.output):
        dims = value.type.tensor_type.shape.dim
        if value.type.tensor_type.HasField("shape") and all(dim.HasField("dim_value") for dim in dims):
            shapes[value.name] = tuple(dim.dim_value for dim in dims)
    return shapes


def _constants(graph: Any) -> Iterator[tuple[str, np.ndarray]]:
    """Yield tensors of numbers that are stored; whole numbers of 64 bits are shapes and axes."""
    for tensor in graph.initializer:
        if tensor.data_type != onnx.TensorProto.INT64:
            yield tensor.name, numpy_helper.to_array(tensor)
    for node in graph.node:
        if node.op_type == "Constant":
            for attribute in node.attribute:
                if attribute.name == "value" and attribute.t.data_type != onnx.TensorProto.INT64:
                    yield node.output[0], numpy_helper.to_array(attribute.t)


def _macs(node: Any, shapes: dict[str, tuple[int, ...]], name: str) -> int:
    try:
        out = int(np.prod(shapes[node.output[0]]))
        if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
            return out * int(np.prod(shapes[node.input[_PRODUCTS[node.op_type][0]]][1:]))
        if node.op_type == "ConvTranspose":
            return int(np.prod(shapes[node.input[0]])) * int(np.prod(shapes[node.input[1]][1:]))
        attributes = {one.name: helper.get_attribute_value(one) for one in node.attribute}
        return out * shapes[node.input[0]][-2 if attributes.get("transA") else -1]
    except KeyError as error:
        raise CoppiceError(f"{name}: the shape of {error} in {node.op_type} {node.name!r} is not known.") from error


def _behind(name: str, makers: dict[str, Any], constants: dict[str, np.ndarray]) -> set[str]:
    """Return the stored tensor that an operator reads, through what only changes its format or shape."""
    while name not in constants:
        node = makers.get(name)
        if node is None or node.op_type not in _HANDS_ON:
            return set()
        name = node.input[0]
    return {name}


def _scales_of(node: Any) -> list[str]:
    if node.op_type in ("QuantizeLinear", "DequantizeLinear"):
        return list(node.input[1:3])
    if node.op_type == "QLinearConv":
        return [node.input[place] for place in (1, 2, 4, 5, 6, 7)]
    if node.op_type == "QLinearMatMul":
        return [node.input[place] for place in (1, 2, 4, 5, 6, 7)]
    return list(node.input[2:4]) if node.op_type in ("ConvInteger", "MatMulInteger") else []


def _storage(constants: dict[str, np.ndarray], weights: set[str]) -> Storage:
    formats: dict[str, int] = {}
    params = size = kept = kept_bytes = 0
    for name, array in constants.items():
        params, size = params + array.size, size + array.nbytes
        nonzero = int(np.count_nonzero(array))
        kept, kept_bytes = kept + nonzero, kept_bytes + nonzero * array.itemsize
        if name in weights and array.ndim > 1:
            formats[str(array.dtype)] = formats.get(str(array.dtype), 0) + array.nbytes
    note = "read off the ONNX graph; batch normalisation may be folded there"
    return Storage(params, size, 0, 0, kept, kept_bytes, kept, formats, note)
