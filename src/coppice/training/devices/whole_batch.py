"""Layers that look at the whole batch although each process holds only a part of it."""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, distributed, nn
from torch.nn.modules.batchnorm import _BatchNorm

from coppice.training.devices.share import Share

_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)
_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d)


def see_whole_batch_(network: nn.Module, share: Share) -> nn.Module:
    """Let batch normalisation and dropout do what they would do on the whole batch; in place.

    Names of parameters and buffers stay. Layers of other classes that look at the batch, or draw random numbers, see
    the rows of their process alone.

    Parameters
    ----------
    network : nn.Module
        A copy of the caller's.
    share : Share
        Which rows the next pass has.
    """
    for parent in list(network.modules()):
        for name, layer in list(parent.named_children()):
            if isinstance(layer, _BatchNorm) and type(layer) in _NORMS:
                setattr(parent, name, WholeBatchNorm(layer, share))
            elif type(layer) in _DROPOUTS:
                setattr(parent, name, WholeBatchDropout(layer, share))
    return network


class WholeBatchNorm(_BatchNorm):
    """Batch normalisation whose statistics are those of the rows of all processes.

    As torch's SyncBatchNorm, which needs GPUs.
    """

    def __init__(self, layer: _BatchNorm, share: Share) -> None:
        super().__init__(
            layer.num_features, layer.eps, layer.momentum, layer.affine, track_running_stats=layer.track_running_stats
        )
        self._parameters, self._buffers, self.training = layer._parameters, layer._buffers, layer.training
        self.share = share

    def _check_input_dim(self, input: Tensor) -> None:
        pass  # any that the layer in whose place it stands would take

    def forward(self, input: Float[Tensor, "rows channels *rest"]) -> Float[Tensor, "rows channels *rest"]:
        """Normalise by the mean and the deviation of all rows."""
        if not (self.training and self.share.divided):
            return super().forward(input)
        rows, channels = input.float(), input.shape[1]
        own_var, own_mean = torch.var_mean(rows, dim=[dim for dim in range(rows.dim()) if dim != 1], correction=0)
        count = own_mean.new_tensor([rows.numel() // channels])
        means, variances, counts = _rows_of_all(torch.cat([own_mean, own_var, count]), self.share).split(
            [channels, channels, 1], dim=1
        )
        total = counts.sum()
        mean = (counts * means).sum(0) / total
        # Of deviations, not of squares: nothing is lost where the mean is large.
        variance = (counts * (variances + (means - mean).square())).sum(0) / total
        self._follow(mean.detach(), (variance * total / (total - 1)).detach())
        shape = (1, channels, *[1] * (rows.dim() - 2))
        scale = (variance + self.eps).rsqrt() * (1 if self.weight is None else self.weight)
        normal = (rows - mean.view(shape)) * scale.view(shape)
        return (normal if self.bias is None else normal + self.bias.view(shape)).to(input.dtype)

    @torch.no_grad()
    def _follow(self, mean: Float[Tensor, " channels"], variance: Float[Tensor, " channels"]) -> None:
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked += 1
        part = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, part)
        self.running_var.lerp_(variance, part)


class WholeBatchDropout(nn.Module):
    """Dropout that draws for all rows, the same in every process, and takes what is drawn for its own."""

    def __init__(self, layer: nn.Module, share: Share) -> None:
        super().__init__()
        self.layer, self.share, self.training = layer, share, layer.training

    def forward(self, input: Float[Tensor, "rows *rest"]) -> Float[Tensor, "rows *rest"]:
        """Drop what the whole batch would have dropped."""
        own = self.share.rows.stop - self.share.rows.start
        if not (self.training and self.share.divided) or len(input) % own:
            plain: Tensor = self.layer(input)
            return plain
        each = len(input) // own  # rows of one clip, where a network has made several of it
        whole = input.new_ones(self.share.total * each, *input.shape[1:])
        if input.dim() == 4 and not input.is_contiguous() and input.is_contiguous(memory_format=torch.channels_last):
            whole = whole.contiguous(memory_format=torch.channels_last)  # numbers are drawn in the order of memory
        dropped: Tensor = input * self.layer(whole)[self.share.rows.start * each : self.share.rows.stop * each]
        return dropped


def _rows_of_all(own: Float[Tensor, " values"], share: Share) -> Float[Tensor, "processes values"]:
    """Put a row of every process below one another; gradients go back to where the rows came from."""
    table = own.new_zeros(share.processes, len(own)).index_copy(0, own.new_tensor([share.rank]).long(), own[None])
    found: Tensor = _Sum.apply(table)
    return found


class _Sum(torch.autograd.Function):
    """The sum over processes; so is its gradient."""

    @staticmethod
    def forward(ctx: Any, own: Tensor) -> Tensor:
        total = own.clone()
        distributed.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        total = grads[0].contiguous().clone()
        distributed.all_reduce(total)
        return total
