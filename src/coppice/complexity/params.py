"""Parameter counts under the three conventions that published tables mix."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor, nn

from coppice.complexity.folding import folding_pairs

_BatchNorm = nn.modules.batchnorm._BatchNorm


@dataclass(frozen=True)
class ParamCount:
    """Parameters of a network.

    Attributes
    ----------
    total : int
        All weights and biases and the running mean and variance of batch normalisation (Keras' "total").
    trainable : int
        Without the running statistics (Keras' "trainable", torch's ``parameters()``).
    bn_folded : int
        With each batch normalisation folded into the convolution before it: what a device stores.
    """

    total: int
    trainable: int
    bn_folded: int


def count_params(network: nn.Module, example: Float[Tensor, "1 *shape"]) -> ParamCount:
    """Count parameters; frozen ones count too, since a device must store them.

    Parameters
    ----------
    network : nn.Module
        Left as it is.
    example : Tensor
        One input, to see which batch normalisation follows which convolution.

    Examples
    --------
    >>> import torch
    >>> net = nn.Sequential(nn.Conv1d(1, 8, 3), nn.BatchNorm1d(8))
    >>> count_params(net, torch.zeros(1, 1, 16))
    ParamCount(total=64, trainable=48, bn_folded=32)
    """
    trainable = sum(parameter.numel() for parameter in network.parameters())
    running = sum(b.numel() for b in network.buffers() if b.is_floating_point())
    folded = trainable
    pairs = folding_pairs(network, example)
    absorbed = set(pairs.values())
    modules = dict(network.named_modules())
    for name, module in modules.items():
        if isinstance(module, _BatchNorm):
            own = sum(parameter.numel() for parameter in module.parameters(recurse=False))
            # One that stands alone still costs a scale and a shift for each channel.
            folded += -own if name in absorbed else 2 * module.num_features - own
    for name in pairs:
        conv = modules[name]
        if conv.bias is None:
            folded += conv.out_channels
    return ParamCount(total=trainable + running, trainable=trainable, bn_folded=folded)
