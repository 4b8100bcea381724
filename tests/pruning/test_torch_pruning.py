"""Torch-Pruning 1.6.1 as an oracle, on the networks where it is right: the same shapes, and the same outputs."""

import copy
import random

import pytest
import torch
import torch_pruning
from benchmarks.mobilenet_v3 import MobileNetV3
from torch import nn

from coppice.networks.cnn14 import CNN14
from coppice.networks.cp_mobile import CPMobile
from coppice.networks.dcase2021 import DCASE2021
from coppice.networks.soundnet import SoundNet, least_samples
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import trace
from quick import quick

NARROW = [4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9]
CASES = {
    "dcase2021": (lambda: DCASE2021(frames=100), (1, 40, 100)),
    "cp_mobile": (lambda: CPMobile(bands=64, frames=33), (1, 64, 33)),
    "mobilenet_v3": (lambda: MobileNetV3(width=0.25, classes=5), (1, 64, 48)),
    "cnn14": (lambda: CNN14(widths=NARROW, dense=10, classes=3), (1, 64, 96)),
}
SMALL = ("Plain", "Residual", "Concatenated", "SqueezeExcite")


def lively(network):
    generator = torch.Generator().manual_seed(0)
    for module in network.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, generator=generator)
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(generator=generator)
            module.running_var.uniform_(0.5, 2, generator=generator)
    return network.eval()


def theirs(network, example, layer, gone):
    """Cut the group of one layer with Torch-Pruning."""
    network = copy.deepcopy(network)
    graph = torch_pruning.DependencyGraph().build_dependency(network, example_inputs=example)
    module = network.get_submodule(layer)
    if isinstance(module, nn.Linear):
        cut = torch_pruning.prune_linear_out_channels
    elif module.groups == module.out_channels > 1:
        cut = torch_pruning.prune_depthwise_conv_out_channels
    else:
        cut = torch_pruning.prune_conv_out_channels
    graph.get_pruning_group(module, cut, idxs=gone).prune()
    return network.eval()


def compare(network, example, most):
    channels = trace(network, example)
    draw = random.Random(5)
    layers = [name for name in channels.layers if channels.can_be_cut(name)]
    for layer in draw.sample(layers, min(most, len(layers))):
        units = channels.units(layer)
        doomed = set(draw.sample(sorted(set(units) - {0}), max(1, len(set(units)) // 3)))
        gone = [index for index, unit in enumerate(units) if unit in doomed]
        keep = tuple(index for index in range(len(units)) if index not in gone)
        small = prune(network, PruningPlan(None, (LayerPlan(layer, len(units), keep),)), example=example)
        other = theirs(network, example, layer, gone)
        expected = other.state_dict()
        assert small.state_dict().keys() == expected.keys()
        for name, tensor in small.state_dict().items():
            assert torch.equal(tensor, expected[name]), f"{name} after cutting {layer}"
        inputs = torch.randn(2, *example.shape[1:])
        with torch.no_grad():
            assert torch.equal(small.eval()(inputs), other(inputs)), layer


@pytest.mark.parametrize("kind", quick(CASES, "dcase2021"))
def test_the_same_tensors_stay_in_networks_of_audio(kind):
    make, shape = CASES[kind]
    compare(lively(make()), torch.randn(1, *shape), most=8)


@pytest.mark.parametrize("kind", SMALL)
def test_the_same_tensors_stay_in_small_networks(networks, kind):
    network, example = networks[kind]
    compare(network.eval(), example, most=6)


def test_the_same_tensors_stay_in_a_network_on_waveforms():
    compare(lively(SoundNet()), torch.randn(1, 1, least_samples()), most=3)
