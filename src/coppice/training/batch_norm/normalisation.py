"""Normalisation by the mean and variance of a batch, with gradients."""

from typing import Any

import torch
from jaxtyping import Float, Float32, Float64
from torch import Tensor

from coppice.training.batch_norm.kernels import kernels

# Places whose mean stands for that of all while squares are summed up: near enough that nothing is lost.
_SAMPLE = 256
Images = Float[Tensor, "images channels bands frames"]
PerChannel = Float64[Tensor, " channels"]


def batch_normalisation(
    x: Images, weight: Float32[Tensor, " channels"], bias: Float32[Tensor, " channels"], eps: float
) -> tuple[Images, PerChannel, PerChannel]:
    """Normalise every channel by its mean and its variance over the batch (Ioffe & Szegedy 2015).

    What ``torch.nn.functional.batch_norm`` does in training, in fewer passes over the numbers, and at any number of
    channels as fast. Sums are float64.

    Parameters
    ----------
    x : Tensor (images, channels, bands, frames)
        float32 or bfloat16 on the CPU, channels last.
    weight, bias : Tensor (channels,)
    eps : float > 0
        Is added to the variance.

    Returns
    -------
    y : Tensor (images, channels, bands, frames)
        Of the type of ``x``.
    mean, variance : Tensor (channels,), float64
        Of the batch, divided by the number of places; without gradients.

    Raises
    ------
    CoppiceError
        If there is no C compiler, or its library cannot use PyTorch's threads.

    Examples
    --------
    >>> x = torch.arange(32.0).view(1, 2, 4, 4).contiguous(memory_format=torch.channels_last)
    >>> y, mean, variance = batch_normalisation(x, torch.ones(2), torch.zeros(2), eps=1e-5)
    >>> mean.tolist(), variance.tolist()
    ([7.5, 23.5], [21.25, 21.25])
    >>> y.mean((0, 2, 3)).round(decimals=5).abs().tolist()
    [0.0, 0.0]
    """
    y, mean, variance = _Normalisation.apply(x, weight, bias, eps)
    return y, mean, variance


class _Normalisation(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float) -> tuple[Tensor, Tensor, Tensor]:
        code = _kernels(x)
        count = x.numel() // x.shape[1]
        about = _sample_mean(x)
        first, second = code.moments(x, about)
        offset = first / count
        mean, variance = about + offset, (second / count - offset.square()).clamp(min=0)
        deviation = (variance + eps).sqrt()
        factor = weight / deviation
        context.save_for_backward(x, weight, mean, deviation)
        context.mark_non_differentiable(mean, variance)
        return code.normalise(x, factor, bias - mean * factor), mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, slopes: Tensor, *unused: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, deviation = context.saved_tensors
        code, count = _kernels(x), x.numel() // x.shape[1]
        slopes = slopes.to(x.dtype).contiguous(memory_format=torch.channels_last)
        about = mean.float()
        total, product = code.slope_sums(x, slopes, about)
        of_weight = (product - total * (mean - about)) / deviation
        x_slopes = None
        if context.needs_input_grad[0]:
            factor = weight / deviation
            by_number = -factor * of_weight / (count * deviation)
            x_slopes = code.slope(x, slopes, factor, by_number, -factor * total / count - by_number * mean)
        return x_slopes, of_weight.float(), total.float(), None


def _kernels(x: Tensor) -> Any:
    return kernels(x.shape[1], half=x.dtype == torch.bfloat16)


def _sample_mean(x: Tensor) -> Float32[Tensor, " channels"]:
    places = x.permute(0, 2, 3, 1).reshape(-1, x.shape[1])
    return places[:: max(len(places) // _SAMPLE, 1)].float().mean(0)
