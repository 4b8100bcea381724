"""An independent forward pass for channels-last networks in NumPy float64, and writers of small foreign files."""

import json
import math
from types import SimpleNamespace

import h5py
import numpy as np
import pytest


def _padding(size, kernel, stride, dilation, padding):
    reach = (kernel - 1) * dilation + 1
    if padding == "valid":
        return (0, 0), (size - reach) // stride + 1
    if padding == "causal":
        return (reach - 1, 0), (size - 1) // stride + 1
    outputs = math.ceil(size / stride)
    total = max((outputs - 1) * stride + reach - size, 0)
    return (total // 2, total - total // 2), outputs


def _windows(x, kernel, stride, dilation, padding, fill):
    """Return the windows of a map (height, width, channels) as (rows, columns, height, width, channels)."""
    axes = zip(x.shape[:2], kernel, stride, dilation, strict=True)
    pads, sizes = zip(*(_padding(*values, padding) for values in axes), strict=True)
    x = np.pad(x, [*pads, (0, 0)], constant_values=fill)
    strides = [x.strides[i] * stride[i] for i in (0, 1)] + [x.strides[i] * dilation[i] for i in (0, 1)]
    shape = (*sizes, *kernel, x.shape[2])
    return np.lib.stride_tricks.as_strided(x, shape, (*strides, x.strides[2]), writeable=False)


def conv(x, kernel, bias=None, *, stride=(1, 1), dilation=(1, 1), padding="valid", groups=1):
    """Convolve a map with a kernel of (height, width, channels / groups, filters)."""
    parts = []
    for part, weight in zip(np.split(x, groups, axis=2), np.split(kernel, groups, axis=3), strict=True):
        windows = _windows(np.ascontiguousarray(part), weight.shape[:2], stride, dilation, padding, 0.0)
        parts.append(np.tensordot(windows, weight, 3))
    out = np.concatenate(parts, axis=2)
    return out if bias is None else out + bias


def depthwise(x, kernel, bias=None, *, stride=(1, 1), dilation=(1, 1), padding="valid"):
    """Convolve each channel with its own filters; kernel of (height, width, channels, multiplier)."""
    windows = _windows(x, kernel.shape[:2], stride, dilation, padding, 0.0)
    out = np.einsum("rqhwc,hwcm->rqcm", windows, kernel)
    out = out.reshape(*out.shape[:2], -1)
    return out if bias is None else out + bias


def pool(x, kernel, *, stride=None, padding="valid", maximum=True):
    """Return the maximum of each window, or the average of what it holds of the map."""
    windows = _windows(x, kernel, stride or kernel, (1, 1), padding, np.nan)
    return (np.nanmax if maximum else np.nanmean)(windows, axis=(2, 3))


def batch_norm(x, scale, shift, mean, variance, eps):
    return (x - mean) / np.sqrt(variance + eps) * scale + shift


ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "relu6": lambda x: np.clip(x, 0, 6),
    "tanh": np.tanh,
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "elu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)),
    "softplus": lambda x: np.log1p(np.exp(x)),
    "softsign": lambda x: x / (1 + np.abs(x)),
    "swish": lambda x: x / (1 + np.exp(-x)),
    "mish": lambda x: x * np.tanh(np.log1p(np.exp(x))),
    "gelu": lambda x: 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2))),
    "leaky_relu": lambda x: np.where(x > 0, x, 0.2 * x),
    "hard_sigmoid": lambda x: np.clip(0.2 * x + 0.5, 0, 1),
    "hard_swish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "softmax": lambda x: np.exp(x - x.max()) / np.exp(x - x.max()).sum(),
}


@pytest.fixture(scope="session")
def channels_last():
    return SimpleNamespace(
        conv=conv,
        depthwise=depthwise,
        pool=pool,
        batch_norm=batch_norm,
        activations=ACTIVATIONS,
        softmax=ACTIVATIONS["softmax"],
    )


@pytest.fixture(scope="session")
def write_keras():
    """Return a function that writes layers (class, config, weights by name) as Keras does."""

    def write(path, layers, *, version="2.4.0", functional=False, suffix=":0", dtype=np.float32, **file_options):
        entries = []
        names = [config.get("name", f"layer_{position}") for position, (_, config, _) in enumerate(layers)]
        for position, (kind, config, _) in enumerate(layers):
            entry = {"class_name": kind, "config": {**config, "name": names[position]}}
            if functional:
                before = [] if position == 0 else [[[names[position - 1], 0, 0, {}]]]
                entry |= {"name": names[position], "inbound_nodes": before}
            entries.append(entry)
        model = {"class_name": "Sequential", "config": {"name": "net", "layers": entries}}
        if functional:
            ends = {"input_layers": [[names[0], 0, 0]], "output_layers": [[names[-1], 0, 0]]}
            model = {"class_name": "Functional", "config": {"name": "net", "layers": entries, **ends}}
        with h5py.File(path, "w", **file_options) as file:
            file.attrs["keras_version"] = version
            file.attrs["backend"] = "tensorflow"
            file.attrs["model_config"] = json.dumps(model)
            group = file.create_group("model_weights")
            group.attrs["layer_names"] = [name.encode() for name in names]
            for name, (_, _, weights) in zip(names, layers, strict=True):
                layer = group.create_group(name)
                paths = [f"{name}_1/{leaf}{suffix}" for leaf in weights]  # Keras counts names on
                layer.attrs["weight_names"] = [path.encode() for path in paths]
                for weight_path, array in zip(paths, weights.values(), strict=True):
                    layer.create_dataset(weight_path, data=np.asarray(array, dtype))
        return path

    return write
