"""Which memory layout a training step runs fastest in."""

import torch
from torch import nn

from coppice.native.tensors import compiles
from coppice.training.batch_norm.layer import is_narrow


def training_layout(network: nn.Module, *, half: bool = False) -> torch.memory_format:
    """Choose channels_last where its kernels are fast, else the contiguous layout.

    PyTorch's own batch normalisation is many times slower backwards in float32 and channels_last with widths that do
    not fill the vector registers (below 16, or not a multiple of 8), which is what pruning leaves. Where there is no C
    compiler for another one (:class:`coppice.training.batch_norm.layer.QuickBatchNorm2d`), such networks train in the
    contiguous layout; ``benchmarks/bench_training.py`` measures all this.

    Parameters
    ----------
    network : nn.Module
    half : bool
        Whether the step computes in bfloat16.

    Examples
    --------
    >>> training_layout(nn.Conv2d(1, 16, 3))
    torch.channels_last
    >>> training_layout(nn.Conv1d(1, 16, 3))
    torch.contiguous_format
    """
    widths = [layer.out_channels for layer in network.modules() if isinstance(layer, nn.Conv2d)]
    quick = not torch.cuda.is_available() and (half or compiles())
    return torch.channels_last if widths and (quick or not any(map(is_narrow, widths))) else torch.contiguous_format
