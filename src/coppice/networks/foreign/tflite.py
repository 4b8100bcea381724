"""TFLite models in float32, float16 or int8, without TensorFlow: dequantized into a chain of layers."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from coppice.core.errors import CoppiceError
from coppice.networks.foreign.chain_builder import Array, ChainBuilder
from coppice.networks.foreign.imported import Imported
from coppice.networks.foreign.tflite_graph import Graph, GraphTensor, Operator, read_graph

_FUNCTIONS: dict[str, dict[str, Any]] = {
    "RELU": {"function": "relu"},
    "RELU6": {"function": "relu6"},
    "RELU_N1_TO_1": {"function": "clip", "low": -1.0, "high": 1.0},
    "RELU_0_TO_1": {"function": "clip", "low": 0.0, "high": 1.0},
    "TANH": {"function": "tanh"},
    "LOGISTIC": {"function": "sigmoid"},
    "ELU": {"function": "elu", "alpha": 1.0},
    "HARD_SWISH": {"function": "hard_swish"},
}
_FUSED: dict[str, dict[str, Any]] = {
    "relu": _FUNCTIONS["RELU"],
    "clip": _FUNCTIONS["RELU_N1_TO_1"],
    "relu6": _FUNCTIONS["RELU6"],
    "tanh": _FUNCTIONS["TANH"],
}
_ELEMENTWISE = ("ADD", "SUB", "MUL", "DIV")
_SHAPES_ONLY = ("SHAPE", "STRIDED_SLICE", "PACK")


def read_tflite(path: Path) -> Imported:
    """Import a TFLite model of one layer after another.

    Float16 weights and int8 ones (dynamic-range quantization: per tensor or per channel) become float32; the number
    format in the file is remembered. Batch normalisation stands folded in such files, so that a convolution has none
    behind it. Of a model with int8 activations the weights are imported and the rounding of activations is not.

    Parameters
    ----------
    path : Path
        The ``.tflite`` file.

    Returns
    -------
    Imported
        Its network is a :class:`~coppice.networks.chain.Chain`.

    Raises
    ------
    CoppiceError
        If the file is damaged, or its graph is not a chain of supported operators (the first other one is named).
    """
    return TFLiteImporter(read_graph(path)).run()


class TFLiteImporter:
    """Follows a graph from its input to its output, and appends what each operator does to a chain.

    Parameters
    ----------
    graph : Graph
        As data.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        if len(graph.inputs) != 1 or len(graph.outputs) != 1:
            raise CoppiceError(
                f"{graph.file} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs; one of each can be "
                "imported."
            )
        given = graph.tensors[graph.inputs[0]]
        if given.open_axes or not 2 <= len(given.shape) <= 4 or given.shape[0] != 1 or min(given.shape) < 1:
            raise CoppiceError(
                f"{graph.file} takes an input of shape {given.shape}; one clip of a fixed size can be imported."
            )
        self.builder = ChainBuilder(graph.file, (given.shape[-1], *given.shape[1:-1]))
        self.stored_bytes: dict[str, int] = {}
        self._at = graph.inputs[0]
        self._constants = {i: i for i, tensor in enumerate(graph.tensors) if tensor.data is not None}
        self._shapes: set[int] = set()  # tensors that hold a shape computed at run time
        self._counted: set[int] = set()
        self._read = 0

    def run(self) -> Imported:
        """Return the network.

        Raises
        ------
        CoppiceError
            If an operator is not supported, or the graph branches.
        """
        for number, operator in enumerate(self.graph.operators):
            self._step(number, operator)
        if self._at != self.graph.outputs[0]:
            raise CoppiceError(f"{self.graph.file} cannot be imported: its output does not come from its last layer.")
        network, score = self.builder.finish()
        return Imported(
            network=network,
            format="tflite",
            score=score,
            stored_bytes=self.stored_bytes,
            layer_names=self.builder.layer_names,
            notes=(*self.builder.notes, *self._notes()),
        )

    def _step(self, number: int, operator: Operator) -> None:
        kind, inputs = operator.kind, [i for i in operator.inputs if i >= 0]
        varying = [i for i in inputs if i not in self._constants and i not in self._shapes]
        name = self._name(number, operator)
        if len(operator.outputs) != 1 or -1 in operator.outputs:
            raise self._refused(name, kind, "it has several outputs")
        out = operator.outputs[0]
        if kind == "DEQUANTIZE" and not varying and inputs:
            self._constants[out] = self._constants[inputs[0]]
        elif kind in _SHAPES_ONLY and varying in ([], [self._at]):
            self._shapes.add(out)
        elif not varying:
            raise self._refused(name, kind, "it computes with constants alone")
        elif varying != [self._at] or (operator.inputs[0] != self._at and kind not in _ELEMENTWISE):
            raise self._refused(name, kind, "the graph branches or meets here; only a chain is supported")
        elif kind not in _CONVERTERS:
            raise self._refused(name, kind, f"supported are {', '.join(sorted(_CONVERTERS))}")
        else:
            self.builder.kind = kind
            _CONVERTERS[kind](self, name, operator)
            self._at = out
            fused = operator.options.get("fused")
            if fused is not None:
                self.builder.add(name, {"kind": "activation", **_FUSED[fused]})
            given = self.graph.tensors[out].shape
            if given and math.prod(given) != math.prod(self.builder.shape):
                raise self._refused(name, kind, f"its output should be {given} but is {self.builder.shape}")

    def constant(self, operator: Operator, position: int, name: str) -> Array | None:
        """Return a weight of an operator in float32, None where it has none; its bytes are counted once."""
        if position >= len(operator.inputs) or operator.inputs[position] < 0:
            return None
        tensor = self.stored(operator, position, name)
        index = self._constants[operator.inputs[position]]
        assert tensor.data is not None
        self._read += tensor.data.size
        if self._read > 4 * self.graph.size:
            raise CoppiceError(f"{self.graph.file} is damaged: it uses the same weights again and again.")
        if index not in self._counted:
            self._counted.add(index)
            self.stored_bytes[tensor.format] = self.stored_bytes.get(tensor.format, 0) + tensor.data.nbytes
        try:
            return tensor.values()
        except ValueError as error:
            raise self._refused(name, operator.kind, str(error)) from error

    def stored(self, operator: Operator, position: int, name: str) -> GraphTensor:
        """Return a constant of an operator as it stands in the file."""
        index = operator.inputs[position] if position < len(operator.inputs) else -1
        if index not in self._constants:
            raise self._refused(name, operator.kind, f"its input {position} is not a constant")
        return self.graph.tensors[self._constants[index]]

    def integers(self, operator: Operator, position: int, name: str) -> Int[np.ndarray, "*shape"]:
        """Return a constant of an operator that holds axes, sizes or a padding."""
        data = self.stored(operator, position, name).data
        if data is None or data.dtype.kind != "i":
            raise self._refused(name, operator.kind, f"its input {position} does not hold whole numbers")
        return data

    def is_constant(self, index: int) -> bool:
        """Say whether a tensor stands in the file, as it is or to be dequantized."""
        return index in self._constants

    def target(self, operator: Operator) -> tuple[int, ...]:
        """Return the shape of an operator's output without the batch."""
        return self.graph.tensors[operator.outputs[0]].shape[1:]

    def axes(self, name: str, kind: str) -> tuple[int, ...]:
        """Return which axes of a (height, width) window the chain has: both, or the long one of a 1-D network."""
        if len(self.builder.shape) == 3:
            return (0, 1)
        shape = self.graph.tensors[self._at].shape
        if len(self.builder.shape) != 2 or len(shape) != 4 or min(shape[1:3]) != 1:
            raise self._refused(name, kind, f"it works on maps, but gets {shape}")
        return (1,) if shape[1] == 1 else (0,)

    def along_axes(self, name: str, operator: Operator, values: list[int]) -> list[int]:
        """Return (height, width) numbers along the chain's axes; the others have to be 1."""
        axes = self.axes(name, operator.kind)
        if any(value != 1 for axis, value in enumerate(values) if axis not in axes):
            raise self._refused(name, operator.kind, "its window is wider than its map")
        return [values[axis] for axis in axes]

    def refused(self, name: str, operator: Operator, why: str) -> CoppiceError:
        """Return the error for an operator that cannot be imported."""
        return self._refused(name, operator.kind, why)

    def _refused(self, name: str, kind: str, why: str) -> CoppiceError:
        return CoppiceError(f"layer {name!r} ({kind}) of {self.graph.file} cannot be imported: {why}.")

    def _name(self, number: int, operator: Operator) -> str:
        """Return what the file calls a layer: by its weight where it has one, else by its output."""
        weight = operator.inputs[1] if len(operator.inputs) > 1 else -1
        if weight in self._constants and operator.kind in _WEIGHTED:
            name = self.graph.tensors[self._constants[weight]].name.split(";")[-1]
        else:
            output = operator.outputs[0] if operator.outputs else -1
            name = self.graph.tensors[output].name.split(";")[0] if output >= 0 else ""
        return name[:200] or f"operator {number}"

    def _notes(self) -> list[str]:
        notes = []
        formats = {self.graph.tensors[i].format for i in (o.outputs[0] for o in self.graph.operators)}
        if formats & {"int8", "uint8", "int16"}:
            notes.append(
                "The file computes with rounded (integer) activations; the weights are imported, that rounding is not."
            )
        elif "int8" in self.stored_bytes:
            notes.append(
                "Its int8 weights are imported as the numbers they stand for; runtimes that compute in int8 round "
                "activations as well."
            )
        return notes


