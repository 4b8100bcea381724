"""Batch normalisation layers that are as fast at any number of channels."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.native.tensors import compiles
from coppice.training.batch_norm.normalisation import batch_normalisation

# Numbers below which the passes take less time than the few sums around them. With channels that do not fill vectors,
# PyTorch takes many times longer.
_LEAST, _LEAST_UNEVEN, _VECTOR = 2_000_000, 50_000, 8


class QuickBatchNorm2d(nn.BatchNorm2d):
    """A ``BatchNorm2d`` that does the same in fewer passes, on images that lie channels last.

    Leaves it to PyTorch in evaluation, on few numbers, in another layout, on a GPU, without a C compiler.
    """

    def forward(self, input: Float[Tensor, "images channels bands frames"]) -> Float[Tensor, "..."]:
        """Normalise by the mean and variance of the batch, and let the running ones follow."""
        if not self._is_worth(input):
            return super().forward(input)
        assert self.running_mean is not None and self.running_var is not None and self.num_batches_tracked is not None
        y, mean, variance = batch_normalisation(input, self.weight, self.bias, self.eps)
        with torch.no_grad():
            self.num_batches_tracked += 1
            count = input.numel() // self.num_features
            part = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.float(), part)
            self.running_var.lerp_((variance * count / (count - 1)).float(), part)
        return y

    def _is_worth(self, x: Tensor) -> bool:
        return (
            self.training
            and self.track_running_stats
            and self.affine
            and x.device.type == "cpu"
            and x.dtype in (torch.float32, torch.bfloat16)
            and self.weight.dtype == torch.float32
            and x.dim() == 4
            and x.shape[1] == self.num_features
            and x.numel() >= max(_LEAST_UNEVEN if x.shape[1] % _VECTOR else _LEAST, 2 * x.shape[1])
            and x.is_contiguous(memory_format=torch.channels_last)
            and compiles()
        )


def use_quick_batch_norm_(network: nn.Module) -> None:
    """Let the batch normalisations of a network be quick ones; parameters, buffers and hooks stay.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4))
    >>> use_quick_batch_norm_(network)
    >>> type(network[1]).__name__
    'QuickBatchNorm2d'
    """
    for layer in network.modules():
        if type(layer) is nn.BatchNorm2d:
            layer.__class__ = QuickBatchNorm2d
