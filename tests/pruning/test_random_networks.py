"""Random networks × random plans: what is cut out equals what is masked, to the last digits of float64."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pruning.architectures import architectures, build
from torch import nn
from torch.utils._pytree import tree_leaves

from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.surgery.masking import mask
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import _traced, trace


def random_plan(channels, seed, share):
    """Let a random share of all units go, but leave every layer a filter."""
    draw = random.Random(seed)
    units = sorted({unit for own in channels.filters.values() for unit in own} - {0})
    doomed = set(draw.sample(units, round(share * len(units))))
    for own in channels.filters.values():
        if set(own) <= doomed:
            doomed.discard(draw.choice(own))
    entries = [
        LayerPlan(name, len(own), tuple(index for index, unit in enumerate(own) if unit not in doomed))
        for name, own in channels.filters.items()
        if doomed & set(own)
    ]
    return PruningPlan(None, tuple(entries))


def check_sizes(network):
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd):
            sizes = module.out_channels, module.in_channels // module.groups
            if module.transposed:
                sizes = module.in_channels, module.out_channels // module.groups
            assert module.weight.shape[:2] == sizes
        elif isinstance(module, nn.Linear):
            assert module.weight.shape == (module.out_features, module.in_features)


@pytest.mark.filterwarnings("ignore:.*weight_norm")
@settings(max_examples=80, deadline=None, derandomize=True, database=None)
@given(architecture=architectures(), seed=st.integers(0, 9999), share=st.floats(0.05, 0.95))
def test_pruned_equals_masked_for_random_networks_and_plans(architecture, seed, share):
    check_pruned_equals_masked(architecture, seed, share)


@pytest.mark.proof
@pytest.mark.filterwarnings("ignore:.*weight_norm")
@settings(max_examples=600, deadline=None, derandomize=True, database=None)
@given(architecture=architectures(), seed=st.integers(10_000, 19_999), share=st.floats(0.05, 0.95))
def test_pruned_equals_masked_for_many_more_random_networks_and_plans(architecture, seed, share):
    check_pruned_equals_masked(architecture, seed, share)


def check_pruned_equals_masked(architecture, seed, share):
    network, example = build(architecture)
    channels = trace(network, example)
    assert channels == _traced(network, example, values=True)
    made = random_plan(channels, seed, share)
    small = prune(network, made, example=example)
    masked = mask(network, made, example=example)
    inputs = torch.randn(2, *example.shape[1:], dtype=torch.float64)
    with torch.no_grad():
        for found, expected in zip(tree_leaves(small(inputs)), tree_leaves(masked(inputs)), strict=True):
            assert (found - expected).abs().max() <= 1e-10 * max(1, expected.abs().max())
    check_sizes(small)
    sizes = [sum(p.numel() for p in n.parameters()) for n in (small, network)]
    assert sizes[0] < sizes[1] if made.layers else sizes[0] == sizes[1]
