"""What a layer of a chain is, as data: kinds, values, defaults and the shape that comes out."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from coppice.core.errors import CoppiceError, did_you_mean

Shape = tuple[int, ...]
Spec = dict[str, Any]

MOST_LAYERS = 1000
LARGEST = 2**28  # values of one clip in front of or behind a layer; more is a damaged file, not a network

ACTIVATIONS: dict[str, tuple[str, ...]] = {
    "relu": (),
    "relu6": (),
    "clip": ("low", "high"),
    "leaky_relu": ("slope",),
    "elu": ("alpha",),
    "selu": (),
    "tanh": (),
    "sigmoid": (),
    "softplus": (),
    "softsign": (),
    "swish": (),
    "mish": (),
    "gelu": (),
    "gelu_tanh": (),
    "hard_sigmoid": (),
    "hard_sigmoid_keras2": (),
    "hard_swish": (),
}

PREFIXES = {
    "conv": "conv",
    "pad": "pad",
    "batch_norm": "bn",
    "activation": "act",
    "max_pool": "pool",
    "avg_pool": "pool",
    "global_max_pool": "pool",
    "global_avg_pool": "pool",
    "dropout": "drop",
    "flatten": "flatten",
    "dense": "dense",
}


def layer_name(kind: str, names: Sequence[str]) -> str:
    """Return the name of the next layer of a kind: the kind and its order, counted from 1.

    Examples
    --------
    >>> layer_name("conv", ["conv1", "bn1"]), layer_name("flatten", [])
    ('conv2', 'flatten')
    """
    prefix = PREFIXES[kind]
    if kind == "flatten":
        return prefix
    return f"{prefix}{1 + sum(name.startswith(prefix) for name in names)}"


def same_padding(size: int, kernel: int, stride: int, dilation: int = 1) -> tuple[int, int]:
    """Return what Keras and TensorFlow pad before and after an axis for ``padding="same"``.

    The output has ``ceil(size / stride)`` values; where the padding is odd, one more stands at the end.

    Examples
    --------
    >>> same_padding(40, 7, 1), same_padding(40, 3, 2), same_padding(41, 3, 2)
    ((3, 3), (0, 1), (1, 1))
    """
    outputs = -(-size // stride)
    total = max((outputs - 1) * stride + dilation * (kernel - 1) + 1 - size, 0)
    return total // 2, total - total // 2


def complete(spec: Mapping[str, Any], shape: Shape) -> tuple[Spec, Shape]:
    """Check one layer, fill in its defaults, and say what shape comes out of it.

    Parameters
    ----------
    spec : mapping
        ``kind`` and what the kind takes (see :class:`coppice.networks.chain.Chain`).
    shape : tuple of int
        What goes in, without the batch: (channels, *axes) or (features,).

    Returns
    -------
    tuple
        The layer with every value written out, paddings in numbers; and the shape behind it.

    Raises
    ------
    CoppiceError
        If the kind or a value is unknown or impossible here.

    Examples
    --------
    >>> complete({"kind": "conv", "filters": 16, "kernel": 7, "padding": "same"}, (1, 40, 500))[1]
    (16, 40, 500)
    >>> complete({"kind": "max_pool", "kernel": [5, 5]}, (16, 40, 500))
    ({'kind': 'max_pool', 'kernel': [5, 5], 'stride': [5, 5], 'padding': [[0, 0], [0, 0]]}, (16, 8, 100))
    """
    if not isinstance(spec, Mapping) or not isinstance(spec.get("kind"), str):
        raise CoppiceError(f"{repr(spec)[:60]} is not a layer; give a table with its kind, such as kind: conv.")
    kind = spec["kind"]
    if kind not in _KINDS:
        raise CoppiceError(f"there is no kind of layer {repr(kind)[:60]}. {did_you_mean(kind, _KINDS)}")
    maker, known = _KINDS[kind]
    if kind == "activation":
        known = ("function", *ACTIVATIONS.get(str(spec.get("function")), ()))
    for key in spec:
        if key not in ("kind", *known):
            raise CoppiceError(f"a layer of kind {kind!r} takes no {repr(key)[:60]}. {did_you_mean(str(key), known)}")
    full, after = maker(spec, shape)
    if math.prod(after) > LARGEST:
        raise CoppiceError(f"a layer of kind {kind!r} would give {_text(after)} values for each clip; too many.")
    return full, after


def check_input_shape(shape: object) -> Shape:
    """Return the shape of a chain's input as a tuple of ints.

    Raises
    ------
    CoppiceError
        If it is not channels and one or two axes, or features alone, or too large.
    """
    if not isinstance(shape, Sequence) or not 1 <= len(shape) <= 3 or not all(_whole(size, 1, 10**9) for size in shape):
        raise CoppiceError(
            f"the input of a chain cannot have shape {repr(shape)[:60]}; give channels and axes, such as [1, 40, 500]."
        )
    if math.prod(shape) > LARGEST or shape[0] > 65_536:
        raise CoppiceError(f"an input of {_text(tuple(shape))} values for each clip is too large for a chain.")
    return tuple(shape)


def _conv(spec: Mapping[str, Any], shape: Shape) -> tuple[Spec, Shape]:
    axes = _axes("conv", shape)
    filters: Any = spec.get("filters")
    groups: Any = spec.get("groups", 1)
    if not _whole(filters, 1, 65_536):
        raise CoppiceError(f"a convolution cannot have {repr(filters)[:60]} filters; give 1 to 65536.")
    if not _whole(groups, 1, 65_536) or shape[0] % groups or filters % groups:
        raise CoppiceError(
            f"a convolution of {shape[0]} channels with {filters} filters cannot have {repr(groups)[:60]} groups; "
            "give a number that divides both."
        )
    kernel = _numbers("kernel", spec.get("kernel"), len(axes))
    stride = _numbers("stride", spec.get("stride", 1), len(axes))
    dilation = _numbers("dilation", spec.get("dilation", 1), len(axes))
    padding = _padding(spec.get("padding", "valid"), axes, kernel, stride, dilation)
    full = {
        "kind": "conv",
        "filters": filters,
        "kernel": kernel,
        "stride": stride,
        "padding": padding,
        "dilation": dilation,
        "groups": groups,
        "bias": _flag("bias", spec.get("bias", True)),
    }
    return full, (filters, *_slid("conv", axes, kernel, stride, padding, dilation))


def _pool(spec: Mapping[str, Any], shape: Shape) -> tuple[Spec, Shape]:
    kind, axes = spec["kind"], _axes(spec["kind"], shape)
    kernel = _numbers("kernel", spec.get("kernel"), len(axes))
    stride = _numbers("stride", spec.get("stride", kernel), len(axes))
    ones = [1] * len(axes)
    padding = _padding(spec.get("padding", "valid"), axes, kernel, stride, ones)
    for (before, after), size in zip(padding, kernel, strict=True):
        if max(before, after) >= size:
            raise CoppiceError(f"padding {padding} is not smaller than the pool {kernel}; a window would be empty.")
    full = {"kind": kind, "kernel": kernel, "stride": stride, "padding": padding}
    return full, (shape[0], *_slid(kind, axes, kernel, stride, padding, ones))


def _pad(spec: Mapping[str, Any], shape: Shape) -> tuple[Spec, Shape]:
    axes = _axes("pad", shape)
    padding = _padding(spec.get("padding"), axes, [1] * len(axes), [1] * len(axes), [1] * len(axes))
    sizes = (size + before + after for size, (before, after) in zip(axes, padding, strict=True))
    return {"kind": "pad", "padding": padding}, (shape[0], *sizes)


def _global(spec: Mapping[str, Any], shape: Shape) -> tuple[Spec, Shape]:
    axes = _axes(spec["kind"], shape)
    keep = _flag("keep_axes", spec.get("keep_axes", False))
    return {"kind": spec["kind"], "keep_axes": keep}, (shape[0], *(1 for _ in axes if keep))


def _batch_norm(spec: Mapping[str, Any], shape: Shape) -> tuple[Spec, Shape]:
    eps = _number("eps", spec.get("eps", 1e-3), 0, 1e6)
    momentum = _number("momentum", spec.get("momentum", 0.01), 0, 1)
    return {"kind": "batch_norm", "eps": eps, "momentum": momentum}, shape


def _activation(spec: Mapping[str, Any], shape: Shape) -> tuple[Spec, Shape]:
    function = spec.get("function")
    if not isinstance(function, str) or function not in ACTIVATIONS:
        raise CoppiceError(f"there is no activation {repr(function)[:60]}. {did_you_mean(str(function), ACTIVATIONS)}")
    values = {key: _number(key, spec.get(key), -1e6, 1e6) for key in ACTIVATIONS[function]}
    if function == "clip" and values["low"] >= values["high"]:
        raise CoppiceError(f"clip has low {values['low']} and high {values['high']}; give a high above the low.")
    return {"kind": "activation", "function": function, **values}, shape


def _dropout(spec: Mapping[str, Any], shape: Shape) -> tuple[Spec, Shape]:
    rate = spec.get("rate", 0.5)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 <= rate < 1:
        raise CoppiceError(f"the rate of a dropout is {repr(rate)[:60]}; give a number from 0 to below 1, such as 0.3.")
    channels = _flag("whole_channels", spec.get("whole_channels", False))
    if channels:
        _axes("dropout of whole channels", shape)
    return {"kind": "dropout", "rate": rate, "whole_channels": channels}, shape


def _flatten(spec: Mapping[str, Any], shape: Shape) -> tuple[Spec, Shape]:
    _axes("flatten", shape)
    return {"kind": "flatten"}, (math.prod(shape),)


def _dense(spec: Mapping[str, Any], shape: Shape) -> tuple[Spec, Shape]:
    units: Any = spec.get("units")
    if not _whole(units, 1, 65_536):
        raise CoppiceError(f"a dense layer cannot have {repr(units)[:60]} units; give 1 to 65536.")
    if len(shape) != 1:
        raise CoppiceError(f"a dense layer takes features, not {_text(shape)}; put a flatten or a global pool before.")
    return {"kind": "dense", "units": units, "bias": _flag("bias", spec.get("bias", True))}, (units,)


_Maker = Callable[[Mapping[str, Any], Shape], tuple[Spec, Shape]]

_KINDS: dict[str, tuple[_Maker, tuple[str, ...]]] = {
    "conv": (_conv, ("filters", "kernel", "stride", "padding", "dilation", "groups", "bias")),
    "pad": (_pad, ("padding",)),
    "batch_norm": (_batch_norm, ("eps", "momentum")),
    "activation": (_activation, ("function",)),
    "max_pool": (_pool, ("kernel", "stride", "padding")),
    "avg_pool": (_pool, ("kernel", "stride", "padding")),
    "global_max_pool": (_global, ("keep_axes",)),
    "global_avg_pool": (_global, ("keep_axes",)),
    "dropout": (_dropout, ("rate", "whole_channels")),
    "flatten": (_flatten, ()),
    "dense": (_dense, ("units", "bias")),
}


def _axes(kind: str, shape: Shape) -> Shape:
    if len(shape) < 2:
        raise CoppiceError(f"a layer of kind {kind!r} takes channels and axes, not {shape[0]} features.")
    return shape[1:]


def _slid(
    kind: str, axes: Shape, kernel: list[int], stride: list[int], padding: list[list[int]], dilation: list[int]
) -> list[int]:
    sizes = []
    for size, length, step, (before, after), gap in zip(axes, kernel, stride, padding, dilation, strict=True):
        sizes.append((size + before + after - gap * (length - 1) - 1) // step + 1)
    if min(sizes) < 1:
        raise CoppiceError(f"a layer of kind {kind!r} with kernel {kernel} does not fit into {_text(axes)}.")
    return sizes


def _padding(value: object, axes: Shape, kernel: list[int], stride: list[int], dilation: list[int]) -> list[list[int]]:
    if value == "valid":
        return [[0, 0] for _ in axes]
    if value == "same":
        return [list(same_padding(*sizes)) for sizes in zip(axes, kernel, stride, dilation, strict=True)]
    if (
        isinstance(value, Sequence)
        and len(value) == len(axes)
        and all(isinstance(pair, Sequence) and len(pair) == 2 for pair in value)
        and all(_whole(size, 0, 10**9) for pair in value for size in pair)
    ):
        return [list(pair) for pair in value]
    raise CoppiceError(
        f"padding is {repr(value)[:60]}; give 'valid', 'same' or [before, after] for each of {len(axes)} axes."
    )


def _numbers(name: str, value: Any, count: int) -> list[int]:
    if _whole(value, 1, 10**9):
        return [value] * count
    if not isinstance(value, Sequence) or len(value) != count or not all(_whole(size, 1, 10**9) for size in value):
        raise CoppiceError(f"{name} is {repr(value)[:60]}; give {count} whole numbers from 1.")
    return list(value)


def _number(name: str, value: object, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= high:
        raise CoppiceError(f"{name} is {repr(value)[:60]}; give a number from {low:g} to {high:g}.")
    return value


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise CoppiceError(f"{name} is {repr(value)[:60]}; give true or false.")
    return value


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _text(shape: Shape) -> str:
    return " × ".join(map(str, shape))
