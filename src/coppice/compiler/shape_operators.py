"""What operators that move, join and surround numbers become."""

from dataclasses import replace
from typing import Any

import numpy as np

from coppice.compiler.axes import NATURAL, added, natural, pair
from coppice.compiler.graph_reader import GraphReader, Reference
from coppice.compiler.steps import Join


def join(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    """Put values one after the other along the channels: ``Concat``."""
    parts = [natural(reader, node, reader.whole(node, name)) for name in node.input]
    shapes = [reader.shapes[part.value] for part in parts]
    if said["axis"] != 1 or len({shape[1:] for shape in shapes}) > 1 or None in {part.axes for part in parts}:
        raise reader.refuse(node, "Concat along another axis than the channels has no C")
    step = Join(reader.free_name(node.name), tuple(part.value for part in parts), node.output[0])
    channels = sum(shape[0] for shape in shapes)
    reader.add(step, (channels, *shapes[0][1:]), parts[0].axes, node.output[0])


def transpose(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    """Look at a value's axes in another order: no number moves."""
    source = reader.whole(node, node.input[0])
    order = said.get("perm", [])
    if not order or order[0] != 0 or source.axes is None:
        raise reader.refuse(node, f"Transpose with perm {order} has no C")
    reader.references[node.output[0]] = replace(source, axes=tuple(source.axes[axis - 1] for axis in order[1:]))


def reshape(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    """Flatten, or add and take away axes of size 1: no number moves."""
    source = reader.whole(node, node.input[0])
    size = reader.size(source)
    wanted = _wanted(reader, node, said, size)
    kept = [axis for axis, length in zip(source.axes or (), size, strict=False) if length > 1]
    if source.axes is not None and [n for n in wanted if n > 1] == [n for n in size if n > 1]:
        left = iter(kept)
        axes = tuple(next(left) if length > 1 else -1 for length in wanted)
        if -1 in axes and len(wanted) <= 3:  # axes of size 1 may be any that the value has to spare
            spare = [axis for axis in NATURAL if axis not in kept]
            axes = tuple(axis if axis >= 0 else spare.pop(0) for axis in axes)
        reader.references[node.output[0]] = Reference(source.value, axes)
    elif len([n for n in wanted if n > 1]) <= 1 and len(wanted) == 1:
        ordered = natural(reader, node, source)
        flat = (0,) if reader.shapes[ordered.value][1:] == (1, 1) else None
        reader.references[node.output[0]] = Reference(ordered.value, flat)
    else:
        raise reader.refuse(node, f"{node.op_type} from {size} to {wanted} has no C")


def _wanted(reader: GraphReader, node: Any, said: dict[str, Any], size: tuple[int, ...]) -> tuple[int, ...]:
    numbers = int(np.prod(size))
    if node.op_type == "Flatten":
        if said.get("axis", 1) != 1:
            raise reader.refuse(node, "Flatten of the clips has no C")
        return (numbers,)
    constant = reader.constant(node, 1)
    listed = said.get("axes", []) if constant is None else constant.ravel().tolist()
    if node.op_type == "Reshape":
        wanted = [size[i - 1] if n == 0 and not said.get("allowzero") else int(n) for i, n in enumerate(listed)][1:]
        known = int(np.prod([n for n in wanted if n != -1]))
        wanted = [numbers // max(known, 1) if n == -1 else n for n in wanted]
        if int(np.prod(wanted)) != numbers:
            raise reader.refuse(node, f"Reshape to {listed} moves numbers between clips, which has no C")
        return tuple(wanted)
    if node.op_type == "Squeeze":
        gone = {axis % (len(size) + 1) - 1 for axis in listed}
        return tuple(n for i, n in enumerate(size) if i not in gone)
    whole = list(size)
    for axis in sorted(int(axis) % (len(size) + 1 + len(listed)) for axis in listed):
        whole.insert(axis - 1, 1)
    return tuple(whole)


def pad(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    """Surround a value with rows and frames of one number, which are written only where the next step needs that."""
    source = reader.given(node, node.input[0])
    pads, value, axes = (reader.constant(node, i) for i in (1, 2, 3))
    dims = len(source.axes or ()) + 1
    if source.axes is None or source.axes[:1] != (0,) or pads is None or axes is not None or pads.size != 2 * dims:
        raise reader.refuse(node, "Pad of these axes has no C")
    filler = 0.0 if value is None else float(value)
    if said.get("mode", "constant") != "constant" or (any(source.padding) and source.filler != filler):
        raise reader.refuse(node, f"Pad with {said.get('mode', 'two numbers')} has no C")
    before, after = pads[:dims], pads[dims:]
    if before[0] or after[0] or before[1] or after[1] or (pads < 0).any():
        raise reader.refuse(node, "Pad of clips or channels has no C")
    zeros = (*pair(before[2:], source.axes, 0), *pair(after[2:], source.axes, 0))
    reader.references[node.output[0]] = replace(source, padding=added(source.padding, zeros), filler=filler)
