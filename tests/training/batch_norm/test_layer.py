"""Layers that normalise quickly where they can."""

import copy

import pytest
import torch
from torch import nn

from coppice.training.batch_norm import kernels
from coppice.training.batch_norm.layer import QuickBatchNorm2d, use_quick_batch_norm_

LAST = torch.channels_last


@pytest.fixture
def used(monkeypatch):
    """The channels of the layers that our passes have normalised."""
    seen = []
    original = kernels.Kernels.normalise

    def normalise(self, x, *given):
        seen.append(x.shape[1])
        return original(self, x, *given)

    monkeypatch.setattr(kernels.Kernels, "normalise", normalise)
    return seen


def quick(layer: nn.Module) -> nn.Module:
    other = copy.deepcopy(layer)
    use_quick_batch_norm_(other)
    return other


def images(channels: int, frames: int = 150) -> torch.Tensor:
    return torch.randn(4, channels, 40, frames).contiguous(memory_format=LAST)


@pytest.mark.usefixtures("machine_code")
@pytest.mark.parametrize("momentum", [0.1, None])
def test_running_statistics_follow_as_pytorchs_do(momentum, used):
    plain = nn.BatchNorm2d(11, momentum=momentum).train()
    other = quick(plain)
    for _ in range(3):
        x = images(11) * 3 + 2
        torch.testing.assert_close(other(x), plain(x), atol=1e-4, rtol=1e-4)
    assert used == [11] * 3
    for name, value in plain.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, atol=1e-5, rtol=1e-5)


@pytest.mark.usefixtures("machine_code")
@pytest.mark.parametrize(
    ("layer", "x"),
    [
        (nn.BatchNorm2d(11).eval(), images(11)),
        (nn.BatchNorm2d(11, affine=False), images(11)),
        (nn.BatchNorm2d(11, track_running_stats=False), images(11)),
        (nn.BatchNorm2d(11), images(11).contiguous()),
        (nn.BatchNorm2d(11), images(11, frames=10)),
        (nn.BatchNorm2d(16), images(16)),
        (nn.BatchNorm2d(11).double(), images(11).double()),
    ],
    ids=["evaluation", "no weights", "no statistics", "contiguous", "few", "fills vectors", "float64"],
)
def test_all_else_is_left_to_pytorch(layer, x, used):
    expected = copy.deepcopy(layer)(x)
    assert torch.equal(quick(layer)(x), expected)
    assert not used


@pytest.mark.usefixtures("machine_code")
def test_a_channel_too_many_is_refused_as_pytorch_refuses_it():
    with pytest.raises(RuntimeError, match="running_mean"):
        quick(nn.BatchNorm2d(11))(images(12))


def test_parameters_buffers_and_names_stay():
    network = nn.Sequential(nn.BatchNorm2d(5), nn.BatchNorm1d(5))
    layer, names = network[0], list(network.state_dict())
    use_quick_batch_norm_(network)
    assert network[0] is layer
    assert isinstance(network[0], QuickBatchNorm2d)
    assert type(network[1]) is nn.BatchNorm1d
    assert list(network.state_dict()) == names


@pytest.mark.usefixtures("machine_code")
def test_weights_that_are_frozen_get_no_gradient():
    layer = quick(nn.BatchNorm2d(11))
    layer.weight.requires_grad_(False)
    layer(images(11)).sum().backward()
    assert layer.weight.grad is None
    assert layer.bias.grad is not None
