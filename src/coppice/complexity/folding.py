"""Batch normalisation folded into the convolution before it, found by watching one forward pass."""

import copy
from collections import Counter
from contextlib import ExitStack
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from coppice.core.calls import module_calls
from coppice.core.dispatch import DispatchMode
from coppice.core.modes import eval_mode

_Conv = nn.modules.conv._ConvNd
_BatchNorm = nn.modules.batchnorm._BatchNorm


def folding_pairs(network: nn.Module, example: Float[Tensor, "1 *shape"]) -> dict[str, str]:
    """Find convolutions whose output goes into a batch normalisation and nowhere else.

    Returns
    -------
    dict
        Name of the convolution -> name of the batch normalisation.

    Examples
    --------
    >>> folding_pairs(nn.Sequential(nn.Conv1d(1, 8, 3), nn.BatchNorm1d(8)), torch.zeros(1, 1, 16))
    {'0': '1'}
    """
    modules = dict(network.named_modules())
    made_by: dict[int, str] = {}
    users: dict[str, list[str]] = {}
    kept: list[Tensor] = []  # an id is only unique while its tensor lives
    times: Counter[str] = Counter()

    with module_calls(network) as calls, eval_mode(network), ExitStack() as hooks:
        for name, module in modules.items():
            if isinstance(module, (_Conv, _BatchNorm)):
                handle = module.register_forward_pre_hook(lambda *_, name=name: times.update([name]))
                hooks.callback(handle.remove)

        class Watch(DispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                for argument in tree_leaves((args, kwargs)):  # also inside the list that cat takes
                    if isinstance(argument, Tensor) and id(argument) in made_by:
                        users.setdefault(made_by[id(argument)], []).append(calls.current)
                out = func(*args, **(kwargs or {}))
                if isinstance(modules.get(calls.current), _Conv) and func.overloadpacket is torch.ops.aten.convolution:
                    kept.append(out)
                    made_by[id(out)] = calls.current
                return out

        with torch.no_grad(), Watch():
            returned = tree_leaves(network(example))
    for out in returned:
        if id(out) in made_by:
            users.setdefault(made_by[id(out)], []).append("")
    return {
        conv: followers[0]
        for conv, followers in users.items()
        if len(followers) == 1 and times[conv] == 1 and _foldable(modules[followers[0]], times[followers[0]])
    }


def _foldable(module: nn.Module, times: int) -> bool:
    # Used twice, it would also be missed elsewhere; without running statistics, it depends on the clips.
    return isinstance(module, _BatchNorm) and times == 1 and module.running_mean is not None


def fold_batch_norm(network: nn.Module, example: Float[Tensor, "1 *shape"]) -> nn.Module:
    """Return a copy that computes the same in eval mode, without the batch normalisations that can be folded.

    Parameters
    ----------
    network : nn.Module
        Left as it is.
    example : Tensor
        One input.

    Returns
    -------
    nn.Module
        In eval mode; folded batch normalisations have become ``nn.Identity``.

    Examples
    --------
    >>> net = nn.Sequential(nn.Conv1d(1, 8, 3), nn.BatchNorm1d(8)).eval()
    >>> x = torch.randn(1, 1, 16)
    >>> torch.allclose(fold_batch_norm(net, x)(x), net(x), atol=1e-6)
    True
    """
    folded = copy.deepcopy(network).eval()
    for conv_name, bn_name in folding_pairs(network, example).items():
        conv: Any = folded.get_submodule(conv_name)
        bn: Any = folded.get_submodule(bn_name)
        scale = torch.rsqrt(bn.running_var + bn.eps)
        if bn.weight is not None:
            scale = scale * bn.weight
        shift = -bn.running_mean * scale + (bn.bias if bn.bias is not None else 0)
        per_filter = scale[:, None]  # (filters, channels of a group)
        if conv.transposed:  # (channels, filters of a group)
            per_filter = scale.reshape(conv.groups, -1).repeat_interleave(conv.in_channels // conv.groups, dim=0)
        with torch.no_grad():
            conv.weight = nn.Parameter(
                conv.weight * per_filter.reshape(*per_filter.shape, *[1] * len(conv.kernel_size))
            )
            conv.bias = nn.Parameter(shift + (conv.bias * scale if conv.bias is not None else 0))
        folded.set_submodule(bn_name, nn.Identity())
    return folded
