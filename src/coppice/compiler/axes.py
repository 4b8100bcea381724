"""The axes of a tensor of the graph, in the order of a value's: channels, rows, frames."""

from collections.abc import Iterable
from typing import Any

from coppice.compiler.graph_reader import GraphReader, Reference
from coppice.compiler.steps import Permute

NATURAL = (0, 1, 2)


def pair(values: Iterable[int], axes: tuple[int, ...], missing: int) -> tuple[int, int]:
    """Put what is said of the spatial axes of a tensor in the order rows, frames."""
    placed = [missing, missing]
    for axis, value in zip(axes[1:], values, strict=True):
        placed[axis - 1] = int(value)
    return placed[0], placed[1]


def added(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, int, int, int]:
    """Return two paddings, one around the other, as one.

    Examples
    --------
    >>> added((1, 1, 1, 1), (0, 2, 0, 3))
    (1, 3, 1, 4)
    """
    top, left, bottom, right = (a + b for a, b in zip(one, other, strict=True))
    return top, left, bottom, right


def channels_first(reader: GraphReader, node: Any, source: Reference) -> Reference:
    """Return a tensor whose first axis is the value's channels, copied into another order where it is not."""
    if source.axes is None:
        raise reader.refuse(node, f"{node.op_type} of numbers in one row has no C")
    if source.axes[0] == 0 and -1 not in source.axes:
        return source
    return natural(reader, node, source if not any(source.padding) else reader.whole(node, node.input[0]))


def natural(reader: GraphReader, node: Any, source: Reference) -> Reference:
    """Return a tensor whose axes are channels, rows and frames in this order, copied where they are not."""
    axes = source.axes
    if axes is None or (tuple(sorted(axes)) == axes and -1 not in axes):
        return source
    rest = [axis for axis in NATURAL if axis not in axes]
    order = [axis if axis >= 0 else rest.pop(0) for axis in axes]
    placed = {1: (0,), 2: (0, 2), 3: NATURAL}[len(order)]
    whole = dict(zip(placed, order, strict=True)) | dict(
        zip([a for a in NATURAL if a not in placed], rest, strict=True)
    )
    moved = (whole[0], whole[1], whole[2])
    shape = reader.shapes[source.value]
    name = f"{source.value}_moved{''.join(map(str, moved))}"
    if name not in reader.shapes:
        step = Permute(reader.free_name(f"{node.name}_permute"), (source.value,), name, axes=moved)
        reader.add(step, (shape[moved[0]], shape[moved[1]], shape[moved[2]]), placed, name)
    return Reference(name, placed)
