"""Surgery: a plan and a network in, a smaller network out, proved equal to the masked one."""

import copy
import json
from collections.abc import Collection, Mapping
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.weight_norm import WeightNorm

from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier, as_network
from coppice.networks.shapes import correct_attributes_
from coppice.pruning.doomed import doomed_units
from coppice.pruning.plan import PruningPlan
from coppice.pruning.surgery.masking import copied_network, mask_
from coppice.pruning.surgery.proof import disagreement
from coppice.pruning.surgery.weight_norm import rescaled
from coppice.pruning.tracing.channels import Channels, trace

AnyModel = TypeVar("AnyModel", Classifier, nn.Module)


def prune(model: AnyModel, plan: PruningPlan, *, example: Float[Tensor, "1 *shape"] | None = None) -> AnyModel:
    """Cut the filters that a plan does not keep out of a model; return a new, smaller one.

    Weights, biases, batch normalisation and everything else that belongs to a cut filter shrink; classes,
    hooks, training flags, ``requires_grad``, dtype, device and memory format stay. The result is run
    against the masked network (see :func:`~coppice.pruning.surgery.masking.mask`) before it is returned.

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
        As given. Its parameters are new tensors: an optimizer of the old ones must be bound to them with
        :func:`~coppice.pruning.surgery.optimizer.rebind_`, or made anew.

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
    whole = copied_network(network)
    channels = trace(whole, example)
    with torch.inference_mode(False):  # tensors made in that mode could not be trained
        pruned, problem = _cut_and_compare(whole, channels, doomed_units(channels, plan), example)
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
    whole: nn.Module, channels: Channels, doomed: Collection[int], example: Tensor
) -> tuple[nn.Module, str | None]:
    """Return a network that is cut, and how it differs from the masked one, which ``whole`` becomes."""
    tensors = [*whole.parameters(), *whole.buffers()]
    pruned = copy.deepcopy(whole, {id(tensor): tensor for tensor in tensors})  # shares them until they are cut
    cut_(pruned, channels, doomed)
    mask_(whole, channels, doomed)  # touches only what has been cut, which the pruned network no longer shares
    return pruned, disagreement(pruned, whole, example)


def _guilty_layers(network: nn.Module, channels: Channels, plan: PruningPlan, example: Tensor) -> str:
    """Name the first layer that fails when it is cut alone, else all of them."""
    for layer in plan.layers if len(plan.layers) > 1 else ():
        doomed = channels.doomed(layer.name, layer.keep)
        if _cut_and_compare(copied_network(network), channels, doomed, example)[1] is not None:
            return repr(layer.name)
    return ", ".join(repr(layer.name) for layer in plan.layers)


@torch.no_grad()
def cut_(network: nn.Module, channels: Channels, doomed: Collection[int]) -> None:
    """Slice, in place, every tensor along every axis that loses units, and correct the layers' attributes."""
    owners: dict[int, list[tuple[str, nn.Module, str]]] = {}
    tensors: dict[str, Tensor] = {}
    for path, module in network.named_modules():
        for attribute, tensor in (*module._parameters.items(), *module._buffers.items()):
            if tensor is not None:
                owners.setdefault(id(tensor), []).append((path, module, attribute))
                tensors[f"{path}.{attribute}".removeprefix(".")] = tensor
    touched: dict[str, int | None] = {}
    for name, small in cut_tensors(tensors, channels, doomed).items():
        for path, module, attribute in owners[id(tensors[name])]:
            setattr(module, attribute, small)  # also renews the flat weights that recurrent layers hold
            layer = path.partition("parametrizations.weight")[0].removesuffix(".") if attribute in _HALVES else path
            groups = _groups_after(network.get_submodule(layer), tensors[name], small)
            touched[layer] = groups or touched.get(layer)
    for path, groups in touched.items():
        _resize(network.get_submodule(path), groups)
    for path, units in channels.widths.items():
        if isinstance(module := network.get_submodule(path), nn.modules.batchnorm._NormBase):
            module.num_features = sum(unit not in doomed for unit in units)


