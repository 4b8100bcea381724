"""Convolution by Winograd's minimal filtering, with gradients."""

from typing import Any

import torch
from jaxtyping import Float, Float32
from torch import Tensor

from coppice.training.winograd.kernels import Kernels, Shape, kernels, tiles_of


def winograd_convolution(
    x: Float[Tensor, "images channels bands frames"],
    weight: Float32[Tensor, "filters channels taps taps"],
    bias: Float32[Tensor, " filters"] | None = None,
) -> Float[Tensor, "images filters bands frames"]:
    """Correlate images with a square kernel, zeros around, as ``conv2d(x, weight, bias, padding="same")`` does.

    Each tile of 4×4 outputs takes (taps + 3)² multiplications a channel and filter in place of 16 taps²: with 7×7
    kernels 100 in place of 784. Products and sums are float32 whatever ``x`` is. Errors are larger than those of a
    direct sum in float32, and far smaller than those of rounding to bfloat16.

    Parameters
    ----------
    x : Tensor (images, channels, bands, frames)
        float32 or bfloat16, on the CPU.
    weight : Tensor (filters, channels, taps, taps)
        With taps in 3, 5, 7.
    bias : Tensor (filters,), optional

    Returns
    -------
    Tensor (images, filters, bands, frames)
        Of the type of ``x``, channels last.

    Raises
    ------
    CoppiceError
        If there is no C compiler, or its library cannot use PyTorch's threads.

    References
    ----------
    Lavin & Gray, Fast Algorithms for Convolutional Neural Networks, CVPR 2016.

    Examples
    --------
    >>> x, weight = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 3, 3)
    >>> winograd_convolution(x, weight)[0, 0, 0].round(decimals=4).tolist()
    [4.0, 6.0, 6.0, 6.0, 6.0, 6.0, 6.0, 4.0]
    """
    found: Tensor = _Convolution.apply(x, weight, bias)
    return found


class _Convolution(torch.autograd.Function):
    @staticmethod
    def forward(context: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x = x.contiguous(memory_format=torch.channels_last)
        context.save_for_backward(x, weight)
        return _kernels(weight, x).convolve(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(context: Any, slopes: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        x, weight = context.saved_tensors
        slopes = slopes.contiguous(memory_format=torch.channels_last)
        of_x, of_weight, of_bias = context.needs_input_grad
        x_slopes = weight_slopes = bias_slopes = None
        if of_x:
            turned = weight.transpose(0, 1).flip(2, 3)
            x_slopes = _kernels(turned, slopes).convolve(slopes, turned, None)
        if of_weight or of_bias:
            weight_slopes, bias_slopes = _kernels(weight, x).weigh(x, slopes)
        return x_slopes, weight_slopes if of_weight else None, bias_slopes if of_bias else None


def _kernels(weight: Tensor, x: Tensor) -> Kernels:
    filters, channels, taps, _ = weight.shape
    return kernels(Shape(channels, filters, taps, tiles_of(x.shape[-1]), x.dtype == torch.bfloat16))
