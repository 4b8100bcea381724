"""Surgery: a plan and a network in, a smaller network out, proved equal to the masked one."""

import json
from collections.abc import Collection
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier, as_network
from coppice.networks.shapes import correct_attributes_
from coppice.pruning.channels import Channels, trace
from coppice.pruning.doomed import doomed_units
from coppice.pruning.masking import copied_network, mask_
from coppice.pruning.plan import PruningPlan
from coppice.pruning.proof import disagreement

AnyModel = TypeVar("AnyModel", Classifier, nn.Module)


def prune(model: AnyModel, plan: PruningPlan, *, example: Float[Tensor, "1 *shape"] | None = None) -> AnyModel:
    """Cut the filters that a plan does not keep out of a model; return a new, smaller one.

    Weights, biases, batch normalisation and everything else that belongs to a cut filter shrink; classes,
    hooks, training flags, ``requires_grad``, dtype, device and memory format stay. The result is run
    against the masked network (see :func:`~coppice.pruning.masking.mask`) before it is returned.

    Parameters
    ----------
    model : Classifier or nn.Module
        Not touched, also when the call fails.
    plan : PruningPlan
        What its layers keep.
    example : Tensor, optional
        One input for a bare module, batch of 1.

    Returns
    -------
    Classifier or nn.Module
        As given. Its parameters are new tensors: an optimizer of the old ones must be made anew.

    Raises
    ------
    CoppiceError
        If the plan does not fit the network, or the pruned network does not equal the masked one, for example
        because its ``forward`` contains a fixed number of channels.

    Examples
    --------
    >>> from coppice.pruning.plan import LayerPlan
    >>> net = nn.Sequential(nn.Conv1d(1, 4, 3), nn.ReLU(), nn.Conv1d(4, 2, 3))
    >>> prune(net, PruningPlan(None, (LayerPlan("0", 4, (0, 2)),)), example=torch.zeros(1, 1, 16))
    Sequential(
      (0): Conv1d(1, 2, kernel_size=(3,), stride=(1,))
      (1): ReLU()
      (2): Conv1d(2, 2, kernel_size=(3,), stride=(1,))
    )
    """
    network, example = as_network(model, example)
    pruned = copied_network(network)
    channels = trace(pruned, example)
    problem = _cut_and_compare(pruned, network, channels, plan, example)
    if problem is not None:
        guilty = _guilty_layers(network, channels, plan, example)
        raise CoppiceError(
            f"after cutting {guilty} the network is not the masked one: {problem}. A fixed number of "
            "channels in its forward, such as x.view(-1, 2560) or x[:, :8], must come from the input instead."
        )
    if isinstance(model, Classifier):
        return model.after(pruned, verb="prune", plan=json.loads(plan.to_json()))
    return pruned


def _cut_and_compare(
    pruned: nn.Module, network: nn.Module, channels: Channels, plan: PruningPlan, example: Tensor
) -> str | None:
    """Cut ``pruned``, a copy of ``network``, in place; say how it differs from the masked network."""
    doomed = doomed_units(channels, plan)
    masked = copied_network(network)
    mask_(masked, channels, doomed)
    cut_(pruned, channels, doomed)
    return disagreement(pruned, masked, example)


def _guilty_layers(network: nn.Module, channels: Channels, plan: PruningPlan, example: Tensor) -> str:
    """Name the first layer that fails when it is cut alone, else all of them."""
    for layer in plan.layers:
        alone = PruningPlan(plan.criterion, (layer,))
        if _cut_and_compare(copied_network(network), network, channels, alone, example) is not None:
            return repr(layer.name)
    return ", ".join(repr(layer.name) for layer in plan.layers)


@torch.no_grad()
def cut_(network: nn.Module, channels: Channels, doomed: Collection[int]) -> None:
    """Slice, in place, every tensor along every axis that loses units, and correct the layers' attributes."""
    owners: dict[int, list[tuple[nn.Module, str]]] = {}
    for module in network.modules():
        for attribute, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                owners.setdefault(id(tensor), []).append((module, attribute))
    tensors = {
        **dict(network.named_parameters(remove_duplicate=False)),
        **dict(network.named_buffers(remove_duplicate=False)),
    }
    kept: dict[str, dict[int, list[int]]] = {}
    for cut in channels.cuts:
        stay = [index for index, unit in enumerate(cut.units) if unit not in doomed]
        if len(stay) < len(cut.units):
            kept.setdefault(cut.tensor, {})[cut.axis] = stay
    for name, axes in kept.items():
        small = sliced(tensors[name], axes)
        for module, attribute in owners[id(tensors[name])]:
            groups = _groups_after(module, small) if attribute == "weight" else None
            setattr(module, attribute, small)  # also renews the flat weights that recurrent layers hold
            correct_attributes_(module, groups=groups)
            if isinstance(module, nn.RNNBase) and attribute.startswith("weight_ih_l0"):
                module.input_size = small.shape[1]
            if isinstance(module, nn.modules.batchnorm._NormBase):
                module.num_features = small.shape[0]
            if isinstance(module, nn.PReLU):
                module.num_parameters = small.shape[0]


def sliced(tensor: Tensor, axes: dict[int, list[int]]) -> Tensor:
    """Return a tensor with only the given indices along the given axes; format and ``requires_grad`` stay.

    Examples
    --------
    >>> sliced(torch.arange(6).view(2, 3), {1: [0, 2]})
    tensor([[0, 2],
            [3, 5]])
    """
    small = tensor.detach()
    for axis, stay in axes.items():
        small = small.index_select(axis, torch.tensor(stay, device=tensor.device))
    for layout, ndim in ((torch.channels_last, 4), (torch.channels_last_3d, 5)):
        if tensor.ndim == ndim and tensor.is_contiguous(memory_format=layout) and not tensor.is_contiguous():
            small = small.contiguous(memory_format=layout)
    if isinstance(tensor, nn.Parameter):
        return nn.Parameter(small, requires_grad=tensor.requires_grad)
    return small


def _groups_after(module: nn.Module, weight: Tensor) -> int | None:
    """Return the groups of a depthwise convolution with this new weight: one per input channel left."""
    if not isinstance(module, nn.modules.conv._ConvNd) or module.groups == 1 or module.groups != module.in_channels:
        return None
    return weight.shape[0] * module.groups // module.out_channels
