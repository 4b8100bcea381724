"""Which batch normalisation stands directly behind a layer."""

from collections.abc import Collection
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.modes import eval_mode

_BatchNorm = nn.modules.batchnorm._BatchNorm


def norms_behind(network: nn.Module, layers: Collection[str], example: Float[Tensor, "1 *shape"]) -> dict[str, str]:
    """Find the batch normalisations with running statistics that read a layer's output as it is, and nothing else.

    Parameters
    ----------
    network : nn.Module
        Run once on the example, in eval mode; not touched.
    layers : collection of str
        Names.
    example : Tensor [shape=(1, ...)]

    Returns
    -------
    dict of str to str
        Name of a layer → name of the batch normalisation.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.BatchNorm1d(2), nn.ReLU())
    >>> norms_behind(net, ["0"], torch.zeros(1, 1, 8))
    {'0': '1'}
    """
    made: dict[int, tuple[str, Tensor]] = {}  # a tensor that is kept keeps its id
    read: dict[str, list[str | None]] = {}

    def remember(name: str) -> Any:
        return lambda _layer, _given, out: made.update({id(out): (name, out)})

    def look(norm: str) -> Any:
        return lambda _norm, given: read.setdefault(norm, []).append(made.get(id(given[0]), (None, None))[0])

    handles = [network.get_submodule(name).register_forward_hook(remember(name)) for name in layers]
    for name, module in network.named_modules():
        if isinstance(module, _BatchNorm) and module.running_mean is not None:
            handles.append(module.register_forward_pre_hook(look(name)))
    try:
        with eval_mode(network), torch.no_grad():
            network(example)
    finally:
        for handle in handles:
            handle.remove()
    return {sources[0]: norm for norm, sources in read.items() if len(sources) == 1 and sources[0] is not None}
