"""From a traced module to a LiteRT graph: values, their memory layout, and the walk over the operators.

PyTorch puts channels second, LiteRT last. A value remembers in which order its axes are stored; only operators that
care ask for an order, and a transposition is written where the stored one differs.
"""

import operator
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Shaped
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.export.litert.builder import Builder
from coppice.export.traced import layer_of

NETWORK, BEFORE, AFTER = "network", "front_end", "scores"

Rule = Callable[..., Any]
RULES: dict[Any, Rule] = {}


def lowers(*targets: Any) -> Callable[[Rule], Rule]:
    """Register the function that writes an operator; it gets the lowering and the operator's own arguments."""

    def register(rule: Rule) -> Rule:
        RULES.update(dict.fromkeys(targets, rule))
        return rule

    return register


@dataclass(frozen=True)
class Value:
    """A tensor in the LiteRT graph.

    Attributes
    ----------
    number : int
        In the file.
    shape : tuple of int
        In PyTorch's order of axes.
    order : tuple of int
        Which of these axes stands at each place in memory.
    """

    number: int
    shape: tuple[int, ...]
    order: tuple[int, ...]

    @property
    def stored(self) -> tuple[int, ...]:
        """Shape in memory."""
        return tuple(self.shape[axis] for axis in self.order)


class Lowering:
    """Walks over a traced module, and writes each operator by its rule.

    Parameters
    ----------
    program : ExportedProgram
        Of one tensor with a fixed shape; its weights are constants.
    builder : Builder
        Takes the operators.
    """

    def __init__(self, program: torch.export.ExportedProgram, builder: Builder) -> None:
        self.program, self.builder = program, builder
        self.made: dict[torch.fx.Node, Any] = {}
        self.node: torch.fx.Node
        self.folded: set[torch.fx.Node] = set()  # written together with the operator before them
        self.inside: dict[int, int] = {}  # a line -> the image of one row that it is
        self._ordered: dict[tuple[int, tuple[int, ...], tuple[int, ...]], Value] = {}
        self._part = BEFORE

    def check(self) -> None:
        """Refuse operators that no rule writes, with the layer, before any work is done."""
        for node in self.program.graph.nodes:
            if node.op == "call_function" and node.target not in RULES and not self._is_constant(node):
                raise self._unknown(node)

    def run(self) -> tuple[Value, list[Value]]:
        """Write everything; return the input and the outputs."""
        self.check()
        signature = self.program.graph_signature
        stored = {**self.program.state_dict, **self.program.constants}
        named = {
            **signature.inputs_to_parameters,
            **signature.inputs_to_buffers,
            **signature.inputs_to_lifted_tensor_constants,
        }
        given: list[Value] = []
        for node in self.program.graph.nodes:
            self.node = node
            if node.op == "placeholder" and node.name in named:
                self.made[node] = stored[named[node.name]].detach()
            elif node.op == "placeholder":
                shape = tuple(node.meta["val"].shape)
                number = self.builder.tensor(shape, node.name)
                self.made[node] = Value(number, shape, tuple(range(len(shape))))
                given.append(self.made[node])
            elif node.op == "call_function":
                self._step(node)
            elif node.op == "output":
                results = [self._copy(self.plain(self.made[one])) for one in node.args[0]]
        (only,) = given
        return only, results

    def _copy(self, value: Value) -> Value:
        """Give an output a tensor of its own: the quantizer is lost where other operators read it as well."""
        return self.write("RESHAPE", [value.number, self.integers(value.shape)], value.shape, newShape=value.shape)

    def _step(self, node: torch.fx.Node) -> None:
        if node in self.folded:
            self.made[node] = (self.made[node.all_input_nodes[0]],)
            return
        if layer_of(node).split(".")[0] == NETWORK:
            self._part = NETWORK
        elif self._part == NETWORK:
            self._part = AFTER
        args = torch.fx.map_arg(node.args, lambda one: self.made[one])
        kwargs = torch.fx.map_arg(node.kwargs, lambda one: self.made[one])
        values = [self.made[one] for one in node.all_input_nodes]
        if not any(_varies(value) for value in values):
            self.made[node] = node.target(*args, **kwargs)  # type: ignore[operator]
            return
        if node.target not in RULES:
            raise self._unknown(node)
        self.made[node] = RULES[node.target](self, *args, **kwargs)

    def _is_constant(self, node: torch.fx.Node) -> bool:
        """Say whether a node may turn out to be constant: it, or all that it comes from, has no varying input."""
        signature = self.program.graph_signature
        seen, todo = set(), [node]
        while todo:
            one = todo.pop()
            if one.op == "placeholder" and one.name in signature.user_inputs:
                return False
            todo += [before for before in one.all_input_nodes if before not in seen]
            seen.update(one.all_input_nodes)
        return True

    def _unknown(self, node: torch.fx.Node) -> CoppiceError:
        name, layer = str(node.target).removesuffix(".default"), layer_of(node)
        return CoppiceError(
            f"LiteRT files are not written with an operator for {name}{f', which {layer!r} uses' if layer else ''}; "
            "replace it by other operators, or export to onnx."
        )

    def refused(self, why: str) -> CoppiceError:
        """Return the error for settings of an operator that LiteRT lacks."""
        layer = layer_of(self.node)
        name = str(self.node.target).removesuffix(".default")
        return CoppiceError(
            f"LiteRT has no operator for {name}{f' of {layer!r}' if layer else ''} where {why}; change it, or export "
            "to onnx."
        )

    @property
    def name(self) -> str:
        """What the operator that is being written is called in the file; begins with the part it belongs to."""
        layer = layer_of(self.node)
        return f"{layer if layer.split('.')[0] == NETWORK else self._part}/{self.node.name}"

    @property
    def result_shape(self) -> tuple[int, ...]:
        """Shape of the current node's result in PyTorch."""
        return tuple(self.node.meta["val"].shape)

    def value(self, given: Any) -> Value:
        """Return a constant or a number as a value in the graph; values as they are."""
        if isinstance(given, Value):
            return given
        array = _array(given)
        return Value(self.weight(array), array.shape, tuple(range(array.ndim)))

    def weight(self, values: Shaped[np.ndarray, "*shape"]) -> int:
        """Add weights, in the number format of the file if they are the network's; return their tensor's number."""
        name = f"{self.name}/weight"
        own = self._part == NETWORK and values.dtype.kind == "f"
        return self.builder.weight(values, name) if own else self.builder.constant(values, name)

    def integers(self, values: Sequence[int] | Sequence[Sequence[int]]) -> int:
        """Add constant whole numbers, such as axes; return their tensor's number."""
        return self.builder.constant(np.array(values, np.int32), "integers")

    def write(
        self,
        code: str,
        inputs: Sequence[int],
        shape: Sequence[int],
        order: Sequence[int] | None = None,
        *,
        dtype: str = "float32",
        **options: Any,
    ) -> Value:
        """Write an operator whose result has a shape (PyTorch's axes), stored in an order, by default as it is."""
        shape, order = tuple(shape), tuple(range(len(shape)) if order is None else order)
        stored = [shape[axis] for axis in order]
        return Value(self.builder.operator(code, inputs, stored, self.name, dtype=dtype, **options), shape, order)

    def plain(self, value: Any) -> Value:
        """Return a value stored in PyTorch's order."""
        value = self.value(value)
        return self.ordered(value, tuple(range(len(value.shape))))

    def ordered(self, value: Value, order: tuple[int, ...]) -> Value:
        """Return a value stored in an order: transposed, or only reshaped where nothing but axes of size 1 move."""
        if value.order == order:
            return value
        key = (value.number, value.order, order)
        if key not in self._ordered:
            moving = [axis for axis in value.order if value.shape[axis] != 1]
            if moving == [axis for axis in order if value.shape[axis] != 1]:
                self._ordered[key] = self.reshaped(value, value.shape, order)
            else:
                places = self.integers([value.order.index(axis) for axis in order])
                self._ordered[key] = self.write("TRANSPOSE", [value.number, places], value.shape, order)
        return self._ordered[key]

    def reshaped(self, value: Value, shape: Sequence[int], order: Sequence[int] | None = None) -> Value:
        """Return the same memory under another shape and order."""
        order = tuple(range(len(shape)) if order is None else order)
        stored = [shape[axis] for axis in order]
        if list(self.builder.shapes[value.number]) == stored:
            return Value(value.number, tuple(shape), order)
        return self.write("RESHAPE", [value.number, self.integers(stored)], shape, order, newShape=stored)

    def fuse(self, activation: str) -> bool:
        """Put an activation into the operator that makes the node's input, where it can take one."""
        number = self.made[self.node.all_input_nodes[0]].number
        options = self.builder.options_of(self.inside.get(number, number))
        alike = [one for one, value in self.made.items() if isinstance(value, Value) and value.number == number]
        if getattr(options, "fusedActivationFunction", None) != 0 or any(len(one.users) != 1 for one in alike):
            return False
        options.fusedActivationFunction = getattr(self.builder.schema.ActivationFunctionType, activation)
        return True

    def constant_of(self, node: Any) -> Any:
        """Return the constant that a node stands for, None where it is none."""
        made = self.made.get(node)
        return None if _varies(made) else made


def _varies(value: Any) -> bool:
    return isinstance(value, Value) or (isinstance(value, (list, tuple)) and any(map(_varies, value)))


def _array(given: Tensor | float | int | bool) -> Shaped[np.ndarray, "*shape"]:
    if isinstance(given, Tensor):
        array = given.detach().cpu().numpy()
        return array.astype(np.float32) if array.dtype.kind == "f" else array
    return np.array(given, np.float32)


@lowers(operator.getitem)
def _getitem(low: Lowering, values: Sequence[Any], index: int) -> Any:
    return values[index]
