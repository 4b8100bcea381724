"""Cutting networks in tests, and what must come out: the uncut network whose consumers are fed zeros."""

import copy

import pytest
import torch
from torch import nn

from coppice.core.errors import CoppiceError
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import trace


def lively(network):
    """Random normalisations and weights that let signals through: fresh ones hide mistakes."""
    torch.manual_seed(1)
    for module in network.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d) and not hasattr(module, "weight_v"):
            module.weight = nn.init.kaiming_normal_(module.weight)
        if isinstance(module, nn.modules.batchnorm._NormBase):
            for tensor in (module.weight, module.bias, module.running_mean):
                if tensor is not None:
                    tensor.data.normal_()
            if module.running_var is not None:
                module.running_var.uniform_(0.5, 2)
    return network.double().eval()


def without(network, example, **gone):
    """A plan that takes these filters away; ``__`` stands for a dot in the names of layers."""
    channels = trace(network, example)
    entries = []
    for name, indices in gone.items():
        layer = name.replace("__", ".")
        filters = len(channels.units(layer))
        entries.append(LayerPlan(layer, filters, tuple(i for i in range(filters) if i not in indices)))
    return PruningPlan(None, tuple(entries))


def fed_zeros(network, dead):
    """The network as it is, but named modules see zeros in these channels of their input."""
    fed = copy.deepcopy(network)
    for name, channels in dead.items():
        module = fed.get_submodule(name)
        axis = -1 if isinstance(module, nn.Linear | nn.RNNBase | nn.MultiheadAttention) else 1

        def zero(_module, inputs, channels=tuple(channels), axis=axis):
            first = 1 if isinstance(_module, nn.MultiheadAttention) else 0  # keys and values, not the query
            dead = (one.index_fill(axis, torch.tensor(channels), 0.0) for one in inputs[first:])
            return *inputs[:first], *dead

        module.register_forward_pre_hook(zero)
    return fed


def check(network, shape, gone, dead):
    """Cut, compare with the network whose consumers are fed zeros, and return what was cut out."""
    network, example = lively(network), torch.randn(1, *shape, dtype=torch.float64)
    small = prune(network, without(network, example, **gone), example=example)
    inputs = torch.randn(3, *shape, dtype=torch.float64)
    with torch.no_grad():
        expected = fed_zeros(network, dead)(inputs)
        assert (small(inputs) - expected).abs().max() <= 1e-10 * max(1, expected.abs().max())
        assert (expected - network(inputs)).abs().max() > 1e-6
    return small


def refused(network, shape, gone):
    """Try to cut; return what is said, after a look at the network, which is as it was."""
    network, example = lively(network), torch.randn(1, *shape, dtype=torch.float64)
    before = {name: tensor.clone() for name, tensor in network.state_dict().items()}
    with pytest.raises(CoppiceError) as caught:
        prune(network, without(network, example, **gone), example=example)
    assert all(torch.equal(before[name], tensor) for name, tensor in network.state_dict().items())
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in network.modules())
    return str(caught.value)


class Two(nn.Module):
    """A first layer, something else, and a head; the way between them is given."""

    def __init__(self, way, **modules):
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)
        self.way = way

    def forward(self, x):
        return self.way(self, x)


def grouped(inside=16, outside=16, groups=4, make=nn.Conv2d):
    layers = [nn.Conv2d(1, inside, 3), nn.ReLU(), make(inside, outside, 3, groups=groups), nn.BatchNorm2d(outside)]
    return nn.Sequential(*layers, nn.Tanh(), nn.Conv2d(outside, 3, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten())
