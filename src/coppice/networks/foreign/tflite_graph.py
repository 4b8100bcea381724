"""A TFLite file as plain data: tensors, constants and operators, every claimed size checked against the file's."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from jaxtyping import Float, Shaped

from coppice.core.errors import CoppiceError
from coppice.core.files import plain_os_errors

_MOST = 10_000  # tensors or operators; the largest networks for devices have some hundreds
_RANK = 8

_KINDS = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
_TYPES = {number: name.lower() for name, number in vars(tflite.TensorType).items() if isinstance(number, int)}
_READ = {"float32", "float16", "float64", "int8", "uint8", "int16", "int32", "int64"}

_PADDINGS: dict[int, str | None] = {0: "same", 1: "valid"}
_FUSED: dict[int, str | None] = {0: None, 1: "relu", 2: "clip", 3: "relu6", 4: "tanh"}
_Fields = dict[str, str | tuple[str, str]]

_WINDOW: _Fields = {"padding": "Padding", "stride": ("StrideH", "StrideW"), "fused": "FusedActivationFunction"}

_OPTIONS: dict[str, tuple[Any, _Fields]] = {
    "CONV_2D": (tflite.Conv2DOptions, {**_WINDOW, "dilation": ("DilationHFactor", "DilationWFactor")}),
    "DEPTHWISE_CONV_2D": (
        tflite.DepthwiseConv2DOptions,
        {**_WINDOW, "dilation": ("DilationHFactor", "DilationWFactor")},
    ),
    "MAX_POOL_2D": (tflite.Pool2DOptions, {**_WINDOW, "kernel": ("FilterHeight", "FilterWidth")}),
    "AVERAGE_POOL_2D": (tflite.Pool2DOptions, {**_WINDOW, "kernel": ("FilterHeight", "FilterWidth")}),
    "FULLY_CONNECTED": (
        tflite.FullyConnectedOptions,
        {"fused": "FusedActivationFunction", "weights_format": "WeightsFormat"},
    ),
    "SOFTMAX": (tflite.SoftmaxOptions, {"beta": "Beta"}),
    "LEAKY_RELU": (tflite.LeakyReluOptions, {"alpha": "Alpha"}),
    "GELU": (tflite.GeluOptions, {"approximate": "Approximate"}),
    "MEAN": (tflite.ReducerOptions, {"keep_axes": "KeepDims"}),
    "REDUCE_MAX": (tflite.ReducerOptions, {"keep_axes": "KeepDims"}),
    "ADD": (tflite.AddOptions, {"fused": "FusedActivationFunction"}),
    "SUB": (tflite.SubOptions, {"fused": "FusedActivationFunction"}),
    "MUL": (tflite.MulOptions, {"fused": "FusedActivationFunction"}),
    "DIV": (tflite.DivOptions, {"fused": "FusedActivationFunction"}),
}


@dataclass(frozen=True, eq=False)
class GraphTensor:
    """One tensor.

    Attributes
    ----------
    name : str
        In the file; the parts of what the converter merged are separated by ``;``.
    shape : tuple of int
        With the batch.
    open_axes : tuple of int
        Axes behind the batch whose size the file leaves open.
    format : str
        Such as ``"float32"`` or ``"int8"``.
    data : ndarray or None
        What a constant holds, as stored.
    scale, zero_point : ndarray
        Of quantized values; empty where there is none.
    axis : int
        Along which scales change.
    """

    name: str
    shape: tuple[int, ...]
    open_axes: tuple[int, ...]
    format: str
    data: Shaped[np.ndarray, "*shape"] | None
    scale: Float[np.ndarray, " scales"]
    zero_point: Shaped[np.ndarray, " scales"]
    axis: int

    def values(self) -> Float[np.ndarray, "*shape"]:
        """Return a constant in float32, dequantized: ``scale * (stored - zero_point)``.

        Raises
        ------
        ValueError
            If the scales do not fit the shape.
        """
        assert self.data is not None
        if self.format.startswith("float"):
            return self.data.astype(np.float32)
        if not len(self.scale):
            raise ValueError(f"it holds {self.format} without a scale")
        zero_point = self.zero_point if len(self.zero_point) else np.zeros(len(self.scale), np.int64)
        if len(zero_point) != len(self.scale) or (
            len(self.scale) > 1 and (not 0 <= self.axis < len(self.shape) or self.shape[self.axis] != len(self.scale))
        ):
            raise ValueError(f"its {len(self.scale)} scales do not fit the shape {self.shape}")
        along = [1] * len(self.shape)
        if len(self.scale) > 1:
            along[self.axis] = -1
        centred = self.data.astype(np.int64) - zero_point.astype(np.int64).reshape(along)
        with np.errstate(all="ignore"):  # what is not finite is refused by whoever takes it
            return centred.astype(np.float32) * self.scale.astype(np.float32).reshape(along)


@dataclass(frozen=True)
class Operator:
    """One operator: what it is, the numbers of its tensors (-1: left out), and its options."""

    kind: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Graph:
    """What a TFLite file holds."""

    file: str
    size: int
    tensors: tuple[GraphTensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def read_graph(path: Path) -> Graph:
    """Read a TFLite file into plain data.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    CoppiceError
        If the file is missing, no TFLite file, cut short or damaged, or holds several graphs.
    """
    with plain_os_errors("read the model", path):
        data = path.read_bytes()
    return parse_graph(data, str(path))


def parse_graph(data: bytes, file: str) -> Graph:
    """Read the content of a TFLite file into plain data (see :func:`read_graph`); ``file`` is for messages."""
    if data[4:8] != b"TFL3":
        raise CoppiceError(f"{file} is not a TFLite file (version 3): its bytes 4 to 8 are {data[4:8]!r}, not b'TFL3'.")
    try:
        return _graph(data, file)
    except CoppiceError:
        raise
    except Exception as error:  # an offset in the file may lead anywhere, and every reader fails in its own way
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise CoppiceError(f"{file} is not a whole TFLite file ({reason}); copy or convert it again.") from error


def _graph(data: bytes, file: str) -> Graph:
    model = tflite.Model.GetRootAsModel(data, 0)
    if _count(model.SubgraphsLength(), data) != 1:
        raise CoppiceError(f"{file} holds {model.SubgraphsLength()} graphs; files with one can be imported.")
    graph: Any = model.Subgraphs(0)
    codes = [_kind(model.OperatorCodes(i)) for i in range(_count(model.OperatorCodesLength(), data))]
    tensors = [_tensor(model, graph.Tensors(i), data) for i in range(_count(graph.TensorsLength(), data))]
    operators = [_operator(graph.Operators(i), codes) for i in range(_count(graph.OperatorsLength(), data))]
    inputs = _numbers(graph.InputsLength, graph.InputsAsNumpy, _MOST)
    outputs = _numbers(graph.OutputsLength, graph.OutputsAsNumpy, _MOST)
    used = {*inputs, *outputs, *(i for operator in operators for i in (*operator.inputs, *operator.outputs))}
    if used and not -1 <= min(used) <= max(used) < len(tensors):
        raise ValueError("it names tensors that it does not have")
    return Graph(file, len(data), tuple(tensors), tuple(operators), inputs, outputs)


def _tensor(model: Any, tensor: Any, data: bytes) -> GraphTensor:
    shape = _numbers(tensor.ShapeLength, tensor.ShapeAsNumpy, _RANK)
    signature = _numbers(tensor.ShapeSignatureLength, tensor.ShapeSignatureAsNumpy, _RANK)
    number_format = _TYPES.get(tensor.Type(), f"type {tensor.Type()}")
    constant = None
    buffer = model.Buffers(tensor.Buffer()) if 0 < tensor.Buffer() < model.BuffersLength() else None
    if buffer is not None and buffer.DataLength():
        if tensor.Sparsity() is not None or number_format not in _READ:
            raise CoppiceError(f"a constant of type {number_format}, sparse or packed, cannot be imported.")
        dtype = np.dtype(number_format).newbyteorder("<")
        stored = buffer.DataAsNumpy()
        if min(shape, default=1) < 0 or math.prod(shape) * dtype.itemsize != stored.size:
            raise ValueError(f"a tensor of shape {shape} has {stored.size} bytes")
        constant = stored.view(dtype).reshape(shape)
    quantized = tensor.Quantization()
    empty = np.zeros(0, np.float32)
    scale = quantized.ScaleAsNumpy() if quantized is not None and quantized.ScaleLength() else empty
    zero_point = quantized.ZeroPointAsNumpy() if quantized is not None and quantized.ZeroPointLength() else empty
    name = (tensor.Name() or b"")[:1000].decode("utf-8", "replace")
    return GraphTensor(
        name=name,
        shape=shape,
        open_axes=tuple(axis for axis, size in enumerate(signature) if axis and size < 0),
        format=number_format,
        data=constant,
        scale=scale,
        zero_point=zero_point,
        axis=quantized.QuantizedDimension() if quantized is not None else 0,
    )


def _operator(operator: Any, codes: list[str]) -> Operator:
    kind = codes[operator.OpcodeIndex()]
    options: dict[str, Any] = {}
    if kind in _OPTIONS:
        cls, fields = _OPTIONS[kind]
        table = operator.BuiltinOptions()
        if table is None:
            raise ValueError(f"a {kind} has no options")
        reader = cls()
        reader.Init(table.Bytes, table.Pos)
        for name, getter in fields.items():
            got = [getattr(reader, one)() for one in ((getter,) if isinstance(getter, str) else getter)]
            options[name] = got[0] if isinstance(getter, str) else got
    for name, known in (("padding", _PADDINGS), ("fused", _FUSED)):
        if name in options:
            if options[name] not in known:
                raise ValueError(f"a {kind} has an unknown {name} {options[name]}")
            options[name] = known[options[name]]
    return Operator(
        kind,
        _numbers(operator.InputsLength, operator.InputsAsNumpy, _MOST),
        _numbers(operator.OutputsLength, operator.OutputsAsNumpy, _MOST),
        options,
    )


def _kind(code: Any) -> str:
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())  # the field was once a byte
    if number == tflite.BuiltinOperator.CUSTOM:
        return f"custom operator {(code.CustomCode() or b'')[:60].decode('utf-8', 'replace')!r}"
    return _KINDS.get(number, f"operator {number}")


def _count(count: int, data: bytes) -> int:
    if count > min(_MOST, len(data) // 4):
        raise ValueError(f"it claims {count} parts")
    return count


def _numbers(length: Callable[[], int], values: Callable[[], Any], most: int) -> tuple[int, ...]:
    count = length()
    if count > most:
        raise ValueError(f"it claims {count} numbers where at most {most} can be")
    return tuple(values().tolist()) if count else ()
