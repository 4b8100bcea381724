"""The masked network: doomed channels zeroed where they are consumed. What surgery must equal."""

import copy
import json
from collections.abc import Collection
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.doomed import doomed_units
from coppice.pruning.plan import PruningPlan
from coppice.pruning.surgery.weight_norm import rescaled
from coppice.pruning.tracing.channels import Channels, trace

AnyModel = TypeVar("AnyModel", Classifier, nn.Module)


def mask(model: AnyModel, plan: PruningPlan, *, example: Float[Tensor, "1 *shape"] | None = None) -> AnyModel:
    """Return a copy of a model of the same size in which doomed channels have no effect.

    Every weight that reads a doomed channel is set to zero there, so that also what biases and batch
    normalisation make of the channel is gone.

    Parameters
    ----------
    model : Classifier or nn.Module
        Not touched.
    plan : PruningPlan
        What its layers keep.
    example : Tensor, optional
        One input for a bare module, batch of 1.

    Returns
    -------
    Classifier or nn.Module
        As given.

    Raises
    ------
    CoppiceError
        If the plan does not fit the network (see :func:`~coppice.pruning.doomed.doomed_units`).

    Examples
    --------
    >>> from coppice.pruning.plan import LayerPlan
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 1), nn.Conv1d(2, 1, 1))
    >>> masked = mask(net, PruningPlan(None, (LayerPlan("0", 2, (1,)),)), example=torch.zeros(1, 1, 4))
    >>> masked[1].weight[0, 0].item()
    0.0
    """
    network, example = as_network(model, example)
    copied = copied_network(network)
    channels = trace(copied, example)
    mask_(copied, channels, doomed_units(channels, plan))
    if isinstance(model, Classifier):
        return model.after(copied, verb="mask", plan=json.loads(plan.to_json()))
    return copied


@torch.no_grad()
def mask_(network: nn.Module, channels: Channels, doomed: Collection[int]) -> None:
    """Zero, in place, the weights that read doomed units."""
    tensors = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    gone = frozenset(doomed)
    read: dict[str, dict[int, list[int]]] = {}
    for cut in channels.cuts:
        if cut.reads and not gone.isdisjoint(cut.units):
            read.setdefault(cut.tensor, {})[cut.axis] = [
                index for index, unit in enumerate(cut.units) if unit not in gone
            ]
    for norm in channels.norms:
        kept = {axis: stay for axis, stay in read.get(norm.direction, {}).items() if axis != norm.axis}
        if kept:
            magnitude, direction = tensors[norm.magnitude], tensors[norm.direction]
            smaller, empty = rescaled(magnitude, direction, norm.axis, kept)
            magnitude.copy_(smaller)
            direction.index_fill_(norm.axis, empty.nonzero().flatten(), 1.0)
    whole = {(norm.direction, norm.axis) for norm in channels.norms}  # a magnitude of 0 does it; 0 has no direction
    for name, axes in read.items():
        for axis, stay in axes.items():
            if (name, axis) in whole:
                continue
            tensor = tensors[name]
            alive = torch.zeros(tensor.shape[axis], dtype=torch.bool)
            alive[stay] = True
            tensor.index_fill_(axis, (~alive).nonzero().flatten().to(tensor.device), 0.0)


def copied_network(network: nn.Module) -> nn.Module:
    """Return a deep copy of a network; activations that it keeps from training are copied without their history.

    Also inside ``torch.inference_mode()`` the copy can be trained.

    Raises
    ------
    CoppiceError
        If it holds something that cannot be copied, such as an open file.
    """
    with torch.inference_mode(False):
        kept = [value for module in network.modules() for value in vars(module).values() if isinstance(value, Tensor)]
        copies = {id(tensor): tensor.detach().clone() for tensor in kept if not tensor.is_leaf}
        try:
            return copy.deepcopy(network, copies)
        except (RuntimeError, TypeError) as error:
            raise CoppiceError(
                f"{type(network).__name__} cannot be copied: {error}; remove what it keeps besides its weights."
            ) from error
