"""How sums, products, activations and comparisons are written."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from coppice.export.litert.lower import Lowering, Value, lowers

aten = torch.ops.aten


def elementwise(low: Lowering, code: str, *given: Any, dtype: str = "float32", **options: Any) -> Value:
    """Write an operator that works value by value; smaller operands are repeated, as in PyTorch."""
    shapes = [tuple(one.shape) if isinstance(one, (Value, Tensor)) else () for one in given]
    shape = tuple(int(size) for size in np.broadcast_shapes(*shapes))
    varying = [one for one in given if isinstance(one, Value)]
    model = max(varying, key=lambda one: (len(one.shape), math.prod(one.shape)))
    order = model.order if len(model.shape) == len(shape) else tuple(range(len(shape)))
    inputs = [_operand(low, one, len(shape), order) for one in given]
    return low.write(code, inputs, shape, order, dtype=dtype, **options)


def _operand(low: Lowering, given: Any, rank: int, order: tuple[int, ...]) -> int:
    if isinstance(given, Value):
        if len(given.shape) < rank:
            given = low.reshaped(low.plain(given), (1,) * (rank - len(given.shape)) + given.shape)
        return low.ordered(given, order).number
    array = given.detach().numpy() if isinstance(given, Tensor) else np.array(given)
    array = array.astype(bool if array.dtype == bool else np.float32)
    if array.ndim:
        array = array.reshape((1,) * (rank - array.ndim) + array.shape).transpose(order)
        array = array.reshape(array.shape[next((i for i, size in enumerate(array.shape) if size > 1), rank - 1) :])
    return low.builder.constant(array, f"{low.name}/constant")


def add(low: Lowering, left: Any, right: Any, *, alpha: float = 1) -> Value:
    """Write a sum."""
    return elementwise(low, "ADD", left, _times(low, right, alpha))


def subtract(low: Lowering, left: Any, right: Any, *, alpha: float = 1) -> Value:
    """Write a difference."""
    return elementwise(low, "SUB", left, _times(low, right, alpha))


def multiply(low: Lowering, left: Any, right: Any) -> Value:
    """Write a product."""
    return elementwise(low, "MUL", left, right)


def divide(low: Lowering, left: Any, right: Any) -> Value:
    """Write a quotient; by a constant, a product."""
    if isinstance(right, Tensor):
        return elementwise(low, "MUL", left, 1.0 / right.double())
    if not isinstance(right, Value):
        return elementwise(low, "MUL", left, 1.0 / right)
    return elementwise(low, "DIV", left, right)


def _times(low: Lowering, given: Any, factor: float) -> Any:
    if factor == 1:
        return given
    return multiply(low, given, factor) if isinstance(given, Value) else given * factor


for _targets, _rule in (
    ((aten.add.Tensor, aten.add.Scalar), add),
    ((aten.sub.Tensor, aten.sub.Scalar), subtract),
    ((aten.mul.Tensor, aten.mul.Scalar), multiply),
    ((aten.div.Tensor, aten.div.Scalar), divide),
):
    lowers(*_targets)(_rule)

_ONE_OPERATOR = {
    aten.abs.default: "ABS",
    aten.ceil.default: "CEIL",
    aten.cos.default: "COS",
    aten.exp.default: "EXP",
    aten.floor.default: "FLOOR",
    aten.hardswish.default: "HARD_SWISH",
    aten.log.default: "LOG",
    aten.maximum.default: "MAXIMUM",
    aten.minimum.default: "MINIMUM",
    aten.neg.default: "NEG",
    aten.rsqrt.default: "RSQRT",
    aten.sigmoid.default: "LOGISTIC",
    aten.sign.default: "SIGN",
    aten.sin.default: "SIN",
    aten.sqrt.default: "SQRT",
    aten.tanh.default: "TANH",
}
_COMPARISONS = {
    aten.eq: "EQUAL",
    aten.ge: "GREATER_EQUAL",
    aten.gt: "GREATER",
    aten.le: "LESS_EQUAL",
    aten.lt: "LESS",
    aten.ne: "NOT_EQUAL",
}
_LOGICAL = {
    aten.logical_and.default: "LOGICAL_AND",
    aten.logical_not.default: "LOGICAL_NOT",
    aten.logical_or.default: "LOGICAL_OR",
    aten.bitwise_and.Tensor: "LOGICAL_AND",
    aten.bitwise_not.default: "LOGICAL_NOT",
    aten.bitwise_or.Tensor: "LOGICAL_OR",
}


def _by_one(code: str, dtype: str = "float32") -> Callable[..., Value]:
    return lambda low, *given: elementwise(low, code, *given, dtype=dtype)


for _target, _code in _ONE_OPERATOR.items():
    lowers(_target)(_by_one(_code))
for _packet, _code in _COMPARISONS.items():
    lowers(_packet.Tensor, _packet.Scalar)(_by_one(_code, "bool"))
for _target, _code in _LOGICAL.items():
    lowers(_target)(_by_one(_code, "bool"))


@lowers(aten.relu.default)
def _relu(low: Lowering, x: Value) -> Value:
    return _bounded(low, x, "RELU")


@lowers(aten.relu6.default)
def _relu6(low: Lowering, x: Value) -> Value:
    return _bounded(low, x, "RELU6")


def _bounded(low: Lowering, x: Value, code: str) -> Value:
    return x if low.fuse(code) else elementwise(low, code, x)


_BOUNDS = {(0, None): "RELU", (0, 6): "RELU6", (-1, 1): "RELU_N1_TO_1"}


@lowers(aten.clamp.default, aten.clamp.Tensor, aten.hardtanh.default, aten.clamp_min.default, aten.clamp_max.default)
def _clamp(low: Lowering, x: Value, *given: Any, **named: Any) -> Value:
    if low.node.target is aten.clamp_max.default:
        given = (None, *given)
    bounds = list(given) + [None] * (2 - len(given))
    if low.node.target is aten.hardtanh.default:
        bounds = [-1.0 if bounds[0] is None else bounds[0], 1.0 if bounds[1] is None else bounds[1]]
    least, most = named.get("min", named.get("min_val", bounds[0])), named.get("max", named.get("max_val", bounds[1]))
    if not isinstance(least, (Tensor, Value)) and not isinstance(most, (Tensor, Value)) and (least, most) in _BOUNDS:
        return _bounded(low, x, _BOUNDS[least, most])
    x = x if least is None else elementwise(low, "MAXIMUM", x, least)
    return x if most is None else elementwise(low, "MINIMUM", x, most)


@lowers(aten.leaky_relu.default)
def _leaky_relu(low: Lowering, x: Value, slope: float = 0.01) -> Value:
    return elementwise(low, "LEAKY_RELU", x, alpha=slope)


@lowers(aten.prelu.default)
def _prelu(low: Lowering, x: Value, slope: Tensor) -> Value:
    along = slope.reshape(-1, *[1] * (len(x.shape) - 2)) if slope.numel() > 1 else slope
    positive, negative = elementwise(low, "RELU", x), elementwise(low, "MINIMUM", x, 0.0)
    return add(low, positive, multiply(low, negative, along))


@lowers(aten.elu.default)
def _elu(low: Lowering, x: Value, alpha: float = 1.0, scale: float = 1.0, input_scale: float = 1.0) -> Value:
    # As one operator only where alpha is 1, so that it is written out.
    below = multiply(low, x, input_scale) if input_scale != 1 else x
    below = elementwise(low, "MINIMUM", below, 0.0)
    below = multiply(low, subtract(low, elementwise(low, "EXP", below), 1.0), alpha * scale)
    above = elementwise(low, "RELU", x)
    return add(low, multiply(low, above, scale) if scale != 1 else above, below)


@lowers(aten.silu.default)
def _silu(low: Lowering, x: Value) -> Value:
    return multiply(low, x, elementwise(low, "LOGISTIC", x))


@lowers(aten.softplus.default)
def _softplus(low: Lowering, x: Value, beta: float = 1.0, threshold: float = 20.0) -> Value:
    # log(1 + exp(x)) as max(x, 0) + log(1 + exp(-|x|)), which does not overflow.
    x = multiply(low, x, beta) if beta != 1 else x
    small = elementwise(low, "EXP", elementwise(low, "NEG", elementwise(low, "ABS", x)))
    out = add(low, elementwise(low, "RELU", x), elementwise(low, "LOG", add(low, small, 1.0)))
    return divide(low, out, beta) if beta != 1 else out


@lowers(aten.mish.default)
def _mish(low: Lowering, x: Value) -> Value:
    return multiply(low, x, elementwise(low, "TANH", _softplus(low, x)))


@lowers(aten.hardsigmoid.default)
def _hard_sigmoid(low: Lowering, x: Value) -> Value:
    return multiply(low, elementwise(low, "RELU6", add(low, x, 3.0)), 1 / 6)


@lowers(aten.gelu.default)
def _gelu(low: Lowering, x: Value, *, approximate: str = "none") -> Value:
    return elementwise(low, "GELU", x, approximate=approximate == "tanh")


@lowers(aten.log10.default, aten.log2.default)
def _log(low: Lowering, x: Value) -> Value:
    base = 10.0 if low.node.target is aten.log10.default else 2.0
    return multiply(low, elementwise(low, "LOG", x), 1 / math.log(base))


@lowers(aten.log1p.default)
def _log1p(low: Lowering, x: Value) -> Value:
    return elementwise(low, "LOG", add(low, x, 1.0))


@lowers(aten.expm1.default)
def _expm1(low: Lowering, x: Value) -> Value:
    return subtract(low, elementwise(low, "EXP", x), 1.0)


@lowers(aten.reciprocal.default)
def _reciprocal(low: Lowering, x: Value) -> Value:
    return elementwise(low, "DIV", 1.0, x)


@lowers(aten.square.default)
def _square(low: Lowering, x: Value) -> Value:
    return multiply(low, x, x)


@lowers(aten.trunc.default)
def _trunc(low: Lowering, x: Value) -> Value:
    return multiply(low, elementwise(low, "SIGN", x), elementwise(low, "FLOOR", elementwise(low, "ABS", x)))


@lowers(aten.pow.Tensor_Scalar)
def _pow(low: Lowering, x: Value, exponent: float) -> Value:
    if exponent == 2:
        return multiply(low, x, x)
    if exponent in (0.5, -0.5):
        return elementwise(low, "SQRT" if exponent > 0 else "RSQRT", x)
    return elementwise(low, "POW", x, float(exponent))


@lowers(aten.where.self, aten.where.ScalarSelf, aten.where.ScalarOther, aten.where.Scalar)
def _where(low: Lowering, condition: Any, left: Any, right: Any) -> Value:
    return elementwise(low, "SELECT_V2", condition, left, right)


@lowers(aten.softmax.int, aten._softmax.default, aten.log_softmax.int, aten._log_softmax.default)
def _softmax(low: Lowering, x: Value, axis: int, *_: Any) -> Value:
    axis %= len(x.shape)
    if x.order[-1] != axis:
        x = low.ordered(x, (*(one for one in range(len(x.shape)) if one != axis), axis))
    if low.node.target in (aten.log_softmax.int, aten._log_softmax.default):
        return low.write("LOG_SOFTMAX", [x.number], x.shape, x.order)
    return low.write("SOFTMAX", [x.number], x.shape, x.order, beta=1.0)
