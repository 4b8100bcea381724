"""How reshaping, cutting, joining, padding and sums along axes are written."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from coppice.export.litert.elementwise import multiply, subtract
from coppice.export.litert.lower import Lowering, Value, lowers

aten = torch.ops.aten
_TO_THE_END = 1 << 62


@lowers(
    aten.alias.default,
    aten.clone.default,
    aten.contiguous.default,
    aten.detach.default,
    aten.dropout.default,
    aten.feature_dropout.default,
    aten.lift_fresh_copy.default,
)
def _same(low: Lowering, x: Value, *_: Any, **__: Any) -> Value:
    return x


@lowers(aten._to_copy.default, aten.to.dtype, aten.to.dtype_layout, aten.type_as.default)
def _converted(low: Lowering, x: Value, *_: Any, **__: Any) -> Value:
    if low.node.meta["val"].dtype != low.node.all_input_nodes[0].meta["val"].dtype:
        raise low.refused(f"values become {low.node.meta['val'].dtype}")
    return x


@lowers(
    aten._unsafe_view.default,
    aten.flatten.using_ints,
    aten.reshape.default,
    aten.squeeze.default,
    aten.squeeze.dim,
    aten.squeeze.dims,
    aten.unflatten.int,
    aten.unsqueeze.default,
    aten.view.default,
)
def _viewed(low: Lowering, x: Value, *_: Any) -> Value:
    shape = low.result_shape
    moving = [axis for axis in x.order if x.shape[axis] != 1]
    if [x.shape[axis] for axis in sorted(moving)] == [size for size in shape if size != 1]:
        # Nothing but axes of size 1 come and go: the order in memory may stay.
        kept = [axis for axis, size in enumerate(shape) if size != 1]
        place = dict(zip(sorted(moving), kept, strict=True))
        order = _with_ones([place[axis] for axis in moving], len(shape))
        return low.reshaped(x, shape, order)
    return low.reshaped(low.plain(x), shape)


def _with_ones(moving: list[int], rank: int) -> tuple[int, ...]:
    """Return an order of all axes in which the given ones stand as they do: PyTorch's or channels last if possible."""
    for order in (tuple(range(rank)), (0, *range(2, rank), 1)):
        if sorted(order) == list(range(rank)) and [axis for axis in order if axis in moving] == moving:
            return order
    return (*(axis for axis in range(rank) if axis not in moving), *moving)


@lowers(aten.permute.default)
def _permute(low: Lowering, x: Value, axes: Sequence[int]) -> Value:
    axes = [axis % len(x.shape) for axis in axes]
    return Value(x.number, tuple(x.shape[axis] for axis in axes), tuple(axes.index(axis) for axis in x.order))


@lowers(aten.transpose.int)
def _transpose(low: Lowering, x: Value, one: int, other: int) -> Value:
    axes = list(range(len(x.shape)))
    axes[one], axes[other] = axes[other], axes[one]
    return _permute(low, x, axes)


@lowers(aten.t.default)
def _t(low: Lowering, x: Value) -> Value:
    return _permute(low, x, (1, 0)) if len(x.shape) == 2 else x


def cut(low: Lowering, x: Value, axis: int, start: int, size: int) -> Value:
    """Write what stands along an axis from a place on."""
    if (start, size) == (0, x.shape[axis]):
        return x
    begin, sizes = [0] * len(x.shape), list(x.stored)
    place = x.order.index(axis)
    begin[place], sizes[place] = start, size
    shape = (*x.shape[:axis], size, *x.shape[axis + 1 :])
    return low.write("SLICE", [x.number, low.integers(begin), low.integers(sizes)], shape, x.order)


@lowers(aten.slice.Tensor)
def _slice(
    low: Lowering, x: Value, axis: int = 0, start: int | None = None, end: int | None = None, step: int = 1
) -> Value:
    axis %= len(x.shape)
    start, stop, _ = slice(start, min(_TO_THE_END if end is None else end, _TO_THE_END)).indices(x.shape[axis])
    if step == 1:
        return cut(low, x, axis, start, max(stop - start, 0))
    begin, ends, steps = [0] * len(x.shape), list(x.stored), [1] * len(x.shape)
    place = x.order.index(axis)
    begin[place], ends[place], steps[place] = start, stop, step
    inputs = [x.number, low.integers(begin), low.integers(ends), low.integers(steps)]
    return low.write("STRIDED_SLICE", inputs, low.result_shape, x.order)


