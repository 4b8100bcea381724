"""Layers of a network in place of which a training step uses quicker ones."""

from torch import nn

from coppice.training.batch_norm.layer import use_quick_batch_norm_
from coppice.training.winograd.layer import use_winograd_


def use_quick_layers_(network: nn.Module) -> None:
    """Let convolutions and batch normalisations run on our own C where it is faster; in place.

    What they compute is the same but for rounding; parameters, buffers, names and hooks stay. Each layer decides anew
    for every batch, and leaves to PyTorch what our C would not do faster: see
    :class:`coppice.training.winograd.layer.WinogradConv2d` and
    :class:`coppice.training.batch_norm.layer.QuickBatchNorm2d`. Layers of other classes stay as they are.

    Parameters
    ----------
    network : nn.Module
        A copy of the caller's.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(16, 16, 7, padding=3), nn.BatchNorm2d(16), nn.ReLU())
    >>> use_quick_layers_(network)
    >>> [type(layer).__name__ for layer in network]
    ['WinogradConv2d', 'QuickBatchNorm2d', 'ReLU']
    """
    use_winograd_(network)
    use_quick_batch_norm_(network)
