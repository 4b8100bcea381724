"""What each operator of ONNX becomes."""

from typing import Any

import numpy as np
from onnx import numpy_helper

from coppice.compiler.axes import added, channels_first, natural, pair
from coppice.compiler.graph_reader import GraphReader, Reference, Rule
from coppice.compiler.pooling_operators import global_pool, pool, reduce
from coppice.compiler.shape_operators import pad, reshape, transpose
from coppice.compiler.stack_operators import combined, concat, gather, unsqueeze
from coppice.compiler.steps import RELU, Activation, Combine, Convolution, Dense, Grid, Scale, Softmax, convolved_shape


def _convolution(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    given = reader.given(node, node.input[0])
    source = channels_first(reader, node, given if given.filler == 0 else reader.whole(node, node.input[0]))
    weight, bias = reader.constant(node, 1), reader.constant(node, 2)
    if weight is None or said.get("auto_pad", "NOTSET") not in ("NOTSET", "VALID"):
        raise reader.refuse(node, f"Conv with auto_pad {said.get('auto_pad')} has no C")
    axes = source.axes or ()
    spatial = weight.ndim - 2
    stride, dilation = (pair(said.get(name, [1] * spatial), axes, 1) for name in ("strides", "dilations"))
    pads = said.get("pads", [0] * 2 * spatial)
    before, after = pair(pads[:spatial], axes, 0), pair(pads[spatial:], axes, 0)
    kernel = pair(weight.shape[2:], axes, 1)
    swapped = spatial == 2 and axes[1:] == (2, 1)
    step = Convolution(
        reader.free_name(reader.layer(node)),
        (source.value,),
        node.output[0],
        weight=(weight.swapaxes(2, 3) if swapped else weight).reshape(*weight.shape[:2], *kernel).astype(np.float64),
        bias=np.zeros(len(weight)) if bias is None else bias.astype(np.float64),
        stride=stride,
        dilation=dilation,
        padding=added((*before, *after), source.padding),
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
    one, other = (natural(reader, node, reader.whole(node, name)) for name in node.input)
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


def _dense(reader: GraphReader, node: Any, said: dict[str, Any]) -> None:
    source = natural(reader, node, reader.whole(node, node.input[0]))
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
        raise reader.refuse(node, f"{node.op_type} of anything but one row of classes has no C")
    name = reader.free_name(node.name or node.output[0])
    step = Softmax(name, (source.value,), node.output[0], log=node.op_type == "LogSoftmax")
    reader.add(step, reader.shapes[source.value], source.axes, node.output[0])


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
    (value,) = said.values()
    array = numpy_helper.to_array(value) if hasattr(value, "raw_data") else np.asarray(value)
    reader.constants[node.output[0]] = array


RULES: dict[str, Rule] = {
    "Add": _arithmetic,
    "AveragePool": pool("average"),
    "BatchNormalization": _normalisation,
    "Clip": _clip,
    "Concat": concat,
    "Constant": _constant,
    "Conv": _convolution,
    "DequantizeLinear": _dequantize,
    "Div": _arithmetic,
    "Dropout": _same,
    "Flatten": reshape,
    "Gather": gather,
    "Gemm": _dense,
    "GlobalAveragePool": global_pool("average"),
    "GlobalMaxPool": global_pool("max"),
    "HardSigmoid": _hard_sigmoid,
    "HardSwish": _activation(Activation("hard_swish")),
    "Identity": _same,
    "LogSoftmax": _softmax,
    "MatMul": _dense,
    "MaxPool": pool("max"),
    "Mul": _arithmetic,
    "Pad": pad,
    "QuantizeLinear": _quantize,
    "ReduceLogSumExp": combined("log_add"),
    "ReduceMax": reduce("max"),
    "ReduceMean": reduce("average"),
    "ReduceSum": combined("add"),
    "Relu": _activation(RELU),
    "Reshape": reshape,
    "Sigmoid": _activation(Activation("sigmoid")),
    "Softmax": _softmax,
    "Squeeze": reshape,
    "Sub": _arithmetic,
    "Tanh": _activation(Activation("tanh")),
    "Transpose": transpose,
    "Unsqueeze": unsqueeze,
}