@lowers(aten.narrow.default)
def _narrow(low: Lowering, x: Value, axis: int, start: int, size: int) -> Value:
    axis %= len(x.shape)
    return cut(low, x, axis, start % x.shape[axis], size)


@lowers(aten.select.int)
def _select(low: Lowering, x: Value, axis: int, index: int) -> Value:
    axis %= len(x.shape)
    return _without(low, cut(low, x, axis, index % x.shape[axis], 1), axis)


@lowers(aten.unbind.int)
def _unbind(low: Lowering, x: Value, axis: int = 0) -> list[Value]:
    axis %= len(x.shape)
    return [_without(low, cut(low, x, axis, index, 1), axis) for index in range(x.shape[axis])]


def _without(low: Lowering, x: Value, axis: int) -> Value:
    shape = (*x.shape[:axis], *x.shape[axis + 1 :])
    return low.reshaped(x, shape, [one - (one > axis) for one in x.order if one != axis])


@lowers(aten.split.Tensor, aten.split_with_sizes.default, aten.chunk.default)
def _split(low: Lowering, x: Value, sizes: Any, axis: int = 0) -> list[Value]:
    axis %= len(x.shape)
    parts, start = [], 0
    for part in low.node.meta["val"]:
        parts.append(cut(low, x, axis, start, part.shape[axis]))
        start += part.shape[axis]
    return parts


@lowers(aten.cat.default)
def _cat(low: Lowering, parts: Sequence[Any], axis: int = 0) -> Value:
    order = next(part.order for part in parts if isinstance(part, Value))
    axis %= len(order)
    numbers = [low.ordered(low.value(part), order).number for part in parts]
    return low.write("CONCATENATION", numbers, low.result_shape, order, axis=order.index(axis))


@lowers(aten.stack.default)
def _stack(low: Lowering, parts: Sequence[Any], axis: int = 0) -> Value:
    shape = low.result_shape
    axis %= len(shape)
    one = (*shape[:axis], 1, *shape[axis + 1 :])
    numbers = [low.reshaped(low.plain(part), one).number for part in parts]
    return low.write("CONCATENATION", numbers, shape, axis=axis)


@lowers(aten.expand.default)
def _expand(low: Lowering, x: Value, *_: Any, **__: Any) -> Value:
    shape = low.result_shape
    if shape == x.shape:
        return x
    x = low.reshaped(low.plain(x), (1,) * (len(shape) - len(x.shape)) + x.shape)
    return low.write("BROADCAST_TO", [x.number, low.integers(shape)], shape)


@lowers(aten.repeat.default)
def _repeat(low: Lowering, x: Value, times: Sequence[int]) -> Value:
    x = low.reshaped(low.plain(x), (1,) * (len(times) - len(x.shape)) + x.shape)
    return low.write("TILE", [x.number, low.integers(list(times))], low.result_shape)


@lowers(aten.flip.default)
def _flip(low: Lowering, x: Value, axes: Sequence[int]) -> Value:
    for axis in axes:
        place = low.integers([x.order.index(axis % len(x.shape))])
        x = low.write("REVERSE_V2", [x.number, place], x.shape, x.order)
    return x


