"""Which memory layout a training step runs fastest in."""

import torch
from torch import nn


def training_layout(network: nn.Module) -> torch.memory_format:
    """Choose channels_last where its kernels are fast, else the contiguous layout.

    With widths that do not fill the vector registers (below 16, or not a multiple of 8), which is what pruning leaves,
    batch normalisation is many times slower backwards in channels_last, and the contiguous layout wins;
    ``benchmarks/bench_training.py`` measures by how much. The choice depends on the shapes alone, so that a resumed run
    makes it again.

    Examples
    --------
    >>> training_layout(nn.Conv2d(1, 16, 3))
    torch.channels_last
    >>> training_layout(nn.Conv2d(1, 11, 3))
    torch.contiguous_format
    """
    widths = [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    wide = all(width >= 16 and width % 8 == 0 for width in widths)
    return torch.channels_last if widths and wide else torch.contiguous_format
