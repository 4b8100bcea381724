import pytest
import torch

from coppice.complexity.macs import count_macs
from coppice.complexity.params import count_params
from coppice.core.errors import CoppiceError
from coppice.networks.dcase2021 import DCASE2021
from coppice.networks.dcase2022 import DCASE2022

EXAMPLE = torch.zeros(1, 1, 40, 51)


def test_parameters_and_macs_are_the_published_ones():
    network = DCASE2022()
    counts = count_params(network, EXAMPLE)
    assert (counts.total, counts.trainable, counts.bn_folded) == (46_246, 46_118, 45_990)
    # Repository AlbertoAncilotto/NeSsi on the official file prints these rows for the convolutions.
    macs = count_macs(network, EXAMPLE)
    assert macs.by_layer == {
        "conv1": 1_599_360,
        "conv2": 25_589_760,
        "conv3": 2_007_040,
        "dense1": 6_400,
        "dense2": 1_000,
    }
    assert macs.total == 29_203_560


def test_the_official_count_of_46512_is_bytes_of_weights_and_biases():
    network = DCASE2022()
    layers = (network.conv1, network.conv2, network.conv3, network.dense1, network.dense2)
    assert sum(layer.weight.numel() + 4 * layer.bias.numel() for layer in layers) == 46_512


def test_it_computes_what_the_2021_network_computes_on_a_second():
    network = DCASE2022(widths=(4, 3, 5), dense=6).eval()
    older = DCASE2021(widths=(4, 3, 5), dense=6, frames=51).eval()
    older.load_state_dict(network.state_dict())
    clips = torch.randn(3, 1, 40, 51)
    assert network.pool2.kernel_size == 5 and network.pool3.kernel_size == (4, 10)
    assert torch.equal(network(clips), older(clips))


@pytest.mark.parametrize(
    "config, words",
    [
        ({"widths": (16, 16)}, "dcase2022 takes 3 numbers in widths"),
        ({"widths": (16, 0, 32)}, "dcase2022 cannot have 0 units in conv2"),
        ({"dense": 2.0}, "dcase2022 cannot have 2.0 units in dense"),
        ({"classes": 1}, "dcase2022 cannot tell 1 classes"),
        ({"bands": 19}, "dcase2022 cannot take a 19×51"),
        ({"frames": 4}, "at least 20 bands and 5 frames"),
        ({"dropout": 1}, "dropout is 1"),
    ],
)
def test_an_impossible_size_is_refused_by_the_name_of_this_network(config, words):
    with pytest.raises(CoppiceError, match=words):
        DCASE2022(**config)