@lowers(aten.pad.default, aten.constant_pad_nd.default, aten.reflection_pad1d.default, aten.reflection_pad2d.default)
def _pad(low: Lowering, x: Value, pads: Sequence[int], mode: Any = None, value: Any = None) -> Value:
    name = str(low.node.target)
    if "constant_pad" in name:
        mode, value = "constant", mode
    mode = "reflect" if "reflection" in name else (mode or "constant")
    if mode not in ("constant", "reflect"):
        raise low.refused(f"the padding is {mode!r}")
    rank = len(x.shape)
    both = [(0, 0)] * rank
    for i in range(len(pads) // 2):
        both[rank - 1 - i] = (pads[2 * i], pads[2 * i + 1])
    for axis, (before, after) in enumerate(both):
        if before < 0 or after < 0:
            left = max(-before, 0)
            x = cut(low, x, axis, left, x.shape[axis] - left - max(-after, 0))
    both = [(max(before, 0), max(after, 0)) for before, after in both]
    inputs = [x.number, low.integers([both[axis] for axis in x.order])]
    if mode == "reflect":
        return low.write("MIRROR_PAD", inputs, low.result_shape, x.order, mode=0)
    if not value:
        return low.write("PAD", inputs, low.result_shape, x.order)
    bound = np.finfo(np.float32)
    inputs.append(low.builder.constant(np.clip(np.array([value], np.float64), bound.min, bound.max)))
    return low.write("PADV2", inputs, low.result_shape, x.order)


def reduced(low: Lowering, code: str, x: Value, axes: Sequence[int], *, keep: bool) -> Value:
    """Write a mean, sum or maximum along axes."""
    rank = len(x.shape)
    gone = {axis % rank for axis in axes} or set(range(rank))
    places = low.integers(sorted(x.order.index(axis) for axis in gone))
    if keep:
        shape = tuple(1 if axis in gone else size for axis, size in enumerate(x.shape))
        return low.write(code, [x.number, places], shape, x.order, keepDims=True)
    left = [axis for axis in range(rank) if axis not in gone]
    order = [left.index(axis) for axis in x.order if axis not in gone]
    return low.write(code, [x.number, places], [x.shape[axis] for axis in left], order, keepDims=False)


_REDUCTIONS: dict[Any, str] = {
    aten.amax.default: "REDUCE_MAX",
    aten.amin.default: "REDUCE_MIN",
    aten.mean.dim: "MEAN",
    aten.sum.dim_IntList: "SUM",
}


@lowers(*_REDUCTIONS)
def _reduction(low: Lowering, x: Value, axes: Sequence[int] | None = (), keep: bool = False, **_: Any) -> Value:
    return reduced(low, _REDUCTIONS[low.node.target], x, axes or (), keep=keep)


@lowers(aten.mean.default, aten.sum.default, aten.max.default, aten.min.default)
def _over_all(low: Lowering, x: Value, **_: Any) -> Value:
    code = {"mean": "MEAN", "sum": "SUM", "max": "REDUCE_MAX", "min": "REDUCE_MIN"}
    return reduced(low, code[str(low.node.target).split(".")[1]], x, (), keep=False)


@lowers(aten.max.dim, aten.min.dim)
def _extreme(low: Lowering, x: Value, axis: int, keep: bool = False) -> tuple[Value, None]:
    if any(user.args[1] != 0 and user.users for user in low.node.users):
        raise low.refused("the place of the extreme is asked for")
    code = "REDUCE_MAX" if low.node.target is aten.max.dim else "REDUCE_MIN"
    return reduced(low, code, x, (axis,), keep=keep), None


@lowers(aten.var.correction, aten.var.dim, aten.std.correction, aten.std.dim)
def _variance(
    low: Lowering, x: Value, axes: Any = None, unbiased: bool = True, keepdim: bool = False, **named: Any
) -> Value:
    keep = bool(keepdim or named.get("keepdim", False))
    rank = len(x.shape)
    axes = [axis % rank for axis in (axes or range(rank))]
    count = math.prod(x.shape[axis] for axis in axes)
    correction = named.get("correction", 1 if unbiased else 0)
    correction = 1 if correction is None else correction
    if count <= correction:
        raise low.refused("there is one value only")
    centred = subtract(low, x, reduced(low, "MEAN", x, axes, keep=True))
    out = reduced(low, "MEAN", multiply(low, centred, centred), axes, keep=keep)
    out = out if not correction else multiply(low, out, count / (count - correction))
    if "std" in str(low.node.target):
        out = low.write("SQRT", [out.number], out.shape, out.order)
    return out
