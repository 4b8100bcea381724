import numpy as np
import pytest
import torch
from tests.compiler.interpreter import interpret
from torch import nn

from coppice.compiler.programs import classifier_program, network_program
from coppice.compiler.steps import Convolution, Join, Permute
from coppice.core.errors import CoppiceError
from coppice.networks.registry import build_network
from quick import quick

NETWORKS = {
    "dcase2021": ({"widths": (5, 3, 7), "frames": 60}, (1, 40, 60)),
    "dcase2022": ({"widths": (5, 3, 7)}, (1, 40, 51)),
    "surrey2022": ({"widths": (5, 3, 7)}, (1, 40, 51)),
    "vggish_net": ({"widths": (2, 3, 4, 3, 5, 4), "dense": (6, 5)}, (1, 64, 96)),
    "cp_mobile": ({}, (1, 256, 65)),
    "cnn6": ({"widths": (2, 3, 4, 5)}, (1, 64, 70)),
    "soundnet": ({"widths": (2, 3, 2, 3, 4, 3, 5), "samples": 46000}, (1, 46000)),
}


class Branches(nn.Module):
    """Squeeze and excite, concatenation, hard-swish, a residual, an even kernel, dilation, a swapped picture."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(1, 6, (3, 4), padding="same")
        self.apart = nn.Conv2d(6, 4, 3, padding=2, dilation=2)
        self.squeeze, self.excite = nn.Conv2d(10, 3, 1), nn.Conv2d(3, 10, 1)
        self.pool = nn.AvgPool2d(3, stride=2, padding=1)
        self.bn = nn.BatchNorm2d(12)
        self.swapped = nn.Conv2d(10, 4, (5, 2), stride=(2, 1))
        self.dense = nn.Linear(4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.bn(x.transpose(1, 2)).transpose(1, 2)
        x = nn.functional.hardswish(self.first(x))
        x = torch.cat((x, nn.functional.relu6(self.apart(x)) / 3 - 0.5), dim=1)
        gate = torch.sigmoid(self.excite(torch.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = self.pool(x * gate + x).transpose(2, 3)
        x = torch.tanh(self.swapped(x)).amax(dim=3)
        return self.dense(x.mean(dim=2)).softmax(dim=1)


def agree(network: nn.Module, shape: tuple[int, ...]) -> None:
    program = network_program(network, shape)
    clip = torch.randn(1, *shape)
    with torch.no_grad():
        expected = network.double()(clip.double()).numpy()[0]
    (found,) = interpret(program, clip.numpy()[0]).values()
    np.testing.assert_allclose(found, expected, atol=1e-6 * max(1, np.abs(expected).max()))


@pytest.mark.parametrize("name", quick(NETWORKS, "dcase2021", "soundnet"))
def test_a_program_computes_what_the_network_does(used, name):
    config, shape = NETWORKS[name]
    agree(used(build_network(name, **config)), shape)


def test_branches_gates_and_swapped_axes_are_followed(used):
    agree(used(Branches()), (1, 12, 17))


def test_axes_that_are_moved_before_they_are_flattened_are_moved_in_the_program(used):
    class Moved(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.dense = nn.Conv2d(1, 3, 3), nn.Linear(3 * 6 * 5, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.dense(self.conv(x).permute(0, 3, 1, 2).flatten(1))

    network = used(Moved())
    assert any(isinstance(step, Permute) for step in network_program(network, (1, 8, 7)).steps)
    agree(network, (1, 8, 7))


def test_convolution_normalisation_activation_and_pool_are_one_step(classifier):
    program = classifier_program(classifier)
    assert [step.name for step in program.steps] == ["conv1", "conv2", "conv3", "dense1", "dense2", "node_softmax"]
    second = program.steps[1]
    assert isinstance(second, Convolution)
    assert (str(second.activation), second.pooling.kernel) == ("relu", (5, 5))


def test_parallel_trunks_are_joined_and_a_shared_one_is_computed_once(used):
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.trunk = nn.Conv2d(1, 4, 3)
            self.heads = nn.ModuleList(nn.Conv2d(4, 2, 3) for _ in range(2))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = torch.relu(self.trunk(x))
            return torch.cat([head(x) for head in self.heads], dim=1).mean((2, 3))

    program = network_program(used(Two()), (1, 9, 9))
    assert sum(isinstance(step, Convolution) for step in program.steps) == 3
    assert any(isinstance(step, Join) for step in program.steps)
    agree(used(Two()), (1, 9, 9))


@pytest.mark.parametrize(
    ("network", "said"),
    [
        (
            nn.Sequential(nn.Conv2d(1, 2, 3), nn.ELU(), nn.Flatten()),
            "Elu, which .* has no C; nothing was written",
        ),
        (nn.ConvTranspose2d(1, 2, 3), "ConvTranspose, which"),
        (nn.Sequential(nn.Conv2d(1, 2, 3), nn.MaxPool2d(2, ceil_mode=True)), "MaxPool with ceil_mode 1 has no C"),
        (nn.Conv2d(1, 2, 3, padding=1, padding_mode="reflect"), "has no C"),
    ],
)
def test_what_has_no_c_is_refused_by_its_name(network, said):
    with pytest.raises(CoppiceError, match=said):
        network_program(network, (1, 9, 9))


def test_a_clip_shorter_than_the_networks_field_is_refused():
    with pytest.raises(CoppiceError, match=r"takes no clip of shape \(1, 40, 3\)"):
        network_program(nn.Conv2d(1, 2, 7), (1, 40, 3))
