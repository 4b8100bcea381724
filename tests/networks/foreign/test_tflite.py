import resource
import time
from contextlib import suppress
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coppice.core.errors import CoppiceError
from coppice.networks.foreign.tflite import read_tflite

NETS = {"unpruned": 14_630, "C1": 14_014, "C2": 12_898, "C3": 11_180, "C12": 12_426, "C23": 9_808, "C123": 9_336}


@pytest.mark.parametrize("number_format", ["float32", "float16", "int8_dynamic"])
@pytest.mark.parametrize("name", NETS)
def test_a_published_network_has_its_published_parameters_and_computes_what_its_file_says(
    name, number_format, shared_data, interpret_tflite
):
    path = shared_data / "surrey2022" / name / f"{number_format}.tflite"
    imported = read_tflite(path)
    assert sum(p.numel() for p in imported.network.parameters()) == NETS[name]
    assert imported.network.input_shape == (1, 40, 51) and imported.score == "softmax"
    x = np.random.default_rng(0).normal(size=(1, 40, 51, 1)).astype(np.float32)
    expected = interpret_tflite(path, x.astype(np.float64))
    with torch.no_grad():
        logits = imported.network(torch.from_numpy(x[..., 0])[None])[0].numpy()
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    assert list(imported.layer_names) == [
        *("conv1", "act1", "conv2", "act2", "pool1", "conv3", "act3", "pool2", "flatten", "dense1", "act4", "dense2")
    ]


def test_bytes_are_counted_by_the_number_format_of_each_weight(shared_data):
    folder = shared_data / "surrey2022" / "C123"
    assert read_tflite(folder / "float32.tflite").stored_bytes == {"float32": 4 * 9_336}
    assert read_tflite(folder / "float16.tflite").stored_bytes == {"float16": 2 * 9_336}
    # int8: the kernels of 1,024 values or more; conv1, the last dense layer and the biases stay float32
    int8 = 12 * 3 * 3 * 12 + 22 * 3 * 3 * 12 + 100 * 44
    assert read_tflite(folder / "int8_dynamic.tflite").stored_bytes == {"int8": int8, "float32": 4 * (9_336 - int8)}


# ---- generated files ------------------------------------------------------------------------------------------------


def some(*shape, seed=0):
    return (np.random.default_rng([seed, *shape]).normal(size=shape) * 0.4).astype(np.float32)


def window(padding, stride=(1, 1), fused=0, **more):
    return {
        "Padding": ("SAME", "VALID").index(padding),
        "StrideH": stride[0],
        "StrideW": stride[1],
        "FusedActivationFunction": fused,
        **more,
    }


def f32(*shape):
    return (shape, "float32")


def int8_kernel(*shape, axis):
    rng = np.random.default_rng(3)
    scales = rng.uniform(0.01, 0.02, size=shape[axis])
    return (rng.integers(-127, 128, size=shape).astype(np.int8), (scales, np.zeros(shape[axis])), axis)


DENSE = ("FullyConnectedOptions", {"FusedActivationFunction": 0})
NO_SOFTMAX_BETA = ("SoftmaxOptions", {"Beta": 1.0})


def depthwise_separable():
    tensors = {
        "in": f32(1, 9, 8, 3),
        "pads": np.array([[0, 0], [1, 0], [0, 2], [0, 0]], np.int32),
        "padded": f32(1, 10, 10, 3),
        "dw": int8_kernel(1, 3, 3, 6, axis=3),
        "dw bias": some(6),
        "a": f32(1, 5, 5, 6),
        "scale": some(6, seed=1),
        "b": f32(1, 5, 5, 6),
        "shift": some(1, 1, 1, 6, seed=2),
        "c": f32(1, 5, 5, 6),
        "d": f32(1, 5, 5, 6),
        "pw": some(4, 1, 1, 3),
        "e": f32(1, 3, 5, 4),
        "f": f32(1, 2, 3, 4),
        "axes": np.array([1, 2], np.int32),
        "g": f32(1, 4),
        "w": (np.random.default_rng(0).integers(0, 256, (5, 4)).astype(np.uint8), (0.01, 128), 0),
        "h": f32(1, 5),
        "out": f32(1, 5),
    }
    operators = [
        ("PAD", ["in", "pads"], ["padded"], "PadOptions", {}),
        (
            "DEPTHWISE_CONV_2D",
            ["padded", "dw", "dw bias"],
            ["a"],
            "DepthwiseConv2DOptions",
            window("SAME", (2, 2), fused=1, DepthMultiplier=2, DilationHFactor=1, DilationWFactor=1),
        ),
        ("MUL", ["a", "scale"], ["b"], "MulOptions", {}),
        ("ADD", ["shift", "b"], ["c"], "AddOptions", {"FusedActivationFunction": 3}),
        ("LEAKY_RELU", ["c"], ["d"], "LeakyReluOptions", {"Alpha": 0.25}),
        (
            "CONV_2D",
            ["d", "pw", None],
            ["e"],
            "Conv2DOptions",
            window("VALID", (2, 1), DilationHFactor=1, DilationWFactor=1),
        ),
        ("AVERAGE_POOL_2D", ["e"], ["f"], "Pool2DOptions", window("SAME", (2, 2), 4, FilterHeight=2, FilterWidth=3)),
        ("MEAN", ["f", "axes"], ["g"], "ReducerOptions", {"KeepDims": False}),
        ("FULLY_CONNECTED", ["g", "w", None], ["h"], *DENSE),
        ("SOFTMAX", ["h"], ["out"], *NO_SOFTMAX_BETA),
    ]
    return tensors, operators


