"""What operators that put results one upon the other, and sum them up, become: those of an ensemble's members."""

from typing import Any

import numpy as np

from coppice.compiler.axes import natural
from coppice.compiler.graph_reader import GraphReader, Rule
from coppice.compiler.shape_operators import join, reshape
from coppice.compiler.steps import Combine, Select


def unsqueeze(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    """Begin a stack, or add an axis of size 1 elsewhere: ``Unsqueeze``."""
    axes = reader.constant(node, 1)
    if axes is None or axes.ravel().tolist() != [0]:
        reshape(reader, node, said)
        return
    reader.stacks[node.output[0]] = (reader.whole(node, node.input[0]),)


def concat(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    """Put stacks one upon the other, or values one after the other: ``Concat``."""
    if said["axis"] != 0 or not all(name in reader.stacks for name in node.input):
        join(reader, node, said)
        return
    reader.stacks[node.output[0]] = tuple(one for name in node.input for one in reader.stacks[name])


def combined(kind: str) -> Rule:
    """Return the rule that sums a stack up: ``ReduceSum``, ``ReduceLogSumExp``."""

    def rule(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
        axes = reader.constant(node, 1)
        stack = reader.stacks.get(node.input[0])
        if stack is None or axes is None or axes.ravel().tolist() != [0] or said.get("keepdims", 1):
            raise reader.refuse(node, f"{node.op_type} of anything but a stack of results has no C")
        parts = [natural(reader, node, one) for one in stack]
        shapes = {reader.shapes[one.value] for one in parts}
        if len(shapes) > 1:
            raise reader.refuse(node, f"{node.op_type} of results of shapes {sorted(shapes)} has no C")
        before = parts[0]
        reader.references[node.output[0]] = before
        for number, part in enumerate(parts[1:], start=1):
            target = node.output[0] if number == len(parts) - 1 else f"{node.output[0]}_{number}"
            name = reader.free_name(node.name or node.output[0])
            step = Combine(name, (before.value, part.value), target, kind=kind)
            reader.add(step, reader.shapes[part.value], before.axes, target)
            before = reader.references[target]

    return rule


def gather(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    """Take channels in another order: ``Gather``."""
    source = reader.whole(node, node.input[0])
    order = reader.constant(node, 1)
    shape = reader.shapes[source.value]
    known = source.axes is not None and source.axes[:1] == (0,) and order is not None and order.ndim == 1
    if not known or order is None or said.get("axis", 0) != 1:
        raise reader.refuse(node, "Gather of anything but channels in a fixed order has no C")
    channels = tuple(int(n) for n in np.where(order < 0, order + shape[0], order))
    step = Select(reader.free_name(node.name or node.output[0]), (source.value,), node.output[0], channels=channels)
    reader.add(step, (len(channels), *shape[1:]), source.axes, node.output[0])
