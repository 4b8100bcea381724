"""A LiteRT model under construction: tensors, operators, and the bytes of the file."""

from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any

import flatbuffers
import numpy as np
from jaxtyping import Shaped

from coppice.core.errors import CoppiceError
from coppice.export.runtimes import runtime

MOST_BYTES = 2_000_000_000  # offsets in the file have 32 bit
METADATA, SIGNATURE = "coppice", "serving_default"
_FLOAT16_FROM = 64  # values; smaller constants cost more in operators than they save
_TYPES = {"float32": "FLOAT32", "float16": "FLOAT16", "int32": "INT32", "int64": "INT64", "bool": "BOOL"}


class Builder:
    """Takes tensors and operators in the order in which they run.

    Parameters
    ----------
    precision : {"float32", "float16"}
        Number format of the weights.

    Raises
    ------
    CoppiceError
        If LiteRT is not installed.
    """

    def __init__(self, precision: str = "float32") -> None:
        runtime("litert")
        from ai_edge_litert import schema_py_generated

        self.schema: ModuleType = schema_py_generated
        self.precision = precision
        self.shapes: list[tuple[int, ...]] = []
        self._tensors: list[Any] = []
        self._operators: list[Any] = []
        self._codes: dict[str, int] = {}
        self._buffers: list[Any] = [self.schema.BufferT()]  # the first is empty, by convention
        self._constants: dict[tuple[str, tuple[int, ...], bytes], int] = {}
        self._made_by: dict[int, Any] = {}
        self._names: dict[str, int] = {}
        self._bytes = 0

    def tensor(self, shape: Sequence[int], name: str, *, dtype: str = "float32", buffer: int = 0) -> int:
        """Add a tensor; return its number."""
        made = self.schema.TensorT()
        made.shape, made.type, made.buffer = list(shape), getattr(self.schema.TensorType, _TYPES[dtype]), buffer
        count = self._names.get(name, 0)
        self._names[name] = count + 1
        made.name = f"{name};{count}" if count else name
        self._tensors.append(made)
        self.shapes.append(tuple(shape))
        return len(self._tensors) - 1

    def constant(self, values: Shaped[np.ndarray, "*shape"], name: str = "constant") -> int:
        """Add a tensor that stands in the file; equal ones stand there once."""
        if values.dtype.kind == "f" and values.dtype != np.float16:
            values = values.astype(np.float32)
        stored = np.ascontiguousarray(values).tobytes()
        key = (values.dtype.name, values.shape, stored)
        if key not in self._constants:
            self._bytes += len(stored)
            if self._bytes > MOST_BYTES:
                raise CoppiceError("the network has more than 2.0 GB of weights, which no LiteRT file holds; prune it.")
            buffer = self.schema.BufferT()
            buffer.data = np.frombuffer(stored, np.uint8)
            self._buffers.append(buffer)
            number = self.tensor(values.shape, name, dtype=values.dtype.name, buffer=len(self._buffers) - 1)
            self._constants[key] = number
        return self._constants[key]

    def weight(self, values: Shaped[np.ndarray, "*shape"], name: str) -> int:
        """Add weights in the number format of the file; operators read float32."""
        rounded = values.astype(np.float16)
        if self.precision != "float16" or values.size < _FLOAT16_FROM or not np.isfinite(rounded).all():
            return self.constant(values, name)
        return self.operator("DEQUANTIZE", [self.constant(rounded, f"{name}_float16")], values.shape, name)

    def operator(
        self,
        code: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        name: str,
        *,
        dtype: str = "float32",
        **options: Any,
    ) -> int:
        """Add an operator with one output; return the output's number.

        ``options`` are the fields of the operator's own table, such as ``strideW``.
        """
        made = self.schema.OperatorT()
        made.opcodeIndex = self._codes.setdefault(code, len(self._codes))
        made.inputs, made.outputs = list(inputs), [self.tensor(shape, name, dtype=dtype)]
        kind = _OPTIONS.get(code)
        if kind:
            table = getattr(self.schema, f"{kind}T")()
            for field, value in options.items():
                if not hasattr(table, field):
                    raise AttributeError(f"{kind} has no {field}")
                setattr(table, field, value)
            made.builtinOptionsType = getattr(self.schema.BuiltinOptions, kind)
            made.builtinOptions = table
        self._operators.append(made)
        self._made_by[made.outputs[0]] = made
        return made.outputs[0]

    def options_of(self, number: int) -> Any:
        """Return the options of the operator that makes a tensor; None where nothing makes it or it has none."""
        made = self._made_by.get(number)
        return made.builtinOptions if made is not None else None

    def content(self, inputs: Mapping[str, int], outputs: Mapping[str, int], *, metadata: str) -> bytes:
        """Return the file: one graph, without operators whose result nobody reads.

        Parameters
        ----------
        inputs, outputs : mapping of name to number of a tensor
        metadata : str
            Stands in the file under the name ``coppice``.
        """
        schema = self.schema
        for name, number in {**inputs, **outputs}.items():
            self._tensors[number].name = name
        self._prune(set(outputs.values()))
        graph = schema.SubGraphT()
        graph.name, graph.operators = "main", self._operators
        kept = sorted(
            {*inputs.values(), *outputs.values(), *(i for o in self._operators for i in (*o.inputs, *o.outputs))}
        )
        place = {-1: -1, **{number: index for index, number in enumerate(kept)}}
        graph.tensors = [self._tensors[number] for number in kept]
        for operator in self._operators:
            operator.inputs = [place[i] for i in operator.inputs]
            operator.outputs = [place[i] for i in operator.outputs]
        graph.inputs = [place[i] for i in inputs.values()]
        graph.outputs = [place[i] for i in outputs.values()]
        model = schema.ModelT()
        model.version, model.description = 3, "coppice"
        model.subgraphs, model.buffers = [graph], self._buffers
        model.operatorCodes = [self._code(name) for name in self._codes]
        model.signatureDefs = [self._signature(inputs, outputs, place)]
        said = schema.BufferT()
        said.data = np.frombuffer(metadata.encode(), np.uint8)
        entry = schema.MetadataT()
        entry.name, entry.buffer = METADATA, len(self._buffers)
        self._buffers.append(said)
        model.metadata = [entry]
        packer = flatbuffers.Builder(1 << 20)
        packer.Finish(model.Pack(packer), file_identifier=b"TFL3")
        return bytes(packer.Output())

    def _prune(self, read: set[int]) -> None:
        operators = []
        for operator in reversed(self._operators):
            if read & set(operator.outputs):
                operators.append(operator)
                read |= set(operator.inputs)
        self._operators = operators[::-1]

    def _code(self, name: str) -> Any:
        code = self.schema.OperatorCodeT()
        number = getattr(self.schema.BuiltinOperator, name)
        code.builtinCode, code.deprecatedBuiltinCode, code.version = number, min(number, 127), _VERSIONS.get(name, 1)
        return code

    def _signature(self, inputs: Mapping[str, int], outputs: Mapping[str, int], place: Mapping[int, int]) -> Any:
        signature = self.schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = SIGNATURE, 0
        for given, kept in ((inputs, "inputs"), (outputs, "outputs")):
            entries = []
            for name, number in given.items():
                entry = self.schema.TensorMapT()
                entry.name, entry.tensorIndex = name, place[number]
                entries.append(entry)
            setattr(signature, kept, entries)
        return signature