def flattened_inside_the_dense_layer():
    tensors = {
        "in": f32(1, 6, 7, 1),
        "k": some(4, 3, 3, 1).astype(np.float16),
        "k32": f32(4, 3, 3, 1),
        "b": some(4),
        "a": f32(1, 2, 3, 4),
        "w": some(3, 24),
        "wb": some(3),
        "out": f32(1, 3),
        "y": f32(1, 3),
    }
    operators = [
        ("DEQUANTIZE", ["k"], ["k32"], "DequantizeOptions", {}),
        (
            "CONV_2D",
            ["in", "k32", "b"],
            ["a"],
            "Conv2DOptions",
            window("VALID", (2, 2), DilationHFactor=1, DilationWFactor=1),
        ),
        ("FULLY_CONNECTED", ["a", "w", "wb"], ["y"], *DENSE),
        ("LOGISTIC", ["y"], ["out"]),
    ]
    return tensors, operators


def one_dimensional():
    tensors = {
        "in": f32(1, 20, 2),
        "axis": np.array(1, np.int32),
        "a": f32(1, 1, 20, 2),
        "k": some(4, 1, 3, 2),
        "b": some(4),
        "c": f32(1, 1, 10, 4),
        "shape": np.array([1, 10, 4], np.int32),
        "d": f32(1, 10, 4),
        "axis 2": np.array(2, np.int32),
        "e": f32(1, 10, 1, 4),
        "f": f32(1, 5, 1, 4),
        "g": f32(1, 5, 4),
        "pads": np.array([[0, 0], [2, 0], [0, 0]], np.int32),
        "h": f32(1, 7, 4),
        "flat": np.array([-1, 28], np.int32),
        "i": f32(1, 28),
        "w": some(3, 28),
        "wb": some(3),
        "j": f32(1, 3),
        "out": f32(1, 3),
    }
    operators = [
        ("EXPAND_DIMS", ["in", "axis"], ["a"], "ExpandDimsOptions", {}),
        (
            "CONV_2D",
            ["a", "k", "b"],
            ["c"],
            "Conv2DOptions",
            window("SAME", (1, 2), fused=1, DilationHFactor=1, DilationWFactor=1),
        ),
        ("RESHAPE", ["c", "shape"], ["d"], "ReshapeOptions", {}),
        ("EXPAND_DIMS", ["d", "axis 2"], ["e"], "ExpandDimsOptions", {}),
        ("MAX_POOL_2D", ["e"], ["f"], "Pool2DOptions", window("VALID", (2, 1), FilterHeight=2, FilterWidth=1)),
        ("SQUEEZE", ["f"], ["g"], "SqueezeOptions", {}),
        ("PAD", ["g", "pads"], ["h"], "PadOptions", {}),
        ("RESHAPE", ["h", "flat"], ["i"], "ReshapeOptions", {}),
        ("FULLY_CONNECTED", ["i", "w", "wb"], ["j"], *DENSE),
        ("SOFTMAX", ["j"], ["out"], *NO_SOFTMAX_BETA),
    ]
    return tensors, operators


