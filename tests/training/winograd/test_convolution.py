"""Convolution by minimal filtering beside PyTorch's in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coppice.training.winograd.convolution import winograd_convolution

pytestmark = pytest.mark.usefixtures("machine_code")
# Of what is summed up, relative to the size of the result. Seven taps have ten points, and those the largest errors.
OUTPUT_ERROR, WEIGHT_ERROR = 1e-4, 1e-3
SHAPES = [
    (2, 16, 16, 12, 110, 7),
    (3, 16, 32, 9, 103, 7),
    (1, 11, 5, 7, 33, 5),
    (2, 24, 40, 13, 50, 3),
    (1, 3, 17, 1, 1, 7),
]


def both_ways(images, channels, filters, bands, frames, taps, *, dtype=torch.float32, seed=0):
    """Return outputs and gradients of minimal filtering, and those of float64."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape) -> Tensor:
        return torch.randn(*shape, generator=generator)

    x, weight, bias = (
        noise(images, channels, bands, frames).to(dtype),
        noise(filters, channels, taps, taps),
        noise(filters),
    )
    slopes = noise(images, filters, bands, frames).to(dtype)
    results = []
    for kind in (None, torch.float64):
        leaves = [one.clone().to(kind or one.dtype).requires_grad_() for one in (x, weight, bias)]
        y = winograd_convolution(*leaves) if kind is None else nn.functional.conv2d(*leaves, padding=taps // 2)
        y.backward(slopes.to(y.dtype))
        results.append([y.detach(), *(leaf.grad for leaf in leaves)])
    return results


def error(found: Tensor, expected: Tensor) -> float:
    """Return the size of what differs, as a share of the size of what is expected."""
    return float((found.double() - expected).norm() / expected.norm().clamp(min=1e-12))


@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_float64(shape):
    found, expected = both_ways(*shape)
    limits = (OUTPUT_ERROR, OUTPUT_ERROR, WEIGHT_ERROR, 1e-6)
    for one, other, limit in zip(found, expected, limits, strict=True):
        assert one.shape == other.shape
        assert error(one, other) < limit


@pytest.mark.parametrize("shape", SHAPES[:3])
def test_bfloat16_rounds_what_comes_out_and_nothing_before(shape):
    found, expected = both_ways(*shape, dtype=torch.bfloat16)
    assert [one.dtype for one in found] == [torch.bfloat16, torch.bfloat16, torch.float32, torch.float32]
    rounding = 2.0**-8  # half of the last of eight bits, at most
    for one, other, limit in zip(found, expected, (rounding, rounding, WEIGHT_ERROR, 1e-6), strict=True):
        assert error(one, other) < limit


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    images=st.integers(1, 3),
    channels=st.sampled_from([1, 7, 16]),
    filters=st.sampled_from([1, 9, 16]),
    bands=st.integers(1, 11),
    frames=st.integers(1, 24),
    taps=st.sampled_from([3, 7]),
)
def test_any_size_of_image_gives_what_float64_gives(images, channels, filters, bands, frames, taps):
    found, expected = both_ways(images, channels, filters, bands, frames, taps)
    for one, other, limit in zip(found, expected, (1e-3, 1e-3, 1e-2, 1e-5), strict=True):
        assert error(one, other) < limit


def test_rounding_to_bfloat16_is_to_even_and_keeps_what_is_no_number():
    x = torch.tensor([1 + 2.0**-8, 1 + 3 * 2.0**-8, -1 - 2.0**-8, float("inf"), float("nan")])
    one = torch.zeros(1, 1, 3, 3)
    one[..., 1, 1] = 1.0
    for value in x:
        image = torch.zeros(1, 1, 1, 1, dtype=torch.bfloat16)
        found = winograd_convolution(image, one, value[None])[0, 0, 0, 0]
        assert torch.equal(torch.isnan(found), torch.isnan(value))
        if not torch.isnan(value):
            assert found == value.bfloat16()


def test_a_value_that_is_no_number_is_seen_in_the_output():
    x = torch.zeros(1, 2, 8, 40)
    x[0, 1, 4, 20] = float("nan")
    found = winograd_convolution(x, torch.ones(3, 2, 7, 7))
    assert torch.isnan(found[..., 1:8, 17:24]).all()
    assert not torch.isnan(found[..., :4]).any()


def test_the_same_is_computed_again_to_the_last_bit():
    first, _ = both_ways(2, 16, 16, 12, 110, 7)
    second, _ = both_ways(2, 16, 16, 12, 110, 7)
    assert all(map(torch.equal, first, second))


def test_each_image_is_computed_apart_from_the_others():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(5, 16, 10, 60, generator=generator), torch.randn(16, 16, 5, 5, generator=generator)
    alone = torch.cat([winograd_convolution(one[None], weight) for one in x])
    assert torch.equal(winograd_convolution(x, weight), alone)


def test_threads_share_the_work_and_change_sums_in_the_last_digits_alone():
    before = torch.get_num_threads()
    first, _ = both_ways(3, 16, 16, 12, 110, 7)
    try:
        torch.set_num_threads(3)
        second, _ = both_ways(3, 16, 16, 12, 110, 7)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert error(second[2], first[2].double()) < WEIGHT_ERROR


def test_gradients_nobody_needs_are_not_computed():
    x, weight = torch.randn(1, 4, 6, 20), torch.randn(4, 4, 3, 3, requires_grad=True)
    winograd_convolution(x, weight).sum().backward()
    assert x.grad is None
    assert weight.grad is not None


def test_a_default_type_of_float64_changes_nothing():
    generator = torch.Generator().manual_seed(0)
    x, weight = torch.randn(1, 16, 10, 60, generator=generator), torch.randn(16, 16, 5, 5, generator=generator)
    weight.requires_grad_()
    results = []
    for kind in (torch.float32, torch.float64):
        torch.set_default_dtype(kind)
        try:
            y = winograd_convolution(x, weight)
            (gradient,) = torch.autograd.grad(y.square().sum(), weight)
        finally:
            torch.set_default_dtype(torch.float32)
        results.append((y, gradient))
    assert all(map(torch.equal, *results))
