"""Multiply-accumulates, counted from the operators that one forward pass really runs."""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.attention import products_of_attention
from coppice.core.calls import module_calls
from coppice.core.dispatch import DispatchMode
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
    biases_by_layer : dict
        Name of the module -> additions of its bias, one for each output element; layers without a bias are left
        out. ``total_with_biases`` has them.
    """

    total: int
    by_layer: dict[str, int]
    output_shapes: dict[str, tuple[int, ...]]
    biases_by_layer: dict[str, int]

    @property
    def total_with_biases(self) -> int:
        """``total`` and one more for each output element of a layer with a bias (``MAC_bias``)."""
        return self.total + sum(self.biases_by_layer.values())


def count_macs(network: nn.Module, example: Float[Tensor, "1 *shape"]) -> MacCount:
    """Count the MACs of one clip.

    A convolution counts kernel × in_channels / groups × output elements, a matrix product rows × inner × columns.
    Matrix products written as functions and those of recurrent layers and of attention count too. This is
    ``MAC_nobias`` in the literature on the DCASE baselines: 286,637,800 for the 2021 baseline on 40×500, and
    287,303,510 with biases.

    Parameters
    ----------
    network : nn.Module
        Left as it is.
    example : Tensor
        One input, batch of 1; a tensor on the meta device costs no arithmetic.

    Examples
    --------
    >>> macs = count_macs(nn.Conv2d(1, 16, 7, padding="same"), torch.zeros(1, 1, 40, 500))
    >>> macs.total, macs.total_with_biases
    (15680000, 16000000)
    """
    by_layer: dict[str, int] = {}
    biases: dict[str, int] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    modules = dict(network.named_modules())

    with module_calls(network) as calls, eval_mode(network), products_of_attention():

        class Count(DispatchMode):
            def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
                out = func(*args, **(kwargs or {}))
                macs = operator_macs(func.overloadpacket, args, out)
                if macs:
                    name = calls.current
                    by_layer[name] = by_layer.get(name, 0) + macs
                    shapes[name] = tuple((out[0] if isinstance(out, tuple) else out).shape)
                    added = _biases(func.overloadpacket, args, out, modules[name])
                    if added:
                        biases[name] = biases.get(name, 0) + added
                return out

        with torch.no_grad(), Count():
            network(example)
    return MacCount(sum(by_layer.values()), by_layer, shapes, biases)


def operator_macs(operator: Any, args: Any, out: Any) -> int:
    """Return the MACs of one executed operator; 0 for what is no product.

    Parameters
    ----------
    operator : torch.ops.aten packet
    args : tuple
        Its positional arguments.
    out : Tensor or tuple
        What it returned.

    Examples
    --------
    >>> operator_macs(torch.ops.aten.mm, (torch.zeros(2, 3), torch.zeros(3, 4)), torch.zeros(2, 4))
    24
    """
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
    if operator.__name__.startswith("_scaled_dot_product"):  # queries × keys, then the weights × values
        queries, keys, values = args[:3]
        return queries[..., 0].numel() * keys.shape[-2] * (keys.shape[-1] + values.shape[-1])
    return 0


def _biases(operator: Any, args: Any, out: Any, module: nn.Module) -> int:
    if operator is _aten.convolution:
        return out.numel() if args[2] is not None else 0
    if operator in (_aten.addmm, _aten.baddbmm, _aten.addmv):
        return out.numel()
    if operator is _aten.mkldnn_rnn_layer:
        steps, clips = args[0].shape[:2]
        return steps * clips * (args[3].numel() + args[4].numel()) if args[12] else 0
    # On an input that cannot be viewed as a matrix, torch adds the bias of a dense layer in an operator of its own.
    return out.numel() if isinstance(module, nn.Linear) and module.bias is not None else 0
