"""Coupled groups: layers whose filters leave together, and those that cannot lose any."""

from dataclasses import dataclass

from torch import nn

from coppice.pruning.tracing.channels import Channels, traceable_layers

_NOT_FOLLOWED = "the example does not run it, or its weights are computed, not stored"


@dataclass(frozen=True)
class Group:
    """Filters that are cut by one decision.

    Attributes
    ----------
    name : str
        The layer that decides: of coupled ones the one that runs first.
    coupled : tuple of str
        The other layers that lose filters with it.
    filters : int
        How many filters the deciding layer has.
    reason : str or None
        Why none of them can leave, as a sentence; None when some can.
    """

    name: str
    coupled: tuple[str, ...]
    filters: int
    reason: str | None

    @property
    def layers(self) -> tuple[str, ...]:
        """The deciding layer and those coupled to it."""
        return (self.name, *self.coupled)


def coupled_groups(network: nn.Module, channels: Channels) -> tuple[Group, ...]:
    """Divide a network's convolution and linear layers into groups, in the order in which they run.

    Every filter that can leave is in at least one group. A layer whose filters all leave with those of earlier
    layers has no group of its own; one that cannot be cut is a group with a reason.

    Parameters
    ----------
    network : nn.Module
    channels : Channels
        Of this network.

    Examples
    --------
    >>> import torch
    >>> from coppice.pruning.tracing.channels import trace
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.Conv1d(4, 4, 3, groups=4), nn.Conv1d(4, 2, 1))
    >>> for group in coupled_groups(net, trace(net, torch.zeros(1, 1, 8))):
    ...     print(group.layers, group.reason)
    ('0', '1') None
    ('2',) its filters reach the network's output
    """
    groups = []
    seen: set[int] = set()
    for name, units in channels.filters.items():
        own = set(units) - {0}
        if not own:
            groups.append(Group(name, (), len(units), f"its filters {channels.reasons[name]}"))
        elif not own <= seen:
            groups.append(Group(name, channels.coupled_layers(name), len(units), None))
        seen |= own
    for name in traceable_layers(network):
        if name not in channels.filters:
            layer = network.get_submodule(name)
            filters = int(getattr(layer, "out_channels", 0) or getattr(layer, "out_features", 0))
            groups.append(Group(name, (), filters, _NOT_FOLLOWED))
    return tuple(groups)