def head_of_one_by_one_convolutions():
    tensors = {
        "in": f32(1, 4, 6),
        "channel": np.array([1, 4, 6, 1], np.int32),
        "image": f32(1, 4, 6, 1),
        "k": some(6, 2, 2, 1),
        "a": f32(1, 3, 5, 6),
        "axes": np.array([1, 2], np.int32),
        "g": f32(1, 6),
        "map": np.array([1, 1, 1, 6], np.int32),
        "h": f32(1, 1, 1, 6),
        "pw": some(3, 1, 1, 6),
        "i": f32(1, 1, 1, 3),
        "flat": np.array([1, 3], np.int32),
        "j": f32(1, 3),
        "out": f32(1, 3),
    }
    conv = {"DilationHFactor": 1, "DilationWFactor": 1}
    operators = [
        ("RESHAPE", ["in", "channel"], ["image"], "ReshapeOptions", {}),
        ("CONV_2D", ["image", "k"], ["a"], "Conv2DOptions", window("VALID", fused=3, **conv)),
        ("REDUCE_MAX", ["a", "axes"], ["g"], "ReducerOptions", {"KeepDims": False}),
        ("RESHAPE", ["g", "map"], ["h"], "ReshapeOptions", {}),
        ("CONV_2D", ["h", "pw"], ["i"], "Conv2DOptions", window("SAME", **conv)),
        ("RESHAPE", ["i", "flat"], ["j"], "ReshapeOptions", {}),
        ("SOFTMAX", ["j"], ["out"], *NO_SOFTMAX_BETA),
    ]
    return tensors, operators


GENERATED = [
    depthwise_separable,
    flattened_inside_the_dense_layer,
    one_dimensional,
    head_of_one_by_one_convolutions,
]


@pytest.mark.parametrize("make", GENERATED)
def test_a_generated_network_computes_what_its_operators_say(make, tmp_path, write_tflite, interpret_tflite):
    tensors, operators = make()
    path = write_tflite(tmp_path / "net.tflite", tensors, operators, start="in", end="out")
    imported = read_tflite(path)
    for seed in range(3):
        x = np.random.default_rng(seed).normal(size=tensors["in"][0])
        expected = interpret_tflite(path, x)
        clip = x[0] if len(imported.network.input_shape) == x.ndim - 1 else x[0, ..., None]
        with torch.no_grad():
            found = imported.network.double()(torch.from_numpy(np.moveaxis(clip, -1, 0))[None])[0].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-6)
    assert imported.score == ("sigmoid" if operators[-1][0] == "LOGISTIC" else "softmax")


def test_a_batch_normalisation_that_could_not_be_folded_is_one_layer(tmp_path, write_tflite):
    path = write_tflite(tmp_path / "net.tflite", *depthwise_separable(), start="in", end="out")
    names = list(read_tflite(path).layer_names)
    assert names[:6] == ["pad1", "conv1", "act1", "bn1", "act2", "act3"]


def test_a_network_with_integer_activations_says_that_their_rounding_is_not_reproduced(tmp_path, write_tflite):
    tensors = {
        "in": f32(1, 4),
        "q": ((1, 4), "int8"),
        "w": (np.arange(-6, 6).reshape(3, 4).astype(np.int8), (0.5, 0), 0),
        "b": (np.array([4, -8, 100], np.int32), (0.05, 0), 0),
        "y": ((1, 3), "int8"),
        "out": f32(1, 3),
    }
    operators = [
        ("QUANTIZE", ["in"], ["q"], "QuantizeOptions", {}),
        ("FULLY_CONNECTED", ["q", "w", "b"], ["y"], *DENSE),
        ("DEQUANTIZE", ["y"], ["out"], "DequantizeOptions", {}),
    ]
    imported = read_tflite(write_tflite(tmp_path / "net.tflite", tensors, operators, start="in", end="out"))
    assert imported.network.dense1.weight[0].tolist() == [-3.0, -2.5, -2.0, -1.5]
    assert imported.network.dense1.bias.tolist() == pytest.approx([0.2, -0.4, 5.0])
    assert imported.stored_bytes == {"int8": 12, "int32": 12}
    assert any("rounding is not" in note for note in imported.notes)


# ---- what is refused ------------------------------------------------------------------------------------------------


def refused(path):
    with pytest.raises(CoppiceError) as caught:
        read_tflite(path)
    message = str(caught.value)
    assert path.name in message and "\n" not in message
    return message


