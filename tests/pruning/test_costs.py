"""The closed form of costs against what profiling the pruned network counts."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.pruning.architectures import architectures, build
from torch import nn
from torch.nn import functional as F

from coppice.complexity.product import Product
from coppice.complexity.profile import profile
from coppice.pruning.doomed import doomed_units
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.planning.costs import trace_costs
from coppice.pruning.planning.decide import plan
from coppice.pruning.surgery.prune import prune


def counted(network, example):
    cost = profile(network, example=example, latency=False)
    assert cost.size_bytes_float32 == 2 * cost.size_bytes_float16
    return cost.params_total, cost.macs, cost.size_bytes_float32 // 4


def found(costs, doomed=()):
    counts = costs.counts(doomed)
    return counts.params, counts.macs, counts.numbers


def check(network, example, made):
    costs = trace_costs(network, example)
    assert found(costs) == counted(network, example)
    small = prune(network, made, example=example)
    assert found(costs, doomed_units(costs.channels, made)) == counted(small, example)


def test_counts_equal_those_of_the_pruned_network(some_network):
    network, example = some_network
    for ratio in (0.3, 0.6):
        check(network, example, plan(network, "l1", ratios=ratio, example=example))


@pytest.mark.proof
@settings(max_examples=60, deadline=None, derandomize=True, database=None)
@given(architecture=architectures(), seed=st.integers(0, 9999), ratio=st.floats(0.1, 0.9))
def test_counts_equal_those_of_random_pruned_networks(architecture, seed, ratio):
    network, example = build(architecture)
    channels = trace_costs(network, example).channels
    if any(map(channels.can_be_cut, channels.layers)):
        names = [name for name in channels.layers if channels.can_be_cut(name)]
        check(network, example, plan(network, "random", ratios=ratio, layers=names[:1], seed=seed, example=example))


class AlongTime(nn.Module):
    """A dense layer that works along time: its products have as many rows as there are channels."""

    def __init__(self):
        super().__init__()
        self.stem, self.time, self.head = nn.Conv1d(1, 6, 3), nn.Linear(8, 5), nn.Linear(6 * 5, 3)
        self.tied = nn.Linear(6 * 5, 3)
        self.tied.weight = self.head.weight

    def forward(self, x):
        x = F.relu(self.time(F.relu(self.stem(x)))).flatten(1)
        return self.head(x) + self.tied(x)


def test_rows_that_are_channels_and_tied_weights_are_counted_as_they_shrink():
    network, example = AlongTime(), torch.randn(1, 1, 10)
    costs = trace_costs(network, example)
    assert {product.name for product in costs.products if product.rows is not None} == {"time"}
    assert costs.counts().numbers == costs.counts().params + 90
    check(network, example, PruningPlan(None, (LayerPlan("stem", 6, (0, 4)),)))


def test_the_shapes_of_products_are_those_that_the_pruned_network_runs(some_network):
    network, example = some_network
    costs = trace_costs(network, example)
    made = plan(network, "l1", ratios=0.5, example=example)
    left = costs.left(doomed_units(costs.channels, made))
    after = trace_costs(prune(network, made, example=example), example)
    assert [timed.narrowed(left) for timed in costs.products] == [timed.product for timed in after.products]


def test_a_product_runs_at_the_shape_that_it_says():
    layer = nn.ConvTranspose1d(4, 6, 3, stride=2, groups=2, output_padding=1)
    costs = trace_costs(nn.Sequential(nn.Conv1d(1, 4, 1), layer, nn.Conv1d(6, 1, 1)), torch.zeros(1, 1, 5))
    product = costs.products[1].product
    assert product.run(*product.tensors()).shape == layer(torch.zeros(1, 4, 5)).shape
    narrow = product.narrowed(inputs=2, outputs=2)
    assert narrow.run(*narrow.tensors()).shape == (1, 2, 12)
    assert narrow.key != product.key
    depthwise = Product("convolution", (1, 4, 8), (8, 1, 3), groups=4, stride=(1,), padding=(0,), dilation=(1,))
    assert depthwise.narrowed(inputs=3, outputs=6).groups == 3