_HALVES = ("original0", "original1")  # what a parametrization makes of a weight


def cut_tensors(tensors: Mapping[str, Tensor], channels: Channels, doomed: Collection[int]) -> dict[str, Tensor]:
    """Return what becomes of the tensors that lose units; the others are left out.

    Parameters
    ----------
    tensors : mapping of str to Tensor
        Parameters and buffers by dotted name.
    channels : Channels
        Of their network.
    doomed : collection of int
        Units that leave.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Conv1d(2, 1, 1))
    >>> small = cut_tensors(dict(net.named_parameters()), trace(net, torch.zeros(1, 1, 8)), {1})
    >>> {name: tuple(tensor.shape) for name, tensor in small.items()}
    {'0.bias': (1,), '0.weight': (1, 1, 3), '1.weight': (1, 1, 1)}
    """
    kept = kept_indices(channels, doomed)
    found = {name: sliced(tensors[name], axes) for name, axes in kept.items()}
    for norm in channels.norms:
        across = {axis: stay for axis, stay in kept.get(norm.direction, {}).items() if axis != norm.axis}
        if across:
            smaller, empty = rescaled(tensors[norm.magnitude], tensors[norm.direction], norm.axis, across)
            along = {axis: stay for axis, stay in kept[norm.direction].items() if axis == norm.axis}
            before = tensors[norm.magnitude]
            found[norm.magnitude] = sliced(nn.Parameter(smaller, requires_grad=before.requires_grad), along)
            empty = sliced(empty, {0: along[norm.axis]} if along else {})
            found[norm.direction].data.index_fill_(norm.axis, empty.nonzero().flatten(), 1.0)
    return found


def kept_indices(channels: Channels, doomed: Collection[int]) -> dict[str, dict[int, list[int]]]:
    """Return tensor name → axis → indices that stay, for every axis that loses units.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.Conv1d(2, 1, 1))
    >>> kept_indices(trace(net, torch.zeros(1, 1, 8)), {1})
    {'0.bias': {0: [1]}, '0.weight': {0: [1]}, '1.weight': {1: [1]}}
    """
    gone = frozenset(doomed)
    kept: dict[str, dict[int, list[int]]] = {}
    for cut in channels.cuts:
        if not gone.isdisjoint(cut.units):
            kept.setdefault(cut.tensor, {})[cut.axis] = [
                index for index, unit in enumerate(cut.units) if unit not in gone
            ]
    return kept


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


def _groups_after(module: nn.Module, before: Tensor, after: Tensor) -> int | None:
    """Return the groups of a depthwise convolution with this new weight: one per input channel left."""
    if not isinstance(module, nn.modules.conv._ConvNd) or module.groups == 1 or module.groups != module.in_channels:
        return None
    return module.groups * after.shape[0] // before.shape[0] if after.ndim > 1 else None


def _resize(module: nn.Module, groups: int | None) -> None:
    """Make the attributes of a module agree with its tensors."""
    for hook in module._forward_pre_hooks.values():
        if isinstance(hook, WeightNorm):  # it keeps the weight of the last forward
            setattr(module, hook.name, hook.compute_weight(module))
    correct_attributes_(module, groups=groups)
    sizes = {name: tensor.shape for name, tensor in (*module.named_parameters(recurse=False), *module.named_buffers())}
    if isinstance(module, nn.RNNBase):
        module.input_size = sizes["weight_ih_l0"][1]
    elif isinstance(module, nn.RNNCellBase):
        module.input_size = sizes["weight_ih"][1]
    elif isinstance(module, nn.modules.batchnorm._NormBase):
        module.num_features = next(shape[0] for shape in sizes.values() if shape)
    elif isinstance(module, nn.PReLU):
        module.num_parameters = sizes["weight"][0]
    elif isinstance(module, nn.MultiheadAttention) and "k_proj_weight" in sizes:
        module.kdim, module.vdim = sizes["k_proj_weight"][1], sizes["v_proj_weight"][1]
