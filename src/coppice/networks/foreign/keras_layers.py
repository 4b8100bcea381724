"""One Keras layer after another becomes a layer of a chain."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from coppice.networks.foreign.chain_builder import ChainBuilder
from coppice.networks.foreign.keras_config import KerasLayer

Converter = Callable[[KerasLayer, ChainBuilder], None]

_CONVERTERS: dict[str, Converter] = {}

_FUNCTIONS: dict[str, dict[str, Any]] = {
    "relu": {"function": "relu"},
    "relu6": {"function": "relu6"},
    "tanh": {"function": "tanh"},
    "sigmoid": {"function": "sigmoid"},
    "elu": {"function": "elu", "alpha": 1.0},
    "selu": {"function": "selu"},
    "leaky_relu": {"function": "leaky_relu", "slope": 0.2},
    "softplus": {"function": "softplus"},
    "softsign": {"function": "softsign"},
    "swish": {"function": "swish"},
    "silu": {"function": "swish"},
    "mish": {"function": "mish"},
    "gelu": {"function": "gelu"},
    "hard_swish": {"function": "hard_swish"},
    "hard_silu": {"function": "hard_swish"},
}


def convert(layer: KerasLayer, builder: ChainBuilder) -> None:
    """Append what a Keras layer does to a chain.

    Raises
    ------
    CoppiceError
        If its class or an argument is not supported.
    """
    if layer.kind not in _CONVERTERS:
        raise layer.refused(f"supported are {', '.join(sorted(_CONVERTERS))}")
    if layer.config.get("data_format") == "channels_first":
        raise layer.refused("its data_format is channels_first; channels_last is supported")
    builder.kind = layer.kind
    _CONVERTERS[layer.kind](layer, builder)


def _converts(*kinds: str) -> Callable[[Converter], Converter]:
    def register(function: Converter) -> Converter:
        _CONVERTERS.update(dict.fromkeys(kinds, function))
        return function

    return register


@_converts("Conv1D", "Conv2D")
def _conv(layer: KerasLayer, builder: ChainBuilder) -> None:
    _check_axes(layer, builder)
    bias = layer.flag("use_bias", True)
    kernel, *rest = layer.take("kernel", *["bias"] * bias)
    if kernel.ndim != len(builder.shape) + 1:
        raise layer.refused(f"its kernel has shape {kernel.shape}")
    if layer.config.get("filters") != kernel.shape[-1]:
        raise layer.refused(f"it says {repr(layer.config.get('filters'))[:20]} filters, its kernel {kernel.shape[-1]}")
    weight = np.moveaxis(kernel, (-1, -2), (0, 1))  # (*kernel, channels, filters) to (filters, channels, *kernel)
    spec = {**_sliding(layer, kernel.shape[:-2]), "groups": layer.config.get("groups", 1)}
    builder.conv(layer.name, spec, weight, rest[0] if rest else None)
    _activate(layer, builder)


@_converts("DepthwiseConv1D", "DepthwiseConv2D")
def _depthwise(layer: KerasLayer, builder: ChainBuilder) -> None:
    _check_axes(layer, builder)
    bias = layer.flag("use_bias", True)
    kernel, *rest = layer.take("depthwise_kernel", *["bias"] * bias)
    if kernel.ndim != len(builder.shape) + 1 or kernel.shape[-2] != builder.shape[0]:
        raise layer.refused(f"its kernel of shape {kernel.shape} does not fit {builder.shape[0]} channels")
    # (*kernel, channels, multiplier): the filters of one channel stand together
    weight = np.moveaxis(kernel, (-2, -1), (0, 1)).reshape(-1, 1, *kernel.shape[:-2])
    spec = {**_sliding(layer, kernel.shape[:-2]), "groups": builder.shape[0]}
    builder.conv(layer.name, spec, weight, rest[0] if rest else None)
    _activate(layer, builder)


@_converts("Dense")
def _dense(layer: KerasLayer, builder: ChainBuilder) -> None:
    if len(builder.shape) != 1:
        raise layer.refused(f"it works on a map of {builder.shape}; put a Flatten or a global pool before it")
    bias = layer.flag("use_bias", True)
    kernel, *rest = layer.take("kernel", *["bias"] * bias)
    if kernel.ndim != 2 or layer.config.get("units") != kernel.shape[1]:
        raise layer.refused(f"it says {repr(layer.config.get('units'))[:20]} units, its kernel {kernel.shape}")
    builder.dense(layer.name, kernel.T, rest[0] if rest else None)
    _activate(layer, builder)


@_converts("BatchNormalization")
def _batch_norm(layer: KerasLayer, builder: ChainBuilder) -> None:
    axis = layer.config.get("axis", -1)
    axis = axis[0] if isinstance(axis, list) and len(axis) == 1 else axis
    if axis not in (-1, len(builder.shape)) or layer.config.get("renorm") or layer.config.get("mode", 0) != 0:
        raise layer.refused(f"it normalises along axis {repr(axis)[:20]} or in a special mode; only channels can be")
    scale, center = layer.flag("scale", True), layer.flag("center", True)
    names = [*["gamma"] * scale, *["beta"] * center, "moving_mean", "moving_variance"]
    found = dict(zip(names, layer.take(*names), strict=True))
    size = builder.shape[0]
    if not (scale and center):
        builder.notes.append(f"Layer {layer.name!r} has no own scale or shift; ones and zeros stand in for them.")
    builder.batch_norm(
        layer.name,
        eps=layer.number("epsilon", 1e-3),
        momentum=round(1 - layer.number("momentum", 0.99), 12),
        scale=found.get("gamma", np.ones(size, np.float32)),
        shift=found.get("beta", np.zeros(size, np.float32)),
        mean=found["moving_mean"],
        variance=found["moving_variance"],
    )


@_converts("MaxPooling1D", "MaxPooling2D", "AveragePooling1D", "AveragePooling2D")
def _pool(layer: KerasLayer, builder: ChainBuilder) -> None:
    _check_axes(layer, builder)
    kernel = layer.config.get("pool_size", 2)
    stride = layer.config.get("strides")
    spec = {
        "kind": "max_pool" if layer.kind.startswith("Max") else "avg_pool",
        "kernel": kernel,
        "stride": kernel if stride is None else stride,
        "padding": layer.config.get("padding", "valid"),
    }
    builder.add(layer.name, spec)


@_converts("GlobalMaxPooling1D", "GlobalMaxPooling2D", "GlobalAveragePooling1D", "GlobalAveragePooling2D")
def _global_pool(layer: KerasLayer, builder: ChainBuilder) -> None:
    _check_axes(layer, builder)
    kind = "global_max_pool" if layer.kind.startswith("GlobalMax") else "global_avg_pool"
    builder.add(layer.name, {"kind": kind, "keep_axes": layer.flag("keepdims", False)})


@_converts("ZeroPadding1D", "ZeroPadding2D")
def _zero_padding(layer: KerasLayer, builder: ChainBuilder) -> None:
    _check_axes(layer, builder)
    padding = layer.config.get("padding", 1)
    if layer.kind == "ZeroPadding1D":
        padding = [padding]
    elif isinstance(padding, int):
        padding = [padding, padding]
    if isinstance(padding, list):
        padding = [[size, size] if isinstance(size, int) else size for size in padding]
    builder.add(layer.name, {"kind": "pad", "padding": padding})


@_converts("Dropout", "SpatialDropout1D", "SpatialDropout2D", "AlphaDropout", "GaussianDropout")
def _dropout(layer: KerasLayer, builder: ChainBuilder) -> None:
    if layer.kind in ("AlphaDropout", "GaussianDropout"):
        builder.notes.append(f"Layer {layer.name!r} ({layer.kind}) becomes a plain dropout in training.")
    whole = layer.kind.startswith("Spatial")
    builder.add(layer.name, {"kind": "dropout", "rate": layer.number("rate", 0.5), "whole_channels": whole})


@_converts("GaussianNoise", "ActivityRegularization")
def _training_only(layer: KerasLayer, builder: ChainBuilder) -> None:
    builder.notes.append(f"Layer {layer.name!r} ({layer.kind}) acts in training only and is left out.")


@_converts("Flatten")
def _flatten(layer: KerasLayer, builder: ChainBuilder) -> None:
    builder.flatten(layer.name)


@_converts("Reshape")
def _reshape(layer: KerasLayer, builder: ChainBuilder) -> None:
    target = layer.config.get("target_shape")
    if not isinstance(target, list) or not all(isinstance(size, int) for size in target) or target.count(-1) > 1:
        raise layer.refused(f"its target_shape is {repr(target)[:40]}")
    known = math.prod(size for size in target if size != -1)
    rest = math.prod(builder.shape) // known if known > 0 else 0
    builder.reshape(layer.name, [rest if size == -1 else size for size in target])


@_converts("Activation")
def _activation(layer: KerasLayer, builder: ChainBuilder) -> None:
    _activate(layer, builder)


@_converts("ReLU")
def _relu(layer: KerasLayer, builder: ChainBuilder) -> None:
    slope = layer.number("negative_slope", 0.0) if layer.config.get("negative_slope") is not None else 0.0
    limited = layer.config.get("max_value") is not None
    if layer.number("threshold", 0.0) != 0 or (limited and slope != 0):
        raise layer.refused("a threshold, or a slope together with a maximum, is not supported")
    limit = layer.number("max_value", 6.0) if limited else None
    if limit is not None:
        spec: dict[str, Any] = {"function": "clip", "low": 0.0, "high": limit}
        if limit == 6:
            spec = {"function": "relu6"}
    else:
        spec = {"function": "leaky_relu", "slope": slope} if slope else {"function": "relu"}
    builder.add(layer.name, {"kind": "activation", **spec})


@_converts("LeakyReLU")
def _leaky_relu(layer: KerasLayer, builder: ChainBuilder) -> None:
    slope = layer.number("negative_slope" if "negative_slope" in layer.config else "alpha", 0.3)
    builder.add(layer.name, {"kind": "activation", "function": "leaky_relu", "slope": slope})


@_converts("ELU")
def _elu(layer: KerasLayer, builder: ChainBuilder) -> None:
    builder.add(layer.name, {"kind": "activation", "function": "elu", "alpha": layer.number("alpha", 1.0)})


@_converts("Softmax")
def _softmax(layer: KerasLayer, builder: ChainBuilder) -> None:
    if layer.config.get("axis", -1) not in (-1, 1, [-1]):
        raise layer.refused("a softmax over the classes only is supported")
    builder.softmax(layer.name)


def _activate(layer: KerasLayer, builder: ChainBuilder) -> None:
    """Append the function that a layer names in its ``activation``."""
    function = layer.config.get("activation")
    if isinstance(function, Mapping):  # a layer, or a function with its name
        config = function.get("config")
        if isinstance(config, Mapping) and function.get("class_name") in ("ReLU", "LeakyReLU", "ELU", "Softmax"):
            return convert(KerasLayer(function["class_name"], layer.name, config, file=layer.file), builder)
        function = config if isinstance(config, str) else function.get("class_name")
    if function in (None, "linear"):
        return None
    if function in ("softmax", "log_softmax"):
        return builder.softmax(layer.name)
    if function == "hard_sigmoid":
        name = "hard_sigmoid" if layer.keras >= 3 else "hard_sigmoid_keras2"
        return builder.add(layer.name, {"kind": "activation", "function": name})
    if not isinstance(function, str) or function not in _FUNCTIONS:
        raise layer.refused(f"its activation {repr(function)[:40]} is not supported; {', '.join(_FUNCTIONS)} are")
    return builder.add(layer.name, {"kind": "activation", **_FUNCTIONS[function]})


def _sliding(layer: KerasLayer, kernel: tuple[int, ...]) -> dict[str, Any]:
    config = layer.config
    sizes = config.get("kernel_size")
    if (list(sizes) if isinstance(sizes, list) else [sizes] * len(kernel)) != list(kernel):
        raise layer.refused(f"it says a kernel of {repr(sizes)[:40]}, its weights one of {kernel}")
    spec = {
        "stride": config.get("strides", 1),
        "dilation": config.get("dilation_rate", 1),
        "padding": config.get("padding", "valid"),
    }
    if spec["padding"] == "causal" and len(kernel) == 1:
        gap = spec["dilation"][0] if isinstance(spec["dilation"], list) and spec["dilation"] else spec["dilation"]
        if not isinstance(gap, int):
            raise layer.refused(f"its dilation_rate is {repr(gap)[:40]}")
        spec["padding"] = [[gap * (kernel[0] - 1), 0]]
    return spec


def _check_axes(layer: KerasLayer, builder: ChainBuilder) -> None:
    wanted = 2 if layer.kind.endswith("2D") else 1
    if len(builder.shape) != wanted + 1:
        raise layer.refused(f"it works along {wanted} axes and a channel axis, but gets {builder.shape}")
