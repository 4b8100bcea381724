"""Layers that choose how they compute."""

import copy

import pytest
import torch
from torch import nn

from coppice.native.tensors import compiles
from coppice.networks.dcase2021 import DCASE2021
from coppice.training.winograd import kernels
from coppice.training.winograd.layer import WinogradConv2d, use_winograd_
from coppice.training.winograd.worth import is_worth

SIZE = {"bands": 40, "frames": 500, "half": False, "lanes": 16}


def swapped(network: nn.Module) -> nn.Module:
    other = copy.deepcopy(network)
    use_winograd_(other)
    return other


@pytest.fixture
def used(monkeypatch):
    """The shapes of the layers that compute by minimal filtering."""
    shapes = []
    original = kernels.Kernels.convolve

    def convolve(self, *given):
        shapes.append((self.shape.channels, self.shape.filters))
        return original(self, *given)

    monkeypatch.setattr(kernels.Kernels, "convolve", convolve)
    return shapes


@pytest.mark.usefixtures("machine_code")
@pytest.mark.parametrize("half", [False, True])
@pytest.mark.parametrize("layout", [torch.channels_last, torch.contiguous_format])
def test_a_network_gives_what_it_gave_in_the_same_layout_and_type(half, layout, used):
    network = nn.Sequential(nn.Conv2d(16, 32, 7, padding="same"), nn.ReLU()).to(memory_format=layout)
    x = torch.randn(2, 16, 12, 250).to(memory_format=layout)
    results = []
    for one in (network, swapped(network)):
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            results.append(one(x))
    plain, found = results
    assert used == [(16, 32)]
    assert found.dtype == plain.dtype
    assert found.stride() == plain.stride()
    torch.testing.assert_close(found, plain, atol=0.02 if half else 1e-4, rtol=0.02 if half else 1e-3)


@pytest.mark.usefixtures("machine_code")
def test_the_layers_of_the_dcase_2021_baseline_with_many_products_are_the_ones_that_change(used):
    swapped(DCASE2021(frames=250))(torch.randn(1, 1, 40, 250))
    assert used == [(16, 16), (16, 32)]


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(16, 16, 7, stride=2, padding=3),
        nn.Conv2d(16, 16, 7, padding=0),
        nn.Conv2d(16, 16, (7, 3), padding="same"),
        nn.Conv2d(16, 16, 3, padding=2, dilation=2),
        nn.Conv2d(16, 16, 7, padding="same", groups=16),
        nn.Conv2d(16, 16, 7, padding="same", padding_mode="circular"),
        nn.Conv2d(16, 16, 9, padding="same"),
        nn.Conv1d(16, 16, 7, padding="same"),
    ],
)
def test_other_convolutions_stay_as_they_are(layer):
    assert type(swapped(layer)) is type(layer)


def test_parameters_names_and_hooks_stay():
    layer = nn.Conv2d(16, 16, 7, padding=3)
    seen = []
    layer.register_forward_hook(lambda *given: seen.append(given))
    network = nn.Sequential(layer)
    names = list(network.state_dict())
    use_winograd_(network)
    network(torch.zeros(1, 16, 4, 4))
    assert network[0] is layer
    assert list(network.state_dict()) == names
    assert len(seen) == 1


@pytest.mark.usefixtures("machine_code")
def test_a_channel_too_many_is_refused_as_conv2d_refuses_it():
    with pytest.raises(RuntimeError, match="expected input"):
        swapped(nn.Conv2d(16, 16, 7, padding=3))(torch.zeros(1, 17, 40, 500))


def test_without_a_compiler_pytorch_convolves(monkeypatch, used):
    monkeypatch.setenv("CC", "no-such-compiler")
    compiles.cache_clear()
    network = nn.Conv2d(16, 16, 7, padding=3)
    x = torch.randn(1, 16, 40, 100)
    try:
        assert torch.equal(swapped(network)(x), network(x))
    finally:
        compiles.cache_clear()
    assert not used


@pytest.mark.usefixtures("machine_code")
def test_types_that_do_not_go_together_are_refused_as_conv2d_refuses_them():
    with pytest.raises(RuntimeError, match="type"):
        swapped(nn.Conv2d(16, 16, 7, padding=3))(torch.zeros(1, 16, 40, 500, dtype=torch.bfloat16))


def test_few_channels_small_images_and_heavy_layers_are_left_to_pytorch():
    assert is_worth(16, 16, 7, **SIZE)
    assert not is_worth(1, 16, 7, **SIZE | {"half": True})
    assert not is_worth(16, 16, 7, **SIZE | {"bands": 4, "frames": 10})
    assert not is_worth(512, 512, 3, **SIZE)
    assert not is_worth(16, 16, 9, **SIZE)


def test_matrix_instructions_are_faster_in_bfloat16_alone():
    assert not is_worth(16, 16, 7, **SIZE | {"half": True}, matrices=True)
    assert is_worth(16, 16, 7, **SIZE, matrices=True)


def test_the_layer_is_a_convolution_to_whoever_asks():
    network = swapped(nn.Sequential(nn.Conv2d(16, 16, 7, padding=3)))
    assert isinstance(network[0], nn.Conv2d)
    assert isinstance(network[0], WinogradConv2d)