# Operator -> the table of its options; operators that are not here have none.
_OPTIONS = {
    "ADD": "AddOptions",
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "BROADCAST_TO": "BroadcastToOptions",
    "CONCATENATION": "ConcatenationOptions",
    "CONV_2D": "Conv2DOptions",
    "DEPTHWISE_CONV_2D": "DepthwiseConv2DOptions",
    "DEQUANTIZE": "DequantizeOptions",
    "DIV": "DivOptions",
    "EQUAL": "EqualOptions",
    "EXP": "ExpOptions",
    "FULLY_CONNECTED": "FullyConnectedOptions",
    "GELU": "GeluOptions",
    "GREATER": "GreaterOptions",
    "GREATER_EQUAL": "GreaterEqualOptions",
    "LEAKY_RELU": "LeakyReluOptions",
    "LESS": "LessOptions",
    "LESS_EQUAL": "LessEqualOptions",
    "LOG_SOFTMAX": "LogSoftmaxOptions",
    "LOGICAL_AND": "LogicalAndOptions",
    "LOGICAL_NOT": "LogicalNotOptions",
    "LOGICAL_OR": "LogicalOrOptions",
    "MAXIMUM": "MaximumMinimumOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    "MEAN": "ReducerOptions",
    "MINIMUM": "MaximumMinimumOptions",
    "MIRROR_PAD": "MirrorPadOptions",
    "MUL": "MulOptions",
    "NEG": "NegOptions",
    "NOT_EQUAL": "NotEqualOptions",
    "PAD": "PadOptions",
    "PADV2": "PadV2Options",
    "POW": "PowOptions",
    "REDUCE_MAX": "ReducerOptions",
    "REDUCE_MIN": "ReducerOptions",
    "RESHAPE": "ReshapeOptions",
    "REVERSE_V2": "ReverseV2Options",
    "SELECT_V2": "SelectV2Options",
    "SLICE": "SliceOptions",
    "SOFTMAX": "SoftmaxOptions",
    "STRIDED_SLICE": "StridedSliceOptions",
    "SUB": "SubOptions",
    "SUM": "ReducerOptions",
    "TILE": "TileOptions",
    "TRANSPOSE": "TransposeOptions",
}
# Versions above 1 that the kernels ask for: dilated depthwise convolutions, axes that are kept, broadcasting.
_VERSIONS = {
    "BATCH_MATMUL": 1,
    "BROADCAST_TO": 3,
    "DEPTHWISE_CONV_2D": 2,
    "DEQUANTIZE": 3,
    "FULLY_CONNECTED": 5,
}
