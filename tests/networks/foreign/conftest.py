"""An independent forward pass for channels-last networks in NumPy float64, and writers of small foreign files."""

import json
import math
from importlib import import_module
from types import SimpleNamespace

import flatbuffers
import h5py
import numpy as np
import pytest
import tflite


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
                history = {"shape": [None], "keras_history": [names[max(0, position - 1)], 0, 0]}
                tensor = {"class_name": "__keras_tensor__", "config": history}
                older = [[[names[position - 1], 0, 0, {}]]]
                before = [{"args": [tensor], "kwargs": {}}] if version.startswith("3") else older
                before = before if position else []
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


_TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int8": 9}


def _vector(builder, values, dtype=np.int32):
    return builder.CreateNumpyVector(np.asarray(values, dtype))


def _tables(builder, start, tables):
    start(builder, len(tables))
    for table in reversed(tables):
        builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def _table(builder, module, fields):
    module.Start(builder)
    for name, value in fields.items():
        getattr(module, f"Add{name}")(builder, value)
    return module.End(builder)


def _tensor(builder, buffer, name, shape, kind, scale, axis):
    fields = {"Name": builder.CreateString(name), "Shape": _vector(builder, shape), "Type": _TYPES[kind]}
    if scale is not None:
        scales, zero_points = np.broadcast_arrays(*map(np.atleast_1d, scale))
        quantized = {
            "Scale": _vector(builder, scales, np.float32),
            "ZeroPoint": _vector(builder, zero_points, np.int64),
            "QuantizedDimension": axis,
        }
        fields["Quantization"] = _table(builder, import_module("tflite.QuantizationParameters"), quantized)
    return _table(builder, import_module("tflite.Tensor"), fields | {"Buffer": buffer})


def _operator(builder, code, inputs, outputs, options_class, options):
    fields = {"OpcodeIndex": code, "Inputs": _vector(builder, inputs), "Outputs": _vector(builder, outputs)}
    if options_class:
        table = _table(builder, import_module(f"tflite.{options_class}"), options)
        fields |= {"BuiltinOptionsType": getattr(tflite.BuiltinOptions, options_class), "BuiltinOptions": table}
    return _table(builder, import_module("tflite.Operator"), fields)


