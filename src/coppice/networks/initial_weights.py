"""Initial weights that several architectures share."""

from torch import nn


def glorot_(network: nn.Module) -> None:
    """Draw the weights of convolutions and dense layers as Keras does by default; biases become zero.

    Glorot and Bengio (2010), uniform: within ± sqrt(6 / (inputs + outputs)), kernel positions included.

    Parameters
    ----------
    network : nn.Module
        Changed in place, from torch's global generator.

    Examples
    --------
    >>> layer = nn.Linear(2, 4)
    >>> glorot_(layer)
    >>> bool(layer.weight.abs().max() <= 1), bool(layer.bias.any())
    (True, False)
    """
    for module in network.modules():
        if isinstance(module, nn.modules.conv._ConvNd | nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
