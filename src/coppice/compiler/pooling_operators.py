"""What operators that gather the numbers of windows become."""

from typing import Any

import numpy as np

from coppice.compiler.axes import added, channels_first, pair
from coppice.compiler.graph_reader import GraphReader, Reference, Rule
from coppice.compiler.steps import Pool, Pooling, pooled_shape


def pool(kind: str) -> Rule:
    """Return the rule of ``MaxPool`` or ``AveragePool``."""

    def rule(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
        given = reader.given(node, node.input[0])
        lowest = kind == "max" and given.filler == -np.inf
        source = channels_first(reader, node, given if lowest else reader.whole(node, node.input[0]))
        axes = source.axes or ()
        for name, usual in (("auto_pad", ("NOTSET", "VALID")), ("ceil_mode", (0,)), ("storage_order", (0,))):
            if said.get(name, usual[0]) not in usual:
                raise reader.refuse(node, f"{node.op_type} with {name} {said[name]} has no C")
        if set(said.get("dilations", [1])) != {1}:
            raise reader.refuse(node, f"{node.op_type} with dilations {said['dilations']} has no C")
        spatial = len(axes) - 1
        pads = said.get("pads", [0] * 2 * spatial)
        pooling = Pooling(
            kind,
            pair(said["kernel_shape"], axes, 1),
            pair(said.get("strides", [1] * spatial), axes, 1),
            added((*pair(pads[:spatial], axes, 0), *pair(pads[spatial:], axes, 0)), source.padding),
            bool(said.get("count_include_pad", 0)),
        )
        _append_pool(reader, node, source, pooling, axes)

    return rule


def _append_pool(
    reader: GraphReader, node: Any, source: Reference, pooling: Pooling, axes: tuple[int, ...] | None
) -> None:
    step = Pool(reader.free_name(node.name or node.output[0]), (source.value,), node.output[0], pooling=pooling)
    shape = pooled_shape(pooling, reader.shapes[source.value])
    if min(shape) < 1:
        raise reader.refuse(node, f"{reader.shapes[source.value]} values are smaller than its window")
    reader.add(step, shape, axes, node.output[0])


def global_pool(kind: str) -> Rule:
    """Return the rule of ``GlobalMaxPool`` or ``GlobalAveragePool``."""

    def rule(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
        source = channels_first(reader, node, reader.whole(node, node.input[0]))
        shape = reader.shapes[source.value]
        _append_pool(reader, node, source, Pooling(kind, shape[1:], shape[1:]), source.axes)

    return rule


def reduce(kind: str) -> Rule:
    """Return the rule of ``ReduceMax`` or ``ReduceMean``: a window as large as the value along some axes."""

    def rule(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
        source = reader.whole(node, node.input[0])
        over = reader.constant(node, 1)
        listed = said.get("axes") if over is None else over.ravel().tolist()
        if listed is None or source.axes is None:
            raise reader.refuse(node, f"{node.op_type} over all axes has no C")
        axes = source.axes
        gone = {(axis if axis > 0 else axis + len(axes) + 1) - 1 for axis in listed}
        if -1 in gone or any(axes[axis] == 0 for axis in gone):
            raise reader.refuse(node, f"{node.op_type} over clips or channels has no C")
        shape = reader.shapes[source.value]
        kernel = [1, 1]
        for axis in gone:
            if axes[axis] > 0:
                kernel[axes[axis] - 1] = shape[axes[axis]]
        window = (kernel[0], kernel[1])
        left = axes if said.get("keepdims", 1) else tuple(a for i, a in enumerate(axes) if i not in gone)
        _append_pool(reader, node, source, Pooling(kind, window, window), left)

    return rule
