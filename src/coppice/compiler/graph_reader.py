"""From an ONNX graph to a program: operator by operator, refusing by name what has no C."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from coppice.compiler.steps import Program, Shape, Step, Surround
from coppice.core.errors import CoppiceError
from coppice.export.onnx_file import OnnxFile

# Quantizing wraps a weight's name: dq_output_network.conv1.weight_1.
_WEIGHT = re.compile(r"^(?:dq_output_)?(?:network\.)?(.+)\.weight(?:_\d+)?$")


@dataclass(frozen=True)
class Reference:
    """A tensor of the graph as a view of a value.

    Attributes
    ----------
    value : str
    axes : tuple of int or None
        For each axis of the tensor behind the clips, which axis of the value it is; -1 for one of size 1 that the
        value does not have. None: all numbers of the value in one axis.
    padding : (top, left, bottom, right)
        Rows and frames around it that are not part of the value: convolutions need not see them written.
    filler : float
        The number in these.
    """

    value: str
    axes: tuple[int, ...] | None
    padding: tuple[int, int, int, int] = (0, 0, 0, 0)
    filler: float = 0.0


@dataclass
class GraphReader:
    """What has been read of a graph so far.

    Attributes
    ----------
    name : str
        Of the model, for messages.
    constants : dict of str to ndarray
        By the name of the tensor.
    weight_steps : dict of str to ndarray
        What constants that were rounded are multiples of, for each filter.
    references : dict of str to Reference
        All other tensors.
    stacks : dict of str to tuple of Reference
        Tensors that are one upon the other, along an axis before the clips.
    steps : list of Step
    shapes : dict of str to (channels, rows, frames)
    """

    name: str
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    weight_steps: dict[str, np.ndarray] = field(default_factory=dict)
    references: dict[str, Reference] = field(default_factory=dict)
    stacks: dict[str, tuple[Reference, ...]] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    shapes: dict[str, Shape] = field(default_factory=dict)

    def refuse(self, node: Any, reason: str) -> CoppiceError:
        """Return an error that names operator and layer."""
        return CoppiceError(
            f"{self.layer(node)!r} of {self.name} cannot become C: {reason}; nothing was written. "
            "Replace the layer, or take the ONNX file to a runtime."
        )

    def layer(self, node: Any) -> str:
        """Return the name of the layer whose weights a node has, or its own."""
        for tensor in node.input:
            found = _WEIGHT.search(tensor)
            if found is not None and tensor in self.constants:
                return found[1]
        return str(node.name or node.output[0])

    def free_name(self, name: str) -> str:
        """Return a name that no step has: the first layer ``conv1`` keeps it, what shares its weights gets a number."""
        taken, number, free = {step.name for step in self.steps}, 2, name
        while free in taken:
            free, number = f"{name}_{number}", number + 1
        return free

    def add(self, step: Step, shape: Shape, axes: tuple[int, ...] | None, output: str) -> None:
        """Append a step and let a tensor of the graph be its target."""
        self.steps.append(step)
        self.shapes[step.target] = shape
        self.references[output] = Reference(step.target, axes)

    def whole(self, node: Any, tensor: str) -> Reference:
        """Return a reference without anything around it, which is written where there was something."""
        reference = self.given(node, tensor)
        if not any(reference.padding):
            return reference
        top, left, bottom, right = reference.padding
        channels, rows, frames = self.shapes[reference.value]
        step = Surround(
            self.free_name(f"{tensor}_pad"),
            (reference.value,),
            f"{tensor}_padded",
            padding=reference.padding,
            filler=reference.filler,
        )
        self.add(step, (channels, rows + top + bottom, frames + left + right), reference.axes, tensor)
        return self.references[tensor]

    def given(self, node: Any, tensor: str) -> Reference:
        """Return a reference; a constant in its place is refused."""
        if tensor not in self.references:
            raise self.refuse(node, f"{node.op_type} of a constant has no C")
        return self.references[tensor]

    def constant(self, node: Any, position: int) -> np.ndarray | None:
        """Return an input that does not depend on the clip, None where it is left out."""
        if position >= len(node.input) or not node.input[position]:
            return None
        if node.input[position] not in self.constants:
            raise self.refuse(node, f"{node.op_type} takes its input {position} from the clip")
        return self.constants[node.input[position]]

    def size(self, reference: Reference) -> tuple[int, ...]:
        """Return the shape of a tensor behind the clips."""
        shape = self.shapes[reference.value]
        if reference.axes is None:
            return (int(np.prod(shape)),)
        return tuple(1 if axis < 0 else shape[axis] for axis in reference.axes)


Rule = Callable[[GraphReader, Any, dict[str, Any]], None]


def attributes(node: Any) -> dict[str, Any]:
    """Return what a node says of itself, texts as str."""
    found = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    return {name: value.decode() if isinstance(value, bytes) else value for name, value in found.items()}


def read_program(model: OnnxFile) -> Program:
    """Translate an ONNX model of float32 into a program, as the graph stands; see :func:`coppice.compiler.fuse.fused`.

    Parameters
    ----------
    model : OnnxFile
        With one input whose shape behind the clips is fixed: (channels, rows, frames), (channels, samples) or
        (numbers,).

    Raises
    ------
    CoppiceError
        If an operator, or what it does with its operands, has no C.

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> from coppice.export.onnx_graph import onnx_graph
    >>> from coppice.export.onnx_file import parse_onnx
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(28, 2))
    >>> graph = onnx_graph(net, torch.zeros(2, 1, 9), inputs="x", outputs=["y"])
    >>> program = read_program(parse_onnx(graph.SerializeToString(), "net"))
    >>> [type(step).__name__ for step in program.steps]
    ['Convolution', 'Scale', 'Dense']
    """
    from coppice.compiler.operators import RULES

    graph = onnx.load_model_from_string(model.content).graph
    reader = GraphReader(model.name)
    for tensor in graph.initializer:
        reader.constants[tensor.name] = onnx.numpy_helper.to_array(tensor)
    (given,) = [value for value in graph.input if value.name not in reader.constants]
    _begin(reader, given.name, model.clip_shape)
    for node in graph.node:
        if node.domain not in ("", "ai.onnx") or node.op_type not in RULES:
            raise CoppiceError(
                f"{node.op_type}, which {reader.layer(node)!r} of {model.name} uses, has no C; nothing was written. "
                f"What has: {', '.join(sorted(RULES))}."
            )
        RULES[node.op_type](reader, node, attributes(node))
    outputs = {}
    for output in graph.output:
        reference = reader.references.get(output.name)
        if reference is None or any(reference.padding) or not _in_order(reference.axes):
            raise CoppiceError(
                f"the output {output.name!r} of {model.name} is not computed in an order that C returns."
            )
        outputs[output.name] = reference.value
    return Program(tuple(reader.steps), reader.shapes, given.name, outputs)


def _in_order(axes: tuple[int, ...] | None) -> bool:
    left = [axis for axis in axes or () if axis >= 0]
    return left == sorted(left)


def _begin(reader: GraphReader, name: str, shape: tuple[int, ...]) -> None:
    placed = {1: (0,), 2: (0, 2), 3: (0, 1, 2)}.get(len(shape))
    if placed is None:
        raise CoppiceError(f"{reader.name} takes clips of shape {shape}; C is made for up to three axes.")
    whole = [1, 1, 1]
    for axis, size in zip(placed, shape, strict=True):
        whole[axis] = size
    reader.shapes[name] = (whole[0], whole[1], whole[2])
    reader.references[name] = Reference(name, placed)
