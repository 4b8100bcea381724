"""What each operator of ONNX becomes."""

from dataclasses import replace
from typing import Any

import numpy as np

from coppice.compiler.graph_reader import GraphReader, Reference, Rule
from coppice.compiler.steps import (
    RELU,
    Activation,
    Combine,
    Convolution,
    Dense,
    Grid,
    Join,
    Permute,
    Pool,
    Pooling,
    Scale,
    Softmax,
    convolved_shape,
    pooled_shape,
)

_NATURAL = (0, 1, 2)


def _convolution(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    given = reader.given(node, node.input[0])
    source = _channels_first(reader, node, given if given.filler == 0 else reader.whole(node, node.input[0]))
    weight, bias = reader.constant(node, 1), reader.constant(node, 2)
    if weight is None or said.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise reader.refuse(node, f"Conv with auto_pad {said.get('auto_pad')} has no C")
    axes = source.axes or ()
    spatial = weight.ndim - 2
    stride, dilation = (_pair(said.get(name, [1] * spatial), axes, 1) for name in ("strides", "dilations"))
    pads = said.get("pads", [0] * 2 * spatial)
    before, after = _pair(pads[:spatial], axes, 0), _pair(pads[spatial:], axes, 0)
    kernel = _pair(weight.shape[2:], axes, 1)
    swapped = spatial == 2 and axes[1:] == (2, 1)
    step = Convolution(
        reader.free_name(reader.layer(node)),
        (source.value,),
        node.output[0],
        weight=(weight.swapaxes(2, 3) if swapped else weight).reshape(*weight.shape[:2], *kernel).astype(np.float64),
        bias=np.zeros(len(weight)) if bias is None else bias.astype(np.float64),
        stride=stride,
        dilation=dilation,
        padding=_sum4((*before, *after), source.padding),
        groups=said.get("group", 1),
        weight_step=_steps_of(reader, node, len(weight)),
    )
    shape = convolved_shape(step, reader.shapes[source.value])
    if min(shape) < 1:
        raise reader.refuse(node, f"{reader.shapes[source.value]} values are smaller than its window")
    reader.add(step, shape, axes, node.output[0])


def _steps_of(reader: GraphReader, node: Any, filters: int) -> np.ndarray | None:
    """Return what the weights of each filter are multiples of, None where that is not known."""
    found = reader.weight_steps.get(node.input[1])
    return None if found is None or found.size not in (1, filters) else np.broadcast_to(found, filters)


def _pair(values: Any, axes: tuple[int, ...], missing: int) -> tuple[int, int]:
    """Put what is said of the spatial axes of a tensor in the order rows, frames."""
    placed = [missing, missing]
    for axis, value in zip(axes[1:], values, strict=True):
        placed[axis - 1] = int(value)
    return placed[0], placed[1]


def _sum4(one: tuple[int, ...], other: tuple[int, ...]) -> tuple[int, int, int, int]:
    top, left, bottom, right = (a + b for a, b in zip(one, other, strict=True))
    return top, left, bottom, right


def _channels_first(reader: GraphReader, node: Any, source: Reference) -> Reference:
    """Return a tensor whose first axis is the value's channels, copied into another order where it is not."""
    if source.axes is None:
        raise reader.refuse(node, f"{node.op_type} of numbers in one row has no C")
    if source.axes[0] == 0 and -1 not in source.axes:
        return source
    return _natural(reader, node, source if not any(source.padding) else reader.whole(node, node.input[0]))


def _natural(reader: GraphReader, node: Any, source: Reference) -> Reference:
    """Return a tensor whose axes are channels, rows and frames in this order, copied where they are not."""
    axes = source.axes
    if axes is None or (tuple(sorted(axes)) == axes and -1 not in axes):
        return source
    rest = [axis for axis in _NATURAL if axis not in axes]
    order = [axis if axis >= 0 else rest.pop(0) for axis in axes]
    placed = {1: (0,), 2: (0, 2), 3: _NATURAL}[len(order)]
    whole = dict(zip(placed, order, strict=True)) | dict(
        zip([a for a in _NATURAL if a not in placed], rest, strict=True)
    )
    moved = (whole[0], whole[1], whole[2])
    shape = reader.shapes[source.value]
    name = f"{source.value}_moved{''.join(map(str, moved))}"
    if name not in reader.shapes:
        step = Permute(reader.free_name(f"{node.name}_permute"), (source.value,), name, axes=moved)
        reader.add(step, (shape[moved[0]], shape[moved[1]], shape[moved[2]]), placed, name)
    return Reference(name, placed)


def _normalisation(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    source = reader.whole(node, node.input[0])
    gain, shift, mean, variance = (reader.constant(node, i) for i in range(1, 5))
    assert gain is not None and shift is not None and mean is not None and variance is not None
    factor = gain.astype(np.float64) / np.sqrt(variance.astype(np.float64) + said.get("epsilon", 1e-5))
    _scale(reader, node, source, factor, shift - mean * factor, axis=0)


def _scale(
    reader: GraphReader, node: Any, source: Reference, factor: np.ndarray, offset: np.ndarray, *, axis: int
) -> None:
    """Append ``factor * x + offset`` with numbers along one axis of the tensor."""
    shape = reader.shapes[source.value]
    if source.axes is None:
        if shape[1:] != (1, 1) and factor.size > 1:
            raise reader.refuse(node, f"{node.op_type} of flattened numbers with constants of each has no C")
        along = 0
    else:
        along = source.axes[axis] if factor.size > 1 else 0
    if along == 2:
        raise reader.refuse(node, f"{node.op_type} with a constant for each frame has no C")
    spread = [1, 1, 1]
    spread[along] = -1
    full = (shape[0], shape[1], 1)
    step = Scale(
        reader.free_name(reader.layer(node)),
        (source.value,),
        node.output[0],
        factor=np.broadcast_to(np.reshape(factor, spread), full).astype(np.float64),
        offset=np.broadcast_to(np.reshape(offset, spread), full).astype(np.float64),
    )
    reader.add(step, shape, source.axes, node.output[0])


def _activation(kind: Activation) -> Rule:
    def rule(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
        _activate(reader, node, kind)

    return rule


def _clip(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    low, high = reader.constant(node, 1), reader.constant(node, 2)
    limits = (-np.inf if low is None else float(low), np.inf if high is None else float(high))
    _activate(reader, node, Activation(low=limits[0], high=limits[1]))


def _hard_sigmoid(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    if abs(said.get("alpha", 0.2) - 1 / 6) > 1e-6 or said.get("beta", 0.5) != 0.5:
        raise reader.refuse(node, f"HardSigmoid with alpha {said.get('alpha', 0.2):g} has no C (1/6 has)")
    _activate(reader, node, Activation("hard_sigmoid"))


def _activate(reader: GraphReader, node: Any, kind: Activation) -> None:
    source = reader.whole(node, node.input[0])
    shape = reader.shapes[source.value]
    full = (shape[0], shape[1], 1)
    step = Scale(
        reader.free_name(node.name or node.output[0]),
        (source.value,),
        node.output[0],
        factor=np.ones(full),
        offset=np.zeros(full),
        activation=kind,
    )
    reader.add(step, shape, source.axes, node.output[0])


def _pool(kind: str) -> Rule:
    def rule(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
        given = reader.given(node, node.input[0])
        lowest = kind == "max" and given.filler == -np.inf
        source = _channels_first(reader, node, given if lowest else reader.whole(node, node.input[0]))
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
            _pair(said["kernel_shape"], axes, 1),
            _pair(said.get("strides", [1] * spatial), axes, 1),
            _sum4((*_pair(pads[:spatial], axes, 0), *_pair(pads[spatial:], axes, 0)), source.padding),
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


def _global_pool(kind: str) -> Rule:
    def rule(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
        source = _channels_first(reader, node, reader.whole(node, node.input[0]))
        shape = reader.shapes[source.value]
        _append_pool(reader, node, source, Pooling(kind, shape[1:], shape[1:]), source.axes)

    return rule


def _reduce(kind: str) -> Rule:
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


def _arithmetic(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    """Add, subtract, multiply or divide: two values, or a value and constants of each channel or row."""
    kind = node.op_type
    constant = [i for i, name in enumerate(node.input) if name in reader.constants]
    if constant:
        number = reader.constants[node.input[constant[0]]].astype(np.float64)
        source = reader.whole(node, node.input[1 - constant[0]])
        if kind in ("Sub", "Div") and constant[0] == 0:
            if kind == "Div":
                raise reader.refuse(node, "Div of a constant by values has no C")
            factor, offset = -np.ones_like(number), number
        else:
            factor = {"Mul": number, "Div": 1 / number}.get(kind, np.ones_like(number))
            offset = {"Add": number, "Sub": -number}.get(kind, np.zeros_like(number))
        long = [i for i, size in enumerate(number.shape) if size > 1]
        if len(long) > 1:
            raise reader.refuse(node, f"{kind} with constants of shape {number.shape} has no C")
        axis = long[0] - number.ndim + len(reader.size(source)) if long else 0
        _scale(reader, node, source, factor.ravel(), offset.ravel(), axis=axis)
        return
    if kind not in ("Add", "Mul"):
        raise reader.refuse(node, f"{kind} of two values has no C")
    one, other = (_natural(reader, node, reader.whole(node, name)) for name in node.input)
    first, second = reader.shapes[one.value], reader.shapes[other.value]
    if first[1:] == (1, 1) and second[1:] != (1, 1):
        one, other, first, second = other, one, second, first
    if second not in (first, (first[0], 1, 1)) or (one.axes is None) != (other.axes is None):
        raise reader.refuse(node, f"{kind} of values of shapes {first} and {second} has no C")
    step = Combine(
        reader.free_name(node.name or node.output[0]),
        (one.value, other.value),
        node.output[0],
        kind="add" if kind == "Add" else "multiply",
    )
    reader.add(step, first, one.axes, node.output[0])


def _join(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    parts = [_natural(reader, node, reader.whole(node, name)) for name in node.input]
    shapes = [reader.shapes[part.value] for part in parts]
    if said["axis"] != 1 or len({shape[1:] for shape in shapes}) > 1 or None in {part.axes for part in parts}:
        raise reader.refuse(node, "Concat along another axis than the channels has no C")
    step = Join(reader.free_name(node.name), tuple(part.value for part in parts), node.output[0])
    channels = sum(shape[0] for shape in shapes)
    reader.add(step, (channels, *shapes[0][1:]), parts[0].axes, node.output[0])


def _transpose(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    source = reader.whole(node, node.input[0])
    order = said.get("perm", [])
    if not order or order[0] != 0 or source.axes is None:
        raise reader.refuse(node, f"Transpose with perm {order} has no C")
    reader.references[node.output[0]] = replace(source, axes=tuple(source.axes[axis - 1] for axis in order[1:]))


def _reshape(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    """Flatten, or add and take away axes of size 1: no number moves."""
    source = reader.whole(node, node.input[0])
    size = reader.size(source)
    wanted = _wanted(reader, node, said, size)
    kept = [axis for axis, length in zip(source.axes or (), size, strict=False) if length > 1]
    if source.axes is not None and [n for n in wanted if n > 1] == [n for n in size if n > 1]:
        left = iter(kept)
        axes = tuple(next(left) if length > 1 else -1 for length in wanted)
        if -1 in axes and len(wanted) <= 3:  # axes of size 1 may be any that the value has to spare
            spare = [axis for axis in _NATURAL if axis not in kept]
            axes = tuple(axis if axis >= 0 else spare.pop(0) for axis in axes)
        reader.references[node.output[0]] = Reference(source.value, axes)
    elif len([n for n in wanted if n > 1]) <= 1 and len(wanted) == 1:
        natural = _natural(reader, node, source)
        flat = (0,) if reader.shapes[natural.value][1:] == (1, 1) else None
        reader.references[node.output[0]] = Reference(natural.value, flat)
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


def _dense(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    source = _natural(reader, node, reader.whole(node, node.input[0]))
    weight, bias = reader.constant(node, 1), reader.constant(node, 2)
    assert weight is not None
    if said.get("transA") or said.get("alpha", 1.0) != 1.0 or said.get("beta", 1.0) != 1.0:
        raise reader.refuse(node, f"{node.op_type} with transA, alpha or beta has no C")
    matrix = weight if said.get("transB") else weight.T
    if len(reader.size(source)) != 1 or matrix.shape[1] != reader.size(source)[0]:
        raise reader.refuse(node, f"{node.op_type} of a tensor with axes {reader.size(source)} has no C")
    step = Dense(
        reader.free_name(reader.layer(node)),
        (source.value,),
        node.output[0],
        weight=matrix.astype(np.float64),
        bias=np.zeros(len(matrix)) if bias is None else np.broadcast_to(bias, len(matrix)).astype(np.float64),
        weight_step=_steps_of(reader, node, len(matrix)),
    )
    reader.add(step, (len(matrix), 1, 1), (0,), node.output[0])


def _softmax(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    source = reader.whole(node, node.input[0])
    if reader.size(source) != (reader.shapes[source.value][0],) or said.get("axis", -1) not in (1, -1):
        raise reader.refuse(node, "Softmax of anything but one row of classes has no C")
    step = Softmax(reader.free_name(node.name or node.output[0]), (source.value,), node.output[0])
    reader.add(step, reader.shapes[source.value], source.axes, node.output[0])


def _pad(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
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
    zeros = (*_pair(before[2:], source.axes, 0), *_pair(after[2:], source.axes, 0))
    reader.references[node.output[0]] = replace(source, padding=_sum4(source.padding, zeros), filler=filler)


def _quantize(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    source = reader.whole(node, node.input[0])
    size, zero = reader.constant(node, 1), reader.constant(node, 2)
    if size is None or size.size != 1 or zero is None or zero.dtype not in (np.int8, np.uint8):
        raise reader.refuse(node, "QuantizeLinear with anything but one scale and 8 bits has no C")
    shift = 128 if zero.dtype == np.int8 else 0  # what is stored is a byte from 0 to 255
    shape = reader.shapes[source.value]
    step = Scale(
        reader.free_name(node.name or node.output[0]),
        (source.value,),
        node.output[0],
        grid=Grid(float(size.ravel()[0]), int(zero.ravel()[0]) + shift),
        factor=np.ones((*shape[:2], 1)),
        offset=np.zeros((*shape[:2], 1)),
    )
    reader.add(step, shape, source.axes, node.output[0])


def _dequantize(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    """Take back what was stored in 8 bits: of constants the numbers, of all else what was rounded, as it is."""
    if node.input[0] not in reader.constants:
        reader.references[node.output[0]] = reader.whole(node, node.input[0])
        return
    stored, size, zero = (reader.constant(node, i) for i in range(3))
    assert stored is not None and size is not None
    along = [1] * stored.ndim
    if size.size > 1:
        along[said.get("axis", 1)] = -1
    sizes, zeros = size.astype(np.float64), np.zeros_like(size) if zero is None else zero.astype(np.float64)
    reader.constants[node.output[0]] = (stored.astype(np.float64) - zeros.reshape(along)) * sizes.reshape(along)
    if not zeros.any() and stored.dtype == np.int8:
        reader.weight_steps[node.output[0]] = sizes.ravel()


def _same(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    reader.references[node.output[0]] = reader.given(node, node.input[0])


def _constant(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    from onnx import numpy_helper

    (value,) = said.values()
    array = numpy_helper.to_array(value) if hasattr(value, "raw_data") else np.asarray(value)
    reader.constants[node.output[0]] = array


RULES: dict[str, Rule] = {
    "Add": _arithmetic,
    "AveragePool": _pool("average"),
    "BatchNormalization": _normalisation,
    "Clip": _clip,
    "Concat": _join,
    "Constant": _constant,
    "Conv": _convolution,
    "DequantizeLinear": _dequantize,
    "Div": _arithmetic,
    "Dropout": _same,
    "Flatten": _reshape,
    "Gemm": _dense,
    "GlobalAveragePool": _global_pool("average"),
    "GlobalMaxPool": _global_pool("max"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _activation(Activation("hard_swish")),
    "Identity": _same,
    "MatMul": _dense,
    "MaxPool": _pool("max"),
    "Mul": _arithmetic,
    "Pad": _pad,
    "QuantizeLinear": _quantize,
    "ReduceMax": _reduce("max"),
    "ReduceMean": _reduce("average"),
    "Relu": _activation(RELU),
    "Reshape": _reshape,
    "Sigmoid": _activation(Activation("sigmoid")),
    "Softmax": _softmax,
    "Squeeze": _reshape,
    "Sub": _arithmetic,
    "Tanh": _activation(Activation("tanh")),
    "Transpose": _transpose,
    "Unsqueeze": _reshape,
}
