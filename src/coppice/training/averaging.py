"""Averages of weights: over the steps of a fit, and over its best epochs."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from coppice.core.modes import eval_mode


def average_weights(states: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Return the mean of several state dicts, in float64 inside; whole numbers are those of the first.

    A uniform model soup (Wortsman et al., ICML 2022), here of epochs of one fit.

    Examples
    --------
    >>> average_weights([{"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}])
    {'w': tensor([1.5000])}
    """
    mean = {}
    for name, first in states[0].items():
        if first.is_floating_point():
            mean[name] = torch.stack([state[name].double() for state in states]).mean(0).to(first.dtype)
        else:
            mean[name] = first.clone()
    return mean


@torch.no_grad()
def remeasure_norms_(
    network: nn.Module, inputs: Float[Tensor, "clips 1 mels frames"], *, batch_size: int = 64
) -> nn.Module:
    """Measure the running statistics of batch normalisation anew, on clips; everything else is in eval mode.

    Averaged weights have other activations than any of the networks they come from, so that an average of the running
    statistics would not be theirs. Batches count by their number of clips. Layers whose parameters are frozen keep
    what they have.

    Parameters
    ----------
    network : nn.Module
        Changed in place.
    inputs : Tensor
        Normalised log-mel of training clips.
    batch_size : int
        Clips at a time.

    Examples
    --------
    >>> network = nn.Sequential(nn.BatchNorm2d(1))
    >>> clips = torch.arange(8.0).reshape(8, 1, 1, 1)
    >>> remeasure_norms_(network, clips)[0].running_mean
    tensor([3.5000])
    """
    norms = [layer for layer in network.modules() if isinstance(layer, _BatchNorm) and _is_measured(layer)]
    if not norms:
        return network
    with eval_mode(network), _own_momentum(norms):
        done = 0
        for layer in norms:
            layer.reset_running_stats()
            layer.train()
        for batch in inputs.split(batch_size):
            done += len(batch)
            for layer in norms:
                layer.momentum = len(batch) / done
            network(batch)
    return network


def _is_measured(layer: nn.Module) -> bool:
    parameters = list(layer.parameters(recurse=False))
    learnt = not parameters or any(parameter.requires_grad for parameter in parameters)
    return bool(getattr(layer, "track_running_stats", False)) and learnt


@contextmanager
def _own_momentum(norms: Sequence[_BatchNorm]) -> Iterator[None]:
    before = [layer.momentum for layer in norms]
    try:
        yield
    finally:
        for layer, momentum in zip(norms, before, strict=True):
            layer.momentum = momentum