def changed(operators, position, operator):
    return [*operators[:position], operator, *operators[position + 1 :]]


@pytest.mark.parametrize(
    ("operator", "words"),
    [
        (("BATCH_MATMUL", ["y", "wb"], ["out"]), "(BATCH_MATMUL)"),
        (("ADD", ["y", "a"], ["out"], "AddOptions", {}), "branches or meets"),
        (("SOFTMAX", ["y"], ["out"], "SoftmaxOptions", {"Beta": 2.0}), "its beta is 2"),
        (("MUL", ["y", "b"], ["out"], "MulOptions", {}), "one number for each of 3 channels"),
        (("SUB", ["wb", "y"], ["out"], "SubOptions", {}), "its constant stands first"),
        (("FULLY_CONNECTED", ["y", "w", None], ["out"], *DENSE), "does not fit"),
        (("MAX_POOL_2D", ["y"], ["out"], "Pool2DOptions", window("SAME", FilterHeight=2, FilterWidth=2)), "on maps"),
        (("LOGISTIC", ["a"], ["out"]), "branches or meets"),
        (("LOGISTIC", ["y"], ["y"]), "does not come from its last layer"),
    ],
)
def test_an_operator_that_cannot_be_imported_is_named_with_its_type_and_file(operator, words, tmp_path, write_tflite):
    tensors, operators = flattened_inside_the_dense_layer()
    path = write_tflite(tmp_path / "net.tflite", tensors, changed(operators, 3, operator), start="in", end="out")
    assert words in refused(path)


@pytest.mark.parametrize(
    ("name", "tensor", "words"),
    [
        ("in", f32(2, 6, 7, 1), "one clip of a fixed size"),
        ("in", f32(1, 6, 7, 5), "a convolution of 5 channels"),
        ("b", some(3), "does not fit 4 channels"),
        ("b", np.full(4, np.nan, np.float32), "not finite"),
        ("k", (np.zeros((4, 3, 3, 1), np.int8), (np.ones(3), np.zeros(3)), 0), "3 scales do not fit"),
        ("k", np.zeros((4, 3, 3, 1), np.int8), "int8 without a scale"),
        ("k", some(4, 9), "no kernel of four axes"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(name, tensor, words, tmp_path, write_tflite):
    tensors, operators = flattened_inside_the_dense_layer()
    path = write_tflite(tmp_path / "net.tflite", tensors | {name: tensor}, operators, start="in", end="out")
    assert words in refused(path)


@pytest.mark.parametrize(
    "content", [b"", b"abc", b"\x1c\0\0\0TFL3", bytes(4) + b"TFL3" + bytes(100), b"\xff" * 4 + b"TFL3"]
)
def test_a_file_that_is_no_tflite_is_refused(content, tmp_path):
    path = tmp_path / "net.tflite"
    path.write_bytes(content)
    refused(path)


def test_weights_used_again_and_again_are_refused(tmp_path, write_tflite):
    tensors = {"in": f32(1, 60), "w": some(60, 60)} | {f"x{i}": f32(1, 60) for i in range(2000)}
    names = ["in", *(f"x{i}" for i in range(2000))]
    operators = [("FULLY_CONNECTED", [before, "w", None], [after], *DENSE) for before, after in pairwise(names)]
    path = write_tflite(tmp_path / "net.tflite", tensors, operators, start="in", end=names[-1])
    assert "again and again" in refused(path)


@pytest.fixture(scope="module")
def small_file(tmp_path_factory, write_tflite):
    path = tmp_path_factory.mktemp("tflite") / "small.tflite"
    return write_tflite(path, *depthwise_separable(), start="in", end="out").read_bytes()


@settings(
    max_examples=300, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_gives_one_plain_error_or_a_network(data, small_file, tmp_path):
    damaged = bytearray(small_file)
    for _ in range(data.draw(st.integers(0, 6), "flips")):
        damaged[data.draw(st.integers(8, len(damaged) - 1))] = data.draw(st.sampled_from([0, 1, 127, 128, 255]))
    cut = data.draw(st.one_of(st.just(len(damaged)), st.integers(0, len(damaged))), "cut")
    path = tmp_path / "damaged.tflite"
    path.write_bytes(damaged[:cut])
    began, memory = time.monotonic(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with suppress(CoppiceError):
        assert read_tflite(path).network.input_shape
    assert time.monotonic() - began < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 100_000  # kB
