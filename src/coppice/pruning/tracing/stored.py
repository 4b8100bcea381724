"""Weights as layers use them, read from and written to where a network stores them."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from coppice.pruning.tracing.channels import Norm


class Stored:
    """The parameters of a network by name; a weight under weight normalisation is seen as the layer sees it.

    Parameters
    ----------
    network : nn.Module
    norms : iterable of Norm
        Its weights that are stored as direction and magnitude, by the name of the direction.

    Examples
    --------
    >>> net = torch.nn.utils.parametrizations.weight_norm(nn.Linear(2, 1))
    >>> name = "parametrizations.weight.original"
    >>> stored = Stored(net, [Norm(name + "0", name + "1", 0)])
    >>> torch.allclose(stored.read(name + "1"), net.weight)
    True
    >>> stored.write_(name + "1", torch.tensor([[3.0, 4.0]]))
    >>> net.weight.tolist(), net.parametrizations.weight.original0.item()
    ([[3.0, 4.0]], 5.0)
    """

    def __init__(self, network: nn.Module, norms: Iterable[Norm]) -> None:
        self._tensors = dict(network.named_parameters(remove_duplicate=False))
        self._norms = {norm.direction: norm for norm in norms}

    def __contains__(self, name: str) -> bool:
        return name in self._tensors

    def is_shared(self, name: str) -> bool:
        """Say whether several layers use the same parameter."""
        return sum(tensor is self._tensors[name] for tensor in self._tensors.values()) > 1

    def read(self, name: str) -> Tensor:
        """Return a weight as its layer uses it."""
        weight = self._tensors[name].detach()
        if name not in self._norms:
            return weight
        return weight * (self._tensors[self._norms[name].magnitude].detach() / self._lengths(name, weight))

    @torch.no_grad()
    def write_(self, name: str, weight: Tensor) -> None:
        """Store a weight so that its layer uses this one."""
        self._tensors[name].copy_(weight)
        if name in self._norms:
            magnitude = self._tensors[self._norms[name].magnitude]
            magnitude.copy_(self._lengths(name, weight).reshape(magnitude.shape))

    def _lengths(self, name: str, weight: Tensor) -> Tensor:
        others = [axis for axis in range(weight.ndim) if axis != self._norms[name].axis % weight.ndim]
        return torch.linalg.vector_norm(weight, dim=others, keepdim=True)
