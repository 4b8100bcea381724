"""How convolutions, pooling, dense layers, products and batch normalisation are written."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Float64
from torch import Tensor

from coppice.export.litert.elementwise import add, divide, elementwise, multiply, subtract
from coppice.export.litert.lower import Lowering, Value, lowers
from coppice.export.litert.shapes import reduced

aten = torch.ops.aten
_SAME, _VALID = 0, 1  # of the schema's Padding
_MAXIMUM, _AVERAGE = "MAX_POOL_2D", "AVERAGE_POOL_2D"
_IMAGE = (0, 2, 3, 1)
_POSITIVE = (1, 3)  # of the schema's ActivationFunctionType: RELU, RELU6


@lowers(aten.conv2d.default, aten.conv2d.padding, aten.conv1d.default, aten.conv1d.padding)
def _convolution(
    low: Lowering,
    x: Value,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Value:
    if not isinstance(weight, Tensor) or isinstance(bias, Value):
        raise low.refused("the weights are computed")
    axes = weight.ndim - 2
    kernels, biases = weight.double().numpy(), np.zeros(len(weight)) if bias is None else bias.double().numpy()
    kernels, biases = _with_batch_norm(low, kernels, biases)
    out = tuple(low.result_shape)
    if axes == 1:
        kernels = kernels[:, :, None]
    strides, dilations = _pair(stride, axes), _pair(dilation, axes)
    image = _image(low, x)
    spans = [dilation * (size - 1) + 1 for dilation, size in zip(dilations, kernels.shape[2:], strict=True)]
    if padding == "same":
        before = [(span - 1) // 2 for span in spans]
    else:
        before = [0, 0] if padding == "valid" else _pair(padding, axes, one=0)
    outs = (1, *out[2:]) if axes == 1 else out[2:]
    kind, image = _padded(low, image, outs, spans, strides, before, 0.0)
    options: dict[str, Any] = {
        "padding": kind,
        "strideH": strides[0],
        "strideW": strides[1],
        "dilationHFactor": dilations[0],
        "dilationWFactor": dilations[1],
    }
    depthwise = groups == image.shape[1] and groups > 1
    if depthwise:
        stored = kernels.transpose(1, 2, 3, 0)
        options["depthMultiplier"] = len(kernels) // groups
    else:
        stored = kernels.transpose(0, 2, 3, 1)
    inputs = [image.number, low.weight(stored), low.builder.constant(biases, f"{low.name}/bias")]
    code = "DEPTHWISE_CONV_2D" if depthwise else "CONV_2D"
    made = low.write(code, inputs, (out[0], out[1], *outs), _IMAGE, **options)
    return _as_before(low, made, out)


@lowers(aten.linear.default)
def _dense(low: Lowering, x: Value, weight: Tensor, bias: Tensor | None = None) -> Value:
    if not isinstance(weight, Tensor) or isinstance(bias, Value):
        raise low.refused("the weights are computed")
    kernels, biases = weight.double().numpy(), np.zeros(len(weight)) if bias is None else bias.double().numpy()
    shape = low.result_shape
    if len(shape) == 2:
        kernels, biases = _with_batch_norm(low, kernels, biases)
    return _fully_connected(low, x, kernels, biases, shape)


@lowers(aten.matmul.default, aten.mm.default, aten.bmm.default)
def _product(low: Lowering, left: Any, right: Any) -> Value:
    if isinstance(right, Tensor) and right.ndim == 2 and left.shape[-1:] == right.shape[:1]:
        return _fully_connected(low, left, right.double().numpy().T, np.zeros(right.shape[1]), low.result_shape)
    left, right = low.plain(left), low.plain(right)
    if min(len(left.shape), len(right.shape)) < 2:
        raise low.refused("one side is a vector")
    return low.write("BATCH_MATMUL", [left.number, right.number], low.result_shape)


@lowers(aten.addmm.default, aten.baddbmm.default)
def _sum_and_product(low: Lowering, bias: Any, left: Any, right: Any, *, beta: float = 1, alpha: float = 1) -> Value:
    if (beta, alpha) != (1, 1):
        raise low.refused("the summands are scaled")
    return add(low, bias, _product(low, left, right))


def _fully_connected(
    low: Lowering,
    x: Value,
    kernels: Float64[np.ndarray, "units features"],
    biases: Float64[np.ndarray, " units"],
    shape: Sequence[int],
) -> Value:
    inputs = [low.plain(x).number, low.weight(kernels), low.builder.constant(biases, f"{low.name}/bias")]
    return low.write("FULLY_CONNECTED", inputs, shape, keepNumDims=len(shape) != 2)


@lowers(aten._native_batch_norm_legit_no_training.default)
def _batch_norm(
    low: Lowering,
    x: Value,
    weight: Tensor | None,
    bias: Tensor | None,
    mean: Tensor,
    variance: Tensor,
    momentum: float,
    epsilon: float,
) -> tuple[Value]:
    scale, shift = _scale_and_shift(weight, bias, mean, variance, epsilon)
    along = (-1, *[1] * (len(x.shape) - 2))
    scaled = multiply(low, x, torch.from_numpy(scale.reshape(along)))
    return (add(low, scaled, torch.from_numpy(shift.reshape(along))),)


@lowers(aten.max_pool2d.default, aten.max_pool1d.default)
def _max_pool(
    low: Lowering, x: Value, kernel: Any, stride: Any = (), padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False
) -> Value:
    if set(_pair(dilation, 2)) != {1}:
        raise low.refused("the window is dilated")
    return _pool(low, x, _MAXIMUM, kernel, stride, padding)


@lowers(aten.avg_pool2d.default, aten.avg_pool1d.default)
def _avg_pool(
    low: Lowering,
    x: Value,
    kernel: Any,
    stride: Any = (),
    padding: Any = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
    divisor_override: int | None = None,
) -> Value:
    axes = len(x.shape) - 2
    kernels, pads = _pair(kernel, axes), _pair(padding, axes, one=0)
    strides = _pair(stride, axes) if stride else kernels
    sizes = (1, *x.shape[2:]) if axes == 1 else x.shape[2:]
    whole = [(size + 2 * p - k) // s + 1 for size, p, k, s in zip(sizes, pads, kernels, strides, strict=True)]
    if divisor_override or (ceil_mode and math.prod(whole) != math.prod(low.result_shape[2:])):
        raise low.refused("windows stand over the edge, or the divisor is given")
    if any(pads) and not count_include_pad:
        return _pool(low, x, _AVERAGE, kernel, stride, padding, same_only=True)
    return _pool(low, x, _AVERAGE, kernel, stride, padding, counted=True)


@lowers(aten.adaptive_avg_pool2d.default, aten.adaptive_avg_pool1d.default)
def _adaptive_avg_pool(low: Lowering, x: Value, sizes: Sequence[int]) -> Value:
    wanted = tuple(low.result_shape[2:])
    if wanted == x.shape[2:]:
        return x
    if any(size % out for size, out in zip(x.shape[2:], wanted, strict=True)):
        raise low.refused(f"its windows of {x.shape[2:]} to {wanted} overlap")
    kernel = [size // out for size, out in zip(x.shape[2:], wanted, strict=True)]
    if math.prod(wanted) == 1:
        axes = [x.order.index(axis) for axis in range(2, len(x.shape))]
        return low.write("MEAN", [x.number, low.integers(axes)], low.result_shape, x.order, keepDims=True)
    return _pool(low, x, _AVERAGE, kernel, kernel, 0)


def _pool(
    low: Lowering,
    x: Value,
    code: str,
    kernel: Any,
    stride: Any,
    padding: Any,
    *,
    counted: bool = False,
    same_only: bool = False,
) -> Value:
    """Write a pooling; ``counted``: zeros beyond the edge count in an average; ``same_only``: they may not."""
    axes = len(x.shape) - 2
    kernels, pads = _pair(kernel, axes), _pair(padding, axes, one=0)
    strides = _pair(stride, axes) if stride else kernels
    out = low.result_shape
    outs = (1, *out[2:]) if axes == 1 else out[2:]
    image = _image(low, x)
    positive = getattr(low.builder.options_of(image.number), "fusedActivationFunction", None) in _POSITIVE
    beyond = 0.0 if code == _AVERAGE or positive else float(np.finfo(np.float32).min)
    edge = counted and any(pads)
    kind, padded = _padded(low, image, outs, kernels, strides, pads, beyond, explicit=edge)
    if same_only and padded is not image:
        raise low.refused("zeros beyond the edge do not count in its averages")
    made = low.write(
        code,
        [padded.number],
        (out[0], out[1], *outs),
        _IMAGE,
        padding=kind,
        strideH=strides[0],
        strideW=strides[1],
        filterHeight=kernels[0],
        filterWidth=kernels[1],
    )
    return _as_before(low, made, out)


def _image(low: Lowering, x: Value) -> Value:
    """Return (clips, channels, height, width) stored with the channels last; a line is one row."""
    if len(x.shape) == 3:
        line = low.ordered(x, (0, 2, 1))
        clips, channels, width = line.shape
        return low.reshaped(line, (clips, channels, 1, width), _IMAGE)
    return low.ordered(x, _IMAGE)


def _as_before(low: Lowering, image: Value, shape: Sequence[int]) -> Value:
    """Return what was computed on rows as lines again."""
    if len(shape) == 4:
        return image
    line = low.reshaped(image, shape, (0, 2, 1))
    low.inside[line.number] = image.number
    return line


def _padded(
    low: Lowering,
    image: Value,
    outs: Sequence[int],
    spans: Sequence[int],
    strides: Sequence[int],
    before: Sequence[int],
    beyond: float,
    *,
    explicit: bool = False,
) -> tuple[int, Value]:
    """Return LiteRT's own padding where it means the same, or pad; ``outs`` is the size that must come out."""
    sizes = image.shape[2:]
    totals = [
        max((out - 1) * stride + span - size, 0)
        for out, stride, span, size in zip(outs, strides, spans, sizes, strict=True)
    ]
    if not any(totals) and not any(before):
        return _VALID, image
    rounded_up = all(-(-size // stride) == out for size, stride, out in zip(sizes, strides, outs, strict=True))
    if not explicit and rounded_up and all(total // 2 == p for total, p in zip(totals, before, strict=True)):
        return _SAME, image
    after = [max(total - p, 0) for total, p in zip(totals, before, strict=True)]
    clips, channels = image.shape[:2]
    shape = (clips, channels, *(p + size + q for p, size, q in zip(before, sizes, after, strict=True)))
    pads = low.integers([(0, 0), *zip(before, after, strict=True), (0, 0)])
    inputs = [image.number, pads]
    if beyond:
        inputs.append(low.builder.constant(np.array([beyond], np.float32)))
    return _VALID, low.write("PADV2" if beyond else "PAD", inputs, shape, _IMAGE)


def _with_batch_norm(
    low: Lowering, kernels: Float64[np.ndarray, "filters *rest"], biases: Float64[np.ndarray, " filters"]
) -> tuple[Float64[np.ndarray, "filters *rest"], Float64[np.ndarray, " filters"]]:
    """Fold a batch normalisation into the layer before it, if it is the only one to read it."""
    readers = list(low.node.users)
    if len(readers) != 1 or readers[0].target is not aten._native_batch_norm_legit_no_training.default:
        return kernels, biases
    weight, bias, mean, variance = (low.constant_of(one) for one in readers[0].args[1:5])
    if mean is None or variance is None:
        return kernels, biases
    epsilon: Any = readers[0].args[6]
    scale, shift = _scale_and_shift(weight, bias, mean, variance, epsilon)
    low.folded.add(readers[0])
    return kernels * scale.reshape(-1, *[1] * (kernels.ndim - 1)), biases * scale + shift


def _scale_and_shift(
    weight: Tensor | None, bias: Tensor | None, mean: Tensor, variance: Tensor, epsilon: float
) -> tuple[Float64[np.ndarray, " channels"], Float64[np.ndarray, " channels"]]:
    scale = (variance.double() + epsilon).rsqrt()
    scale = scale if weight is None else scale * weight.double()
    shift = -mean.double() * scale
    shift = shift if bias is None else shift + bias.double()
    return scale.detach().numpy(), shift.detach().numpy()


def _pair(given: Any, axes: int, one: int = 1) -> list[int]:
    """Return (height, width) of a number for each axis; a line has height ``one``."""
    values = [int(value) for value in given] if isinstance(given, (list, tuple)) else [int(given)]
    values = values * axes if len(values) == 1 else values
    return [one, *values] if axes == 1 else values


@lowers(aten.native_layer_norm.default)
def _layer_norm(low: Lowering, x: Value, sizes: Sequence[int], weight: Any, bias: Any, epsilon: float) -> tuple[Value]:
    out = _normalised(low, x, range(len(x.shape) - len(sizes), len(x.shape)), epsilon)
    out = out if weight is None else multiply(low, out, weight)
    return (out if bias is None else add(low, out, bias),)


@lowers(aten.native_group_norm.default)
def _group_norm(
    low: Lowering,
    x: Value,
    weight: Tensor | None,
    bias: Tensor | None,
    clips: int,
    channels: int,
    size: int,
    groups: int,
    epsilon: float,
) -> tuple[Value]:
    grouped = low.reshaped(low.plain(x), (clips, groups, channels // groups, size))
    out = low.reshaped(_normalised(low, grouped, (2, 3), epsilon), x.shape)
    along = (-1, *[1] * (len(x.shape) - 2))
    out = out if weight is None else multiply(low, out, weight.reshape(along))
    return (out if bias is None else add(low, out, bias.reshape(along)),)


def _normalised(low: Lowering, x: Value, axes: Sequence[int], epsilon: float) -> Value:
    """Write mean 0 and variance 1 along axes."""
    centred = subtract(low, x, reduced(low, "MEAN", x, axes, keep=True))
    variance = reduced(low, "MEAN", multiply(low, centred, centred), axes, keep=True)
    return divide(low, centred, elementwise(low, "SQRT", add(low, variance, epsilon)))
