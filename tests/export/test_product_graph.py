"""Single products as ONNX models and as modules: they compute what torch computes."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch

from coppice.complexity.product import Product
from coppice.export.product_graph import product_graph
from coppice.export.product_module import ProductModule


def convolution(given, weight, **how):
    axes = len(given) - 2
    plain = {"stride": (1,), "padding": (0,), "dilation": (1,), "output_padding": (0,)}
    geometry = {name: how.pop(name, value * axes) for name, value in plain.items()}
    return Product("convolution", given, weight, **geometry, **how)


PRODUCTS = {
    "1d": convolution((1, 3, 20), (5, 3, 4), bias=True, stride=(2,), padding=(3,)),
    "2d": convolution((1, 4, 9, 11), (6, 4, 3, 5), stride=(2, 1), padding=(1, 2), dilation=(1, 2)),
    "3d": convolution((1, 2, 5, 6, 7), (3, 2, 2, 3, 2), bias=True, padding=(1, 0, 1)),
    "grouped": convolution((1, 6, 12), (4, 3, 3), groups=2),
    "depthwise with multiplier": convolution((1, 4, 8, 8), (8, 1, 3, 3), groups=4, bias=True, padding=(1, 1)),
    "transposed": convolution((1, 4, 10), (4, 6, 3), transposed=True, bias=True, stride=(2,), output_padding=(1,)),
    "transposed, grouped": convolution(
        (1, 4, 5, 6), (4, 3, 3, 3), transposed=True, groups=2, stride=(2, 2), padding=(1, 0), output_padding=(1, 0)
    ),
    "matrix with bias": Product("matrix", (3, 8), (8, 4), bias=True),
    "matrix": Product("matrix", (1, 8), (8, 4)),
}


def expected(product, given, copies):
    _, weight, bias = product.tensors()
    shifts = [copy / 64 for copy in range(copies)]
    return sum(product.run(given, weight + s, None if bias is None else bias + s) for s in shifts)


@pytest.mark.parametrize("copies", [1, 3])
@pytest.mark.parametrize("name", PRODUCTS)
def test_a_product_computes_what_torch_computes(name, copies, run):
    product = PRODUCTS[name]
    given = torch.randn(product.input)
    (found,) = run(product_graph(product, copies=copies).content, given.numpy()).values()
    np.testing.assert_allclose(found, expected(product, given, copies).numpy(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(ProductModule(product, copies=copies)(given), expected(product, given, copies))


def test_no_two_copies_have_equal_weights_which_a_runtime_might_merge():
    model = onnx.load_model_from_string(product_graph(PRODUCTS["2d"], copies=3).content)
    weights = [onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer]
    assert len({array.tobytes() for array in weights}) == len(weights) == 3


def test_it_takes_the_shape_of_the_product_and_says_it():
    model = product_graph(replace(PRODUCTS["matrix"], input=(7, 8)))
    assert model.clip_shape == (8,)
    assert model.name == "a matrix of 7×8 and 8×4"
