"""Fewer units in a dense layer, newly initialised: the convolutions are kept, the head learns anew."""

from collections.abc import Mapping
from typing import TypeVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.core.seeds import derive_seed
from coppice.networks.classifier import Classifier, as_network
from coppice.pruning.plan import LayerPlan, PruningPlan
from coppice.pruning.surgery.prune import prune
from coppice.pruning.tracing.channels import Channels, trace

AnyModel = TypeVar("AnyModel", Classifier, nn.Module)
_RESET = (nn.Linear, nn.modules.batchnorm._BatchNorm)


def shrink_dense(
    model: AnyModel, units: Mapping[str, int], *, seed: int, example: Float[Tensor, "1 *shape"] | None = None
) -> AnyModel:
    """Give linear layers fewer units and new initial weights; return a new model.

    The named layers, the linear layers that read them and batch normalisations between get
    ``reset_parameters()``; everything else keeps its weights bit for bit. This is the last step of entry 1 of
    Singh et al., DCASE 2021 technical report (dense 100 → 32).

    Parameters
    ----------
    model : Classifier or nn.Module
        Not touched.
    units : mapping of str to int
        Linear layer → number of units, 1 to as many as it has.
    seed : int >= 0
        For the new weights; the global random state is left alone.
    example : Tensor, optional
        One input for a bare module, batch of 1.

    Returns
    -------
    Classifier or nn.Module
        As given.

    Raises
    ------
    CoppiceError
        If a layer does not exist, is not linear or is the output, or a number of units is out of range.

    Examples
    --------
    >>> net = nn.Sequential(nn.Flatten(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    >>> small = shrink_dense(net, {"1": 3}, seed=0, example=torch.zeros(1, 8))
    >>> small[1].out_features, small[3].in_features
    (3, 3)
    """
    network, example = as_network(model, example)
    linear = [name for name, module in network.named_modules() if isinstance(module, nn.Linear)]
    channels = trace(network, example)
    entries = []
    for name, count in units.items():
        if name not in linear:
            raise CoppiceError(f"there is no linear layer {name!r}. {did_you_mean(name, linear)}")
        filters = len(channels.units(name))
        if not isinstance(count, int) or isinstance(count, bool) or not 1 <= count <= filters:
            raise CoppiceError(f"{name!r} cannot have {count!r} units; give a whole number from 1 to {filters}.")
        if not channels.can_be_cut(name):
            raise CoppiceError(f"{name!r} cannot have other units: its units {channels.reasons[name]}.")
        entries.append(LayerPlan(name, filters, tuple(range(count))))
    small = prune(network, PruningPlan(None, tuple(entries)), example=example)
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(seed, "shrink dense"))
        for module in _touched(small, channels, units):
            if isinstance(module, _RESET):
                module.reset_parameters()
    if isinstance(model, Classifier):
        return model.after(small, verb="dense", units=dict(units), seed=seed)
    return small


def _touched(network: nn.Module, channels: Channels, layers: Mapping[str, int]) -> list[nn.Module]:
    """Return the modules with a tensor that shrinks with one of these layers, in the network's order."""
    units = {unit for layer in layers for unit in channels.units(layer)} - {0}
    owners = {cut.tensor.rpartition(".")[0] for cut in channels.cuts if units & set(cut.units)}
    return [module for name, module in network.named_modules() if name in owners]