@pytest.fixture(scope="session")
def write_tflite():
    """Return a function that writes a TFLite file.

    ``tensors``: name -> (shape, type) or an array, or (array, (scale, zero point), axis).
    ``operators``: (kind, inputs, outputs, options class, options), tensors by name.
    """

    def write(path, tensors, operators, *, start, end):
        builder = flatbuffers.Builder(1024)
        names, buffers, built = list(tensors), [_table(builder, import_module("tflite.Buffer"), {})], []
        for name, given in tensors.items():
            array, scale, axis = given if isinstance(given, tuple) and len(given) == 3 else (given, None, 0)
            shape, kind = array if isinstance(array, tuple) else (array.shape, array.dtype.name)
            buffer = 0
            if not isinstance(array, tuple):
                data = _vector(builder, np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8), np.uint8)
                buffer = len(buffers)
                buffers.append(_table(builder, import_module("tflite.Buffer"), {"Data": data}))
            built.append(_tensor(builder, buffer, name, shape, kind, scale, axis))
        kinds = sorted({operator[0] for operator in operators})
        codes = []
        for kind in kinds:
            number = getattr(tflite.BuiltinOperator, kind)
            fields = {"BuiltinCode": number, "DeprecatedBuiltinCode": min(number, 127), "Version": 1}
            codes.append(_table(builder, import_module("tflite.OperatorCode"), fields))
        numbers = {None: -1, **{name: position for position, name in enumerate(names)}}
        steps = []
        for kind, inputs, outputs, *rest in operators:
            ins, outs = [numbers[name] for name in inputs], [numbers[name] for name in outputs]
            steps.append(_operator(builder, kinds.index(kind), ins, outs, *(rest or (None, {}))))
        graph_module, model_module = import_module("tflite.SubGraph"), import_module("tflite.Model")
        graph = _table(
            builder,
            graph_module,
            {
                "Tensors": _tables(builder, graph_module.StartTensorsVector, built),
                "Inputs": _vector(builder, [numbers[start]]),
                "Outputs": _vector(builder, [numbers[end]]),
                "Operators": _tables(builder, graph_module.StartOperatorsVector, steps),
            },
        )
        model = {
            "Version": 3,
            "OperatorCodes": _tables(builder, model_module.StartOperatorCodesVector, codes),
            "Subgraphs": _tables(builder, model_module.StartSubgraphsVector, [graph]),
            "Buffers": _tables(builder, model_module.StartBuffersVector, buffers),
        }
        builder.Finish(_table(builder, model_module, model), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path

    return write


KINDS = {number: name for name, number in vars(tflite.BuiltinOperator).items() if isinstance(number, int)}
DTYPES = {0: np.float32, 1: np.float16, 2: np.int32, 3: np.uint8, 9: np.int8}
FUSED = {0: "linear", 1: "relu", 3: "relu6", 4: "tanh"}


def options(operator, name):
    reader = getattr(tflite, name)()
    reader.Init(operator.BuiltinOptions().Bytes, operator.BuiltinOptions().Pos)
    return reader


def interpreted(path, x):
    """Run a TFLite file operator by operator in float64, channels last; return the tensor before the softmax."""
    model = tflite.Model.GetRootAsModel(path.read_bytes(), 0)
    graph = model.Subgraphs(0)
    values = {graph.Inputs(0): x}
    for number in range(graph.TensorsLength()):
        tensor = graph.Tensors(number)
        if model.Buffers(tensor.Buffer()).DataLength():
            data = np.frombuffer(model.Buffers(tensor.Buffer()).DataAsNumpy().tobytes(), DTYPES[tensor.Type()])
            data = data.reshape(tensor.ShapeAsNumpy()).astype(np.float64)
            quantized = tensor.Quantization()
            if quantized is not None and quantized.ScaleLength():
                along = np.ones(data.ndim, int)
                along[quantized.QuantizedDimension()] = quantized.ScaleLength()
                scale, zero = quantized.ScaleAsNumpy().astype(np.float64), quantized.ZeroPointAsNumpy()
                data = (data - zero.reshape(along)) * scale.reshape(along)
            values[number] = data
    for number in range(graph.OperatorsLength()):
        operator = graph.Operators(number)
        code = model.OperatorCodes(operator.OpcodeIndex())
        kind = KINDS[max(code.BuiltinCode(), code.DeprecatedBuiltinCode())]
        given = [values.get(index) for index in operator.InputsAsNumpy().tolist()]
        shape = graph.Tensors(operator.Outputs(0)).ShapeAsNumpy()
        x, fused = given[0], "linear"
        if kind in ("CONV_2D", "DEPTHWISE_CONV_2D"):
            o = options(operator, "Conv2DOptions" if kind == "CONV_2D" else "DepthwiseConv2DOptions")
            sliding = {
                "stride": (o.StrideH(), o.StrideW()),
                "dilation": (o.DilationHFactor(), o.DilationWFactor()),
                "padding": ("same", "valid")[o.Padding()],
            }
            bias = given[2] if len(given) > 2 and given[2] is not None else 0.0
            if kind == "CONV_2D":
                groups = x.shape[-1] // given[1].shape[-1]
                x = conv(x[0], given[1].transpose(1, 2, 3, 0), bias, groups=groups, **sliding)[None]
            else:
                kernel = given[1].reshape(*given[1].shape[1:3], x.shape[-1], -1)
                x = depthwise(x[0], kernel, bias, **sliding)[None]
            fused = FUSED[o.FusedActivationFunction()]
        elif kind in ("AVERAGE_POOL_2D", "MAX_POOL_2D"):
            o = options(operator, "Pool2DOptions")
            sizes, padding = (o.FilterHeight(), o.FilterWidth()), ("same", "valid")[o.Padding()]
            maximum = kind == "MAX_POOL_2D"
            x = pool(x[0], sizes, stride=(o.StrideH(), o.StrideW()), padding=padding, maximum=maximum)[None]
            fused = FUSED[o.FusedActivationFunction()]
        elif kind == "FULLY_CONNECTED":
            bias = given[2] if len(given) > 2 and given[2] is not None else 0.0
            x = x.reshape(-1, given[1].shape[1]) @ given[1].T + bias
            fused = FUSED[options(operator, "FullyConnectedOptions").FusedActivationFunction()]
        elif kind in ("RESHAPE", "EXPAND_DIMS", "SQUEEZE"):
            x = x.reshape(shape)
        elif kind == "PAD":
            x = np.pad(x, given[1].astype(int))
        elif kind in ("MEAN", "REDUCE_MAX"):
            axes = tuple(given[1].astype(int).ravel())
            x = (np.mean if kind == "MEAN" else np.max)(x, axis=axes).reshape(shape)
        elif kind in ("ADD", "SUB", "MUL", "DIV"):
            x = {"ADD": np.add, "SUB": np.subtract, "MUL": np.multiply, "DIV": np.divide}[kind](*given)
            fused = FUSED[options(operator, f"{kind.title()}Options").FusedActivationFunction()]
        elif kind == "LEAKY_RELU":
            x = np.where(x > 0, x, options(operator, "LeakyReluOptions").Alpha() * x)
        elif kind in ("TANH", "RELU", "RELU6", "ELU", "HARD_SWISH"):
            x = ACTIVATIONS[kind.lower()](x)
        elif kind == "SOFTMAX":
            return x[0]
        else:
            assert kind in ("DEQUANTIZE", "QUANTIZE", "LOGISTIC"), kind
        values[operator.Outputs(0)] = ACTIVATIONS[fused](x)
    return values[graph.Outputs(0)].ravel()


@pytest.fixture(scope="session")
def interpret_tflite():
    return interpreted
