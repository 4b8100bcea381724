"""Parameters and mult-adds as torchinfo 1.8.0 counts them, which the DCASE 2024 and 2025 Task 1 rules use."""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.modes import eval_mode


@dataclass(frozen=True)
class TorchinfoCount:
    """What torchinfo's summary prints.

    Attributes
    ----------
    params : int
        ``total_params``: all parameters, without the running statistics of batch normalisation.
    mult_adds : int
        ``total_mult_adds`` for a batch of 1.
    by_layer : dict
        Name of the module -> its mult-adds.
    """

    params: int
    mult_adds: int
    by_layer: dict[str, int]


def count_torchinfo(network: nn.Module, example: Float[Tensor, "1 *shape"]) -> TorchinfoCount:
    """Count as the release 1.8.0 of torchinfo does, its faults included.

    Each module without submodules multiplies its parameters, biases too, by what it puts out: a convolution by its
    output positions, a recurrent layer by clips × steps, anything else (dense layers, batch normalisation) by the
    number of clips.

    What the release leaves out is left out here too, so that the number is the one that the rules see. Products
    written as functions, and parameters that belong to a module with submodules, add no mult-adds. A dense layer on
    more than two dimensions counts once for each clip (https://github.com/TylerYep/torchinfo/issues/77; the
    development version multiplies by all leading dimensions); where dense layers take one vector per clip, both
    agree. Unlike in the release, a parameter that two modules share counts once.

    Parameters
    ----------
    network : nn.Module
        Left as it is. Float: the parameters of a network converted to int8 are hidden from torchinfo.
    example : Tensor
        One input, batch of 1; a tensor on the meta device costs no arithmetic.

    References
    ----------
    torchinfo 1.8.0, https://github.com/TylerYep/torchinfo; the DCASE 2024 Task 1 baseline counts 61,148 parameters
    and 29,419,156 mult-adds with it, https://github.com/CPJKU/dcase2024_task1_baseline.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv2d(1, 16, 7, padding="same"), nn.BatchNorm2d(16))
    >>> count = count_torchinfo(net, torch.zeros(1, 1, 40, 51))
    >>> count.params, count.mult_adds
    (832, 1632032)
    """
    by_layer: dict[str, int] = {}

    def counter(name: str) -> Any:
        def hook(module: nn.Module, _inputs: Any, output: Any) -> None:
            macs = _mult_adds(module, output)
            if macs:
                by_layer[name] = by_layer.get(name, 0) + macs

        return hook

    with ExitStack() as hooks, eval_mode(network), torch.no_grad():
        for name, module in network.named_modules():
            if not any(module.children()):
                hooks.callback(module.register_forward_hook(counter(name)).remove)
        network(example)
    masks = dict(network.named_buffers())
    return TorchinfoCount(
        params=sum(_size(name, parameter, masks) for name, parameter in network.named_parameters()),
        mult_adds=sum(by_layer.values()),
        by_layer=by_layer,
    )


def _mult_adds(module: nn.Module, output: Any) -> int:
    total = 0
    masks = dict(module.named_buffers())
    for name, parameter in module.named_parameters():
        shape, size = _shape(output), _size(name, parameter, masks)
        if name.removesuffix("_orig") in ("weight", "bias"):
            # By the name of the class, as torchinfo looks.
            total += size * (prod(shape[:1] + shape[2:]) if "Conv" in type(module).__name__ else shape[0])
        elif "weight" in name or "bias" in name:
            total += size * prod(shape[:2])
    return total


def _size(name: str, parameter: Tensor, masks: Mapping[str, Tensor]) -> int:
    # torch.nn.utils.prune hides weights behind a mask; only those that it lets through count.
    mask = masks.get(name.removesuffix("_orig") + "_mask") if name.endswith("_orig") else None
    return parameter.numel() if mask is None else int(mask.sum())


def _shape(output: Any) -> tuple[int, ...]:
    while not isinstance(output, Tensor):
        output = list(output.values())[-1] if isinstance(output, dict) else output[0]
    return tuple(output.shape)
