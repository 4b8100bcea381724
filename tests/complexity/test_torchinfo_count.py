import pytest
import torch
import torchinfo
from torch import nn
from torch.nn.utils import prune

from coppice.complexity.torchinfo_count import count_torchinfo
from coppice.networks.dcase2021 import DCASE2021
from coppice.networks.registry import build_network, network_names


def on_meta(name: str) -> tuple[nn.Module, torch.Tensor]:
    """A network of the zoo and its input, without memory and arithmetic."""
    with torch.device("meta"):
        network = build_network(name)
        sizes = network.config()
        shape = (sizes["samples"],) if "samples" in sizes else (sizes["bands"], sizes.get("frames", 101))
        return network, torch.zeros(1, 1, *shape)


def agrees(network: nn.Module, example: torch.Tensor) -> None:
    theirs = torchinfo.summary(network, input_data=example, verbose=0)
    ours = count_torchinfo(network, example)
    assert (ours.params, ours.mult_adds) == (theirs.total_params, theirs.total_mult_adds)


@pytest.mark.parametrize("name", [name for name in network_names() if name not in ("chain", "ensemble")])
def test_every_network_of_the_zoo_counts_as_torchinfo_counts_it(name):
    agrees(*on_meta(name))


def test_the_dcase_2022_baseline_has_its_number():
    found = count_torchinfo(DCASE2021(frames=51), torch.zeros(1, 1, 40, 51))
    assert (found.params, found.mult_adds) == (46_118, 29_271_638)


def test_the_dcase_2024_baseline_has_its_published_numbers():
    found = count_torchinfo(*on_meta("cp_mobile"))
    assert (found.params, found.mult_adds) == (61_148, 29_419_156)


class Functional(nn.Module):
    def __init__(self):
        super().__init__()
        self.scale = nn.Parameter(torch.ones(7))
        self.dense = nn.Linear(7, 3)

    def forward(self, x):
        return self.dense(x @ x.transpose(1, 2) @ x * self.scale)


class Twice(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer, self.unused = nn.Conv1d(2, 2, 3, padding=1), nn.Linear(5, 5)

    def forward(self, x):
        return self.layer(self.layer(x))


class Recurrent(nn.Module):
    def __init__(self, kind):
        super().__init__()
        self.recurrent = kind(5, 3, batch_first=True, bidirectional=True)

    def forward(self, x):
        return self.recurrent(x)[0]


@pytest.mark.parametrize(
    ("network", "shape"),
    [
        (Functional(), (1, 4, 7)),
        (Twice(), (1, 2, 9)),
        (nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4)), (1, 6, 3)),
        (nn.Sequential(nn.ConvTranspose2d(2, 3, 3, groups=1, stride=2), nn.PReLU(3)), (1, 2, 5, 4)),
        (nn.Sequential(nn.Conv2d(4, 8, 3, groups=4, bias=False), nn.GroupNorm(2, 8)), (1, 4, 9, 9)),
        (nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), (1, 5, 8)),
        (Recurrent(nn.LSTM), (1, 11, 5)),
        (Recurrent(nn.GRU), (1, 11, 5)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, nn.Module) else None,
)
def test_its_faults_are_reproduced(network, shape):
    agrees(network, torch.zeros(shape))


def test_masked_weights_do_not_count():
    network = nn.Sequential(nn.Conv2d(1, 8, 3), nn.Flatten(), nn.Linear(72, 4))
    prune.l1_unstructured(network[0], "weight", amount=0.25)
    prune.random_structured(network[2], "weight", amount=2, dim=0)
    agrees(network, torch.zeros(1, 1, 5, 5))
    assert count_torchinfo(network, torch.zeros(1, 1, 5, 5)).by_layer == {"0": (54 + 8) * 9, "2": 2 * 72 + 4}


def test_a_parameter_that_two_modules_share_counts_once():
    network = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    network[1].weight = network[0].weight
    assert count_torchinfo(network, torch.zeros(1, 4)).params == 16 + 4 + 4


def test_modes_and_hooks_come_back():
    network = DCASE2021(frames=25).train()
    count_torchinfo(network, torch.zeros(1, 1, 40, 25))
    assert network.training and not any(module._forward_hooks for module in network.modules())