Converter = Callable[[TFLiteImporter, str, Operator], None]

_CONVERTERS: dict[str, Converter] = {}
_WEIGHTED = ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")


def _converts(*kinds: str) -> Callable[[Converter], Converter]:
    def register(function: Converter) -> Converter:
        _CONVERTERS.update(dict.fromkeys(kinds, function))
        return function

    return register


@_converts("CONV_2D", "DEPTHWISE_CONV_2D")
def _conv(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    builder, options = importer.builder, operator.options
    weight = importer.constant(operator, 1, name)
    if weight is None or weight.ndim != 4 or not weight.size:
        raise importer.refused(name, operator, "it has no kernel of four axes")
    if operator.kind == "CONV_2D":
        weight = np.moveaxis(weight, -1, 1)  # (filters, height, width, channels) to (filters, channels, height, width)
        groups, rest = divmod(builder.shape[0], weight.shape[1])
    else:
        weight = np.moveaxis(weight, -1, 0)  # (1, height, width, filters): the filters of a channel stand together
        groups, rest = builder.shape[0], weight.shape[1] - 1
    if rest:
        raise importer.refused(name, operator, f"its kernel does not fit {builder.shape[0]} channels")
    kernel = importer.along_axes(name, operator, list(weight.shape[2:]))
    spec = {
        "stride": importer.along_axes(name, operator, options["stride"]),
        "dilation": importer.along_axes(name, operator, options["dilation"]),
        "padding": options["padding"],
        "groups": groups,
    }
    builder.conv(name, spec, weight.reshape(*weight.shape[:2], *kernel), importer.constant(operator, 2, name))


@_converts("FULLY_CONNECTED")
def _fully_connected(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    weight = importer.constant(operator, 1, name)
    if weight is None or weight.ndim != 2 or operator.options["weights_format"] != 0:
        raise importer.refused(name, operator, "its weight is not a plain matrix")
    if weight.shape[1] == math.prod(importer.builder.shape):
        importer.builder.flatten(name)  # the operator reads a whole map as one vector
    importer.builder.dense(name, weight, importer.constant(operator, 2, name))


@_converts("MAX_POOL_2D", "AVERAGE_POOL_2D")
def _pool(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    spec = {
        "kind": "max_pool" if operator.kind == "MAX_POOL_2D" else "avg_pool",
        "kernel": importer.along_axes(name, operator, operator.options["kernel"]),
        "stride": importer.along_axes(name, operator, operator.options["stride"]),
        "padding": operator.options["padding"],
    }
    importer.builder.add(name, spec)


@_converts("MEAN", "REDUCE_MAX")
def _global_pool(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    shape = importer.graph.tensors[operator.inputs[0]].shape
    axes = {axis % max(1, len(shape)) for axis in importer.integers(operator, 1, name).ravel().tolist()}
    long_axes = {axis for axis in range(1, len(shape) - 1) if shape[axis] != 1}
    if not long_axes <= axes <= set(range(1, len(shape) - 1)):
        raise importer.refused(name, operator, f"it reduces axes {sorted(axes)} of {shape}; all but channels can be")
    kind = "global_avg_pool" if operator.kind == "MEAN" else "global_max_pool"
    importer.builder.add(name, {"kind": kind, "keep_axes": bool(operator.options["keep_axes"])})


@_converts("PAD")
def _pad(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    data = importer.integers(operator, 1, name)
    rank = len(importer.builder.shape) + 1
    if data.ndim != 2 or data.shape[1] != 2 or len(data) not in (rank, 4):
        raise importer.refused(name, operator, f"it has no padding for {rank} axes")
    pairs = data.tolist()
    inner = pairs[1:-1]
    if len(pairs) > rank:
        axis = importer.axes(name, operator.kind)[0]
        pairs[1 + axis], inner = [0, 0], [inner[axis]]
    if any(sum(pair) for pair in (pairs[0], pairs[-1])) or (len(data) > rank and any(sum(p) for p in pairs[1:-1])):
        raise importer.refused(name, operator, "it pads other axes than those of the map")
    importer.builder.add(name, {"kind": "pad", "padding": inner})


@_converts("RESHAPE", "SQUEEZE", "EXPAND_DIMS")
def _reshape(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    target, shape = importer.target(operator), importer.builder.shape
    if len(shape) == 2 and len(target) == 3 and target in ((1, shape[1], shape[0]), (shape[1], 1, shape[0])):
        return  # a 1-D network on its way into a 2-D operator; `along_axes` finds the long axis
    if math.prod(target) == shape[0] and len(shape) == 1 and target[-1:] == shape:
        target = shape if len(target) < 1 + len(importer.builder.input_shape) - 1 else target
    importer.builder.reshape(name, target)


@_converts("QUANTIZE", "DEQUANTIZE")
def _pass(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    """Other number formats of the same values."""


@_converts("SOFTMAX", "LOG_SOFTMAX")
def _softmax(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    if operator.options.get("beta", 1.0) != 1.0:
        raise importer.refused(name, operator, f"its beta is {operator.options['beta']:g}; 1 is supported")
    importer.builder.softmax(name)


@_converts(*_FUNCTIONS)
def _activation(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    importer.builder.add(name, {"kind": "activation", **_FUNCTIONS[operator.kind]})


@_converts("LEAKY_RELU")
def _leaky_relu(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    spec = {"kind": "activation", "function": "leaky_relu", "slope": operator.options["alpha"]}
    importer.builder.add(name, spec)


@_converts("GELU")
def _gelu(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    function = "gelu_tanh" if operator.options["approximate"] else "gelu"
    importer.builder.add(name, {"kind": "activation", "function": function})


@_converts(*_ELEMENTWISE)
def _affine(importer: TFLiteImporter, name: str, operator: Operator) -> None:
    """Take a number per channel, as batch normalisations become that could not be folded."""
    if len(operator.inputs) != 2:
        raise importer.refused(name, operator, "it has not two inputs")
    position = 0 if importer.is_constant(operator.inputs[0]) else 1
    values = importer.constant(operator, position, name)
    channels = importer.builder.shape[0]
    if values is None or values.size not in (1, channels) or values.shape[-1:] not in ((), (1,), (channels,)):
        raise importer.refused(name, operator, f"it takes one number for each of {channels} channels")
    if position == 0 and operator.kind in ("SUB", "DIV"):
        raise importer.refused(name, operator, "its constant stands first")
    vector = np.broadcast_to(values.ravel(), (channels,))
    ones, zeros = np.ones(channels, np.float32), np.zeros(channels, np.float32)
    with np.errstate(all="ignore"):  # what is not finite is refused by name
        scale = {"MUL": vector, "DIV": 1 / vector}.get(operator.kind, ones)
    shift = {"ADD": vector, "SUB": -vector}.get(operator.kind, zeros)
    importer.builder.affine(name, scale, shift)
