"""Convolution layers that compute by minimal filtering where it is faster."""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.native.tensors import compiles, lanes
from coppice.training.winograd.convolution import winograd_convolution
from coppice.training.winograd.transforms import TAPS
from coppice.training.winograd.worth import has_matrix_instructions, is_worth


class WinogradConv2d(nn.Conv2d):
    """A ``Conv2d`` of stride one with zeros around that does the same with fewer multiplications.

    Leaves it to PyTorch where that is no slower: small images, few channels, a GPU, no C compiler.
    """

    def forward(self, input: Float[Tensor, "images channels bands frames"]) -> Float[Tensor, "..."]:
        """Return the convolution, in the layout and, under autocast, the type that ``Conv2d`` would give."""
        half = torch.is_autocast_enabled("cpu") and torch.get_autocast_dtype("cpu") == torch.bfloat16
        x = input.bfloat16() if half else input
        if not self._is_worth(x, half=half):
            return super().forward(input)
        y = winograd_convolution(x, self.weight, self.bias)
        last = input.is_contiguous(memory_format=torch.channels_last)
        return y if last else y.contiguous()

    def _is_worth(self, x: Tensor, *, half: bool) -> bool:
        known = x.dtype == (torch.bfloat16 if half else torch.float32) and self.weight.dtype == torch.float32
        if x.device.type != "cpu" or x.dim() != 4 or not known or x.shape[1] != self.in_channels:
            return False
        worth = is_worth(
            self.in_channels,
            self.out_channels,
            self.kernel_size[0],
            bands=x.shape[2],
            frames=x.shape[3],
            half=half,
            lanes=lanes(),
            matrices=has_matrix_instructions(),
        )
        return worth and compiles()


def use_winograd_(network: nn.Module) -> None:
    """Let those convolutions of a network compute by minimal filtering that can; parameters and hooks stay.

    Examples
    --------
    >>> network = nn.Sequential(nn.Conv2d(16, 16, 7, padding=3), nn.Conv2d(16, 16, 7, stride=2))
    >>> use_winograd_(network)
    >>> [type(layer).__name__ for layer in network]
    ['WinogradConv2d', 'Conv2d']
    """
    for layer in network.modules():
        if type(layer) is nn.Conv2d and _can(layer):
            layer.__class__ = WinogradConv2d


def _can(layer: nn.Conv2d) -> bool:
    taps = layer.kernel_size[0]
    around = "same" if layer.padding == "same" else tuple(layer.padding)
    return (
        layer.kernel_size == (taps, taps)
        and taps in TAPS
        and around in ("same", (taps // 2, taps // 2))
        and layer.stride == layer.dilation == (1, 1)
        and layer.groups == 1
        and layer.padding_mode == "zeros"
    )
