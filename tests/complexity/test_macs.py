import pytest
import torch
import torchinfo
from torch import nn

from coppice.complexity.macs import count_macs
from coppice.networks.dcase2021 import DCASE2021

BASELINE_MACS = 286_637_800
# Filters kept, parameters as Keras counts them and with batch normalisation folded, and the share of MACs saved.
# Parameters: Singh et al., Interspeech 2022 (arXiv 2203.15751). The share counts the smaller input of the next layer
# too, which the paper's own 27 % leaves out.
SIMILARITY_PRUNED = [
    ((11, 16, 32), 42_056, 41_820, 29.06),
    ((16, 11, 32), 34_461, 34_225, 29.54),
    ((16, 16, 22), 36_356, 36_140, 2.19),
    ((11, 11, 32), 31_496, 31_280, 50.05),
    ((16, 11, 22), 27_021, 26_825, 31.04),
    ((11, 11, 22), 24_056, 23_880, 51.56),
]
# The same for one ratio in every layer: 25, 50, 75 % of the filters gone.
UNIFORM = [((12, 12, 24), 27_906, 42.7), ((8, 8, 16), 14_270, 73.6), ((4, 4, 8), 5_338, 92.7)]


def by_formula(widths, dense, frames):
    """Kernel times inputs times output elements, layer by layer, written out."""
    first, second, third = widths
    return sum(
        [
            49 * 1 * first * 40 * frames,
            49 * first * second * 40 * frames,
            49 * second * third * 8 * (frames // 5),
            2 * third * dense,
            dense * 10,
        ]
    )


@pytest.mark.parametrize("widths, total, folded, saved", SIMILARITY_PRUNED)
def test_pruned_widths_have_the_published_counts(widths, total, folded, saved):
    from coppice.complexity.params import count_params

    network, example = DCASE2021(widths=widths), torch.zeros(1, 1, 40, 500)
    params, macs = count_params(network, example), count_macs(network, example).total
    assert (params.total, params.bn_folded) == (total, folded)
    assert round(100 * (1 - macs / BASELINE_MACS), 2) == saved
    assert macs == by_formula(widths, 100, 500)


@pytest.mark.parametrize("widths, total, saved", UNIFORM)
def test_uniformly_pruned_widths_have_the_counts_of_their_ratio(widths, total, saved):
    from coppice.complexity.params import count_params

    network, example = DCASE2021(widths=widths), torch.zeros(1, 1, 40, 500)
    assert count_params(network, example).total == total
    assert round(100 * (1 - count_macs(network, example).total / BASELINE_MACS), 1) == saved


@pytest.mark.parametrize("frames", [25, 250])
def test_macs_follow_the_formula_at_other_lengths(frames):
    example = torch.zeros(1, 1, 40, frames)
    assert count_macs(DCASE2021(frames=frames), example).total == by_formula((16, 16, 32), 100, frames)


class Mixed(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(1, 8, 3, stride=2, bias=False)
        self.depth = nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False)
        self.grouped = nn.Conv2d(8, 12, 3, padding=2, dilation=2, groups=4, bias=False)
        self.point = nn.Conv2d(12, 6, 1, bias=False)
        self.head = nn.Linear(6, 3, bias=False)

    def forward(self, x):
        return self.head(self.point(self.grouped(self.depth(self.stem(x)))).mean((2, 3)))


@pytest.mark.parametrize("network, example", [(Mixed(), (1, 1, 21, 30)), (DCASE2021(frames=25), (1, 1, 40, 25))])
def test_macs_equal_torchinfo_without_biases(network, example):
    # torchinfo multiplies every parameter of a layer, its bias included, by the layer's output size; and it counts
    # batch normalisation. Both are taken off.
    summary = torchinfo.summary(network, example, verbose=0)
    theirs = 0
    for layer in summary.summary_list:
        if isinstance(layer.module, (nn.Conv2d, nn.Linear)):
            bias = layer.module.bias
            positions = layer.output_size[2] * layer.output_size[3] if isinstance(layer.module, nn.Conv2d) else 1
            theirs += layer.macs - (0 if bias is None else bias.numel() * positions)
    assert count_macs(network, torch.zeros(example)).total == theirs
    assert summary.total_params == sum(p.numel() for p in network.parameters())


def test_a_transposed_convolution_multiplies_every_input_element():
    # 5x6 positions, each: 4 channels to 8 filters in 2 groups (16 pairs), 3x2 kernel.
    network = nn.ConvTranspose2d(4, 8, (3, 2), stride=2, groups=2)
    assert count_macs(network, torch.zeros(1, 4, 5, 6)).total == 5 * 6 * 4 * (8 // 2) * 3 * 2


def test_products_written_as_functions_count():
    class Attention(nn.Module):
        def forward(self, x):
            return torch.einsum("bij,bjk->bik", x @ x.transpose(1, 2), x)

    assert count_macs(Attention(), torch.zeros(1, 5, 7)).by_layer == {"": 5 * 5 * 7 + 5 * 5 * 7}


@pytest.mark.parametrize("kind, gates", [(nn.LSTM, 4), (nn.GRU, 3), (nn.RNN, 1)])
def test_recurrent_layers_count_both_of_their_products(kind, gates):
    macs = count_macs(kind(5, 3, batch_first=True), torch.zeros(1, 11, 5))
    assert macs.total == 11 * gates * 3 * (5 + 3)


def test_a_layer_used_twice_counts_twice():
    layer = nn.Linear(4, 4)
    assert count_macs(nn.Sequential(layer, nn.ReLU(), layer), torch.zeros(1, 4)).by_layer == {"0": 32}


def test_counting_leaves_the_network_as_it_is():
    network = DCASE2021(frames=25).train()
    network.bn1.eval()
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    count_macs(network, torch.randn(1, 1, 40, 25))
    assert network.training and not network.bn1.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
