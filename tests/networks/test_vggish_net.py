import math

import pytest
import torch
from torch.nn import functional as F

from coppice.complexity.macs import count_macs
from coppice.complexity.params import count_params
from coppice.core.errors import CoppiceError
from coppice.networks.vggish_net import VGGishNet

FULL = (64, 128, 256, 256, 512, 512)


def counts(widths: tuple[int, ...]) -> tuple[int, int]:
    """Parameters and MACs, without memory for 55 million weights."""
    with torch.device("meta"):
        network, example = VGGishNet(widths=widths), torch.empty(1, 1, 64, 96)
        return count_params(network, example).total, count_macs(network, example).total


def test_parameters_and_macs_are_the_published_ones():
    assert counts(FULL) == (55_361_162, 847_119_616)
    assert counts((51, 101, 215, 204, 404, 402)) == (42_889_796, 552_226_432)


def test_the_convolutions_have_their_share_of_the_macs():
    with torch.device("meta"):
        macs = count_macs(VGGishNet(), torch.empty(1, 1, 64, 96)).by_layer
    assert sum(count for name, count in macs.items() if name.startswith("conv")) == 796_262_400


@pytest.mark.parametrize(
    "removed, millions, fewer_macs", [(0.25, 40.81, 42.5), (0.5, 26.82, 73.4), (0.75, 13.39, 92.5), (0.9, 5.59, 98.4)]
)
def test_uniform_ratios_leave_what_is_published(removed, millions, fewer_macs):
    widths = tuple(math.floor((1 - removed) * width) for width in FULL)
    params, macs = counts(widths)
    assert round(params / 1e6, 2) == millions
    assert round(100 * (1 - macs / 847_119_616), 1) == fewer_macs


def test_logits_equal_the_layers_written_out_in_float64():
    network = VGGishNet(widths=(2, 3, 4, 5, 3, 4), dense=(7, 6), classes=3, bands=32, frames=50).double()
    weights = dict(network.named_parameters())
    x = clips = torch.randn(2, 1, 32, 50, dtype=torch.float64)
    for number in range(1, 7):
        x = F.conv2d(x, weights[f"conv{number}.weight"], weights[f"conv{number}.bias"], padding=1).clamp(min=0)
        if number in (1, 2, 4, 6):
            x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
            x = x.unflatten(2, (-1, 2)).unflatten(4, (-1, 2)).amax((3, 5))
    x = x.reshape(2, -1)
    for number in (1, 2, 3):
        x = x @ weights[f"dense{number}.weight"].T + weights[f"dense{number}.bias"]
        x = x.clamp(min=0) if number < 3 else x
    torch.testing.assert_close(network(clips), x, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(
    "config, words",
    [
        ({"widths": (64, 128, 256)}, "vggish_net takes 6 numbers in widths"),
        ({"widths": (64, 128, -1, 256, 512, 512)}, "-1 units in conv3"),
        ({"dense": 4096}, "vggish_net takes 2 numbers in dense"),
        ({"dense": (4096, 0)}, "0 units in dense2"),
        ({"classes": 0}, "0 classes"),
        ({"bands": 15}, "15×96"),
        ({"frames": 15}, "at least 16 bands and 16 frames"),
    ],
)
def test_an_impossible_size_is_refused_by_name(config, words):
    with pytest.raises(CoppiceError, match=words):
        VGGishNet(**config)
