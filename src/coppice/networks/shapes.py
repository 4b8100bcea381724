"""Give a freshly built network the shapes of stored tensors: how a pruned network of any class loads again."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from coppice.core.errors import CoppiceError


def take_shapes_(module: nn.Module, state: Mapping[str, Tensor], groups: Mapping[str, int]) -> None:
    """Replace every parameter and buffer whose stored shape differs, and correct the layers' attributes.

    Parameters
    ----------
    module : nn.Module
        Changed in place.
    state : mapping of name to Tensor
        A state dict of the same class with other widths.
    groups : mapping of layer name to int
        ``groups`` of the convolutions that have more than one; shapes alone cannot tell. The others have one.

    Raises
    ------
    CoppiceError
        If the names differ, a tensor has another number of dimensions than the class gives it, or the groups do
        not divide a convolution.

    Examples
    --------
    >>> big, small = nn.Linear(4, 8), nn.Linear(4, 3)
    >>> take_shapes_(big, small.state_dict(), {})
    >>> big
    Linear(in_features=4, out_features=3, bias=True)
    """
    own = module.state_dict()
    for name in own.keys() ^ state.keys():
        where = "the file" if name in own else "the class"
        raise CoppiceError(f"{type(module).__name__} does not fit the checkpoint: {where} has no tensor {name!r}.")
    for name, tensor in state.items():
        if own[name].ndim != tensor.ndim:
            raise CoppiceError(
                f"{type(module).__name__} does not fit the checkpoint: {name!r} has {own[name].ndim} dimensions "
                f"in the class and {tensor.ndim} in the file."
            )
        if own[name].shape == tensor.shape:
            continue
        parent = module.get_submodule(name.rpartition(".")[0])
        leaf = name.rpartition(".")[2]
        empty = torch.empty(tensor.shape, dtype=own[name].dtype, device=own[name].device)
        if leaf in parent._parameters:
            old = parent._parameters[leaf]
            parent._parameters[leaf] = nn.Parameter(empty, requires_grad=bool(old is not None and old.requires_grad))
        else:
            parent._buffers[leaf] = empty
    for name, layer in module.named_modules():
        # Surgery may have left one group of many, so that a layer without an entry has one.
        count = groups.get(name, 1)
        if isinstance(layer, nn.modules.conv._ConvNd) and (
            not isinstance(count, int) or count < 1 or layer.weight.shape[0] % count
        ):
            raise CoppiceError(f"{name!r} cannot have {count!r} groups with {layer.weight.shape[0]} channels.")
        correct_attributes_(layer, groups=count)


def correct_attributes_(layer: nn.Module, *, groups: int | None = None) -> None:
    """Make a layer's attributes (channels, features, groups) agree with the shapes of its tensors.

    Parameters
    ----------
    layer : nn.Module
        Convolutions, linear layers and batch normalisations are corrected, others left alone. In place.
    groups : int, optional
        New number of groups of a convolution; unchanged when not given.
    """
    if isinstance(layer, nn.modules.conv._ConvNd):
        if groups is not None:
            layer.groups = groups
        outside, inside = layer.weight.shape[0], layer.weight.shape[1] * layer.groups
        if layer.transposed:
            outside, inside = layer.weight.shape[1] * layer.groups, layer.weight.shape[0]
        layer.out_channels, layer.in_channels = outside, inside
    elif isinstance(layer, nn.Linear):
        layer.out_features, layer.in_features = layer.weight.shape
    elif isinstance(layer, nn.modules.batchnorm._BatchNorm):
        sized = layer.weight if layer.weight is not None else layer.running_mean
        if sized is not None:
            layer.num_features = sized.shape[0]


def grouped_layers(module: nn.Module) -> dict[str, int]:
    """Return the number of groups of every convolution that has more than one.

    Examples
    --------
    >>> grouped_layers(nn.Sequential(nn.Conv1d(4, 4, 3), nn.Conv1d(4, 4, 3, groups=4)))
    {'1': 4}
    """
    return {
        name: layer.groups
        for name, layer in module.named_modules()
        if isinstance(layer, nn.modules.conv._ConvNd) and layer.groups > 1
    }
