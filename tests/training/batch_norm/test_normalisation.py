"""Normalisation by a batch beside PyTorch's in float64."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from coppice.training.batch_norm.normalisation import batch_normalisation

pytestmark = pytest.mark.usefixtures("machine_code")
EPS = 1e-3
LAST = torch.channels_last


def both_ways(images, channels, bands, frames, *, dtype=torch.float32, offset=0.0, threads=1):
    """Return outputs, gradients, mean and variance of ours, and those of float64."""
    generator = torch.Generator().manual_seed(0)
    x = (torch.randn(images, channels, bands, frames, generator=generator) + offset).to(dtype)
    x = x.contiguous(memory_format=LAST)
    slopes = torch.randn(x.shape, generator=generator).to(dtype).contiguous(memory_format=LAST)
    weight, bias = torch.randn(2, channels, generator=generator)
    leaves = [one.clone().requires_grad_() for one in (x, weight, bias)]
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        y, mean, variance = batch_normalisation(*leaves, EPS)
        y.backward(slopes)
    finally:
        torch.set_num_threads(before)
    found = [y.detach(), *(leaf.grad for leaf in leaves), mean, variance]
    exact = [one.double().requires_grad_() for one in (x, weight, bias)]
    expected = nn.functional.batch_norm(exact[0], None, None, *exact[1:], training=True, eps=EPS)
    expected.backward(slopes.double())
    moments = torch.var_mean(x.double(), dim=(0, 2, 3), correction=0)
    return found, [expected.detach(), *(leaf.grad for leaf in exact), moments[1], moments[0]]


def error(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).norm() / expected.norm().clamp(min=1e-9))


@pytest.mark.parametrize("channels", [1, 3, 8, 11, 12, 16, 24, 40, 100])
@pytest.mark.parametrize("threads", [1, 3])
def test_outputs_gradients_and_moments_are_those_of_float64(channels, threads):
    found, expected = both_ways(3, channels, 7, 19, threads=threads)
    limits = (1e-6, 1e-5, 1e-6, 1e-6, 1e-5, 1e-6)
    assert all(error(*pair) < limit for *pair, limit in zip(found, expected, limits, strict=True))


@pytest.mark.parametrize("channels", [3, 16, 24])
def test_bfloat16_rounds_what_comes_out_and_nothing_before(channels):
    found, expected = both_ways(3, channels, 7, 19, dtype=torch.bfloat16)
    assert [one.dtype for one in found[:3]] == [torch.bfloat16, torch.bfloat16, torch.float32]
    rounding = 2.0**-8
    limits = (rounding, rounding, 1e-5, 1e-5, 1e-5, 1e-6)
    assert all(error(*pair) < limit for *pair, limit in zip(found, expected, limits, strict=True))


def test_a_large_mean_costs_the_variance_no_digits():
    found, expected = both_ways(4, 16, 10, 50, offset=1000.0)
    assert error(found[5], expected[5]) < 1e-5


@settings(max_examples=60, deadline=None, derandomize=True)
@given(
    images=st.integers(1, 4),
    channels=st.sampled_from([1, 5, 12, 16, 20]),
    bands=st.integers(1, 6),
    frames=st.integers(2, 40),
    threads=st.integers(1, 4),
)
def test_any_number_of_places_is_counted_whole(images, channels, bands, frames, threads):
    found, expected = both_ways(images, channels, bands, frames, threads=threads)
    for place in (0, 2, 3, 4, 5):
        assert error(found[place], expected[place]) < 1e-4


def test_a_channel_that_is_constant_gives_its_bias():
    x = torch.full((2, 4, 3, 5), 7.25).contiguous(memory_format=LAST)
    y, _, variance = batch_normalisation(x, torch.ones(4), torch.arange(4.0), EPS)
    assert variance.tolist() == [0.0] * 4
    # Of mean * weight / deviation, 229, that much is one digit of float32.
    torch.testing.assert_close(y[1, :, 2, 4], torch.arange(4.0), atol=229 * 2.0**-23, rtol=0)


def test_a_value_that_is_no_number_spoils_its_channel_and_no_other():
    x = torch.randn(2, 12, 3, 5).contiguous(memory_format=LAST)
    x[1, 7, 2, 3] = float("nan")
    y, mean, _ = batch_normalisation(x, torch.ones(12), torch.zeros(12), EPS)
    assert torch.isnan(mean).nonzero().tolist() == [[7]]
    assert torch.isnan(y).sum(dim=(0, 2, 3)).tolist() == [30 * (channel == 7) for channel in range(12)]
