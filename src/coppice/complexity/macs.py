"""Multiply-accumulates, counted from the operators that one forward pass really runs."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from coppice.core.calls import module_calls
from coppice.core.modes import eval_mode

CONVENTION = "convolutions and dense layers, without biases, for one clip; everything else counts 0"

_aten = torch.ops.aten


@dataclass(frozen=True)
class MacCount:
    """Multiply-accumulates of one forward pass.

    Attributes
    ----------
    total : int
        Sum over all layers; the convention is :data:`CONVENTION`.
    by_layer : dict
        Name of the module -> its MACs.
    output_shapes : dict
        Name of the module -> shape of its last product.
    """

    total: int
    by_layer: dict[str, int]
    output_shapes: dict[str, tuple[int, ...]]


def count_macs(network: nn.Module, example: Float[Tensor, "1 *shape"]) -> MacCount:
    """Count the MACs of one clip.

    A convolution counts kernel × in_channels / groups × output elements, a matrix product rows × inner × columns.
    Matrix products written as functions and those of recurrent layers count too. This is ``MAC_nobias`` in the
    literature on the DCASE baselines: 286,637,800 for the 2021 baseline on 40×500.

    Parameters
    ----------
    network : nn.Module
        Left as it is.
    example : Tensor
        One input, batch of 1.

    Examples
    --------
    >>> count_macs(nn.Conv2d(1, 16, 7, padding="same"), torch.zeros(1, 1, 40, 500)).total
    15680000
    """
    by_layer: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}

    with module_calls(network) as calls, eval_mode(network):

        class Count(TorchDispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                out = func(*args, **(kwargs or {}))
                macs = _macs(func.overloadpacket, args, out)
                if macs:
                    by_layer[calls.current] = by_layer.get(calls.current, 0) + macs
                    shapes[calls.current] = tuple((out[0] if isinstance(out, tuple) else out).shape)
                return out

        with torch.no_grad(), Count():
            network(example)
    return MacCount(total=sum(by_layer.values()), by_layer=by_layer, output_shapes=shapes)


def _macs(operator: Any, args: Any, out: Any) -> int:
    if operator is _aten.convolution:
        weight, transposed = args[1], args[6]
        # A transposed convolution multiplies every input element, an ordinary one fills every output element.
        elements = args[0].numel() if transposed else out.numel()
        return elements * weight[0].numel()
    if operator in (_aten.mm, _aten.bmm, _aten.mv, _aten.dot):
        return out.numel() * args[0].shape[-1]
    if operator in (_aten.addmm, _aten.baddbmm, _aten.addmv):
        return out.numel() * args[1].shape[-1]
    if operator is _aten.mkldnn_rnn_layer:  # an LSTM on a CPU; other recurrent layers arrive as matrix products
        steps, clips = args[0].shape[:2]
        return steps * clips * (args[1].numel() + args[2].numel())
    return 0
