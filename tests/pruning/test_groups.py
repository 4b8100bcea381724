import torch
from torch import nn

from coppice.networks.registry import build_network
from coppice.pruning.tracing.channels import trace
from coppice.pruning.tracing.groups import coupled_groups


class Joined(nn.Module):
    """Two convolutions side by side, then a depthwise one over both, then an output."""

    def __init__(self):
        super().__init__()
        self.left = nn.Conv1d(1, 3, 1)
        self.right = nn.Conv1d(1, 2, 1)
        self.deep = nn.Conv1d(5, 5, 1, groups=5)
        self.out = nn.Conv1d(5, 2, 1)

    def forward(self, x):
        return self.out(self.deep(torch.cat([self.left(x), self.right(x)], dim=1)))


def grouped(network, shape):
    channels = trace(network, torch.zeros(shape))
    return channels, coupled_groups(network, channels)


def test_a_layer_that_reads_two_others_goes_with_each_and_has_no_group_of_its_own():
    _, groups = grouped(Joined(), (1, 1, 4))
    assert [group.layers for group in groups] == [("left", "deep"), ("right", "deep"), ("out",)]
    assert [group.reason for group in groups] == [None, None, "its filters reach the network's output"]


def test_every_filter_that_can_leave_is_in_a_group_and_every_layer_in_one():
    for network, shape in ((Joined(), (1, 1, 4)), (build_network("cp_mobile", classes=10), (1, 1, 256, 64))):
        channels, groups = grouped(network, shape)
        covered = {unit for group in groups for unit in channels.units(group.name)}
        assert covered == {unit for units in channels.filters.values() for unit in units} | {0}
        assert {layer for group in groups for layer in group.layers} == set(channels.layers)
        assert all((group.reason is None) == channels.can_be_cut(group.name) for group in groups)
