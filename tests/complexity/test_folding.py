import pytest
import torch
from torch import nn
from torch.nn import functional as F

from coppice.complexity.folding import fold_batch_norm, folding_pairs
from coppice.complexity.params import count_params
from coppice.networks.dcase2021 import DCASE2021

CONV = {1: nn.Conv1d, 2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {1: nn.ConvTranspose1d, 2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
NORM = {1: nn.BatchNorm1d, 2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


def lived(network: nn.Module) -> nn.Module:
    """Give every batch normalisation statistics, scale and shift of its own, some of them negative or zero."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            with torch.no_grad():
                for tensor in (module.weight, module.bias):
                    if tensor is not None:
                        tensor.copy_(torch.randn(tensor.shape))
                if module.running_mean is not None:
                    module.running_mean.copy_(torch.randn(module.num_features))
                    module.running_var.copy_(torch.rand(module.num_features) + 0.1)
    return network.double().eval()


def folds_exactly(network: nn.Module, example: torch.Tensor, pairs: dict[str, str]) -> nn.Module:
    """Check what is folded and that the result computes the same in float64; return it."""
    network, example = lived(network), example.double()
    assert folding_pairs(network, example) == pairs
    folded = fold_batch_norm(network, example)
    fresh = torch.randn(3, *example.shape[1:], dtype=torch.float64)
    torch.testing.assert_close(folded(fresh), network(fresh), rtol=1e-10, atol=1e-10)
    left = sum(t.numel() for t in folded.state_dict().values() if t.is_floating_point())
    standing = [m for m in folded.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    left -= sum(sum(t.numel() for t in m.state_dict().values() if t.is_floating_point()) for m in standing)
    assert count_params(network, example).bn_folded == left + 2 * sum(m.num_features for m in standing)
    return folded


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("affine", [True, False])
@pytest.mark.parametrize("groups", [1, 2])
@pytest.mark.parametrize("kinds", [CONV, TRANSPOSED])
@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_folding_computes_the_same(dimensions, kinds, groups, affine, bias):
    network = nn.Sequential(
        kinds[dimensions](4, 6, 3, groups=groups, bias=bias), NORM[dimensions](6, affine=affine), nn.ReLU()
    )
    folded = folds_exactly(network, torch.randn(1, 4, *[5] * dimensions), {"0": "1"})
    assert isinstance(folded[1], nn.Identity)


def test_the_baseline_folds_completely():
    pairs = {"conv1": "bn1", "conv2": "bn2", "conv3": "bn3"}
    folds_exactly(DCASE2021(widths=(5, 4, 3), frames=25), torch.randn(1, 1, 40, 25), pairs)


def test_folding_leaves_the_network_as_it_is():
    network = DCASE2021(widths=(2, 2, 2), frames=25).train()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    folded = fold_batch_norm(network, torch.randn(1, 1, 40, 25))
    assert network.training and isinstance(network.bn1, nn.BatchNorm2d) and not folded.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in folded.modules())


class Blocks(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)


class Shared(Blocks):
    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) + y


class Concatenated(Blocks):
    def forward(self, x):
        y = self.conv(x)
        return torch.cat([self.norm(y), y], 1)


class Returned(Blocks):
    def forward(self, x):
        y = self.conv(x)
        return self.norm(y), y


class Before(Blocks):
    def forward(self, x):
        return self.conv(self.norm(x))


class ReluBetween(Blocks):
    def forward(self, x):
        return self.norm(F.relu(self.conv(x)))


class InPlaceBetween(Blocks):
    def forward(self, x):
        y = self.conv(x)
        y.relu_()
        return self.norm(y)


class ConvTwice(Blocks):
    def forward(self, x):
        return self.norm(self.conv(self.conv(x)))


class NormTwice(Blocks):
    def forward(self, x):
        return self.norm(self.norm(self.conv(x)).relu())


class OneNormTwoConvs(Blocks):
    def __init__(self):
        super().__init__()
        self.other = nn.Conv2d(3, 3, 1)

    def forward(self, x):
        return self.norm(self.conv(x)) - self.norm(self.other(x))


class ByKeyword(Blocks):
    def forward(self, x):
        y = self.conv(x)
        return self.norm(y) * F.layer_norm(input=y, normalized_shape=y.shape[3:])


@pytest.mark.parametrize(
    "kind",
    [
        Shared,
        Concatenated,
        Returned,
        Before,
        ReluBetween,
        InPlaceBetween,
        ConvTwice,
        NormTwice,
        OneNormTwoConvs,
        ByKeyword,
    ],
)
def test_what_cannot_be_folded_is_left_standing(kind):
    folds_exactly(kind(), torch.randn(1, 3, 6, 6), {})


def test_without_running_statistics_nothing_is_folded():
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))
    folds_exactly(network, torch.randn(1, 1, 8, 8), {})
