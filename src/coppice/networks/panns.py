"""What CNN6, CNN10 and CNN14 share: blocks of convolutions on log-mel that stands with time first, and two heads."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.networks.initial_weights import glorot_
from coppice.networks.sizes import MOST_UNITS, check_classes, check_dropout, check_list, check_units, is_whole


class ConvBlock(nn.Module):
    """Convolutions without bias, each with batch normalisation and ReLU (Kong et al., TASLP 2020, table I).

    Parameters
    ----------
    inside : int
        Channels of the input.
    widths : sequence of int
        Filters of conv1 and, where there are two, conv2.
    kernel : int
        Side of the square kernels; the picture keeps its size.

    Examples
    --------
    >>> ConvBlock(1, (4, 6), kernel=3)(torch.zeros(2, 1, 10, 8)).shape
    torch.Size([2, 6, 10, 8])
    """

    def __init__(self, inside: int, widths: Sequence[int], *, kernel: int) -> None:
        super().__init__()
        for index, width in enumerate(widths, start=1):
            self.add_module(f"conv{index}", nn.Conv2d(inside, width, kernel, padding=kernel // 2, bias=False))
            self.add_module(f"bn{index}", nn.BatchNorm2d(width))
            inside = width

    def widths(self) -> list[int]:
        """Return the filters of each convolution as they are now."""
        return [layer.out_channels for layer in self.children() if isinstance(layer, nn.Conv2d)]

    def forward(self, x: Float[Tensor, "clips inside frames bands"]) -> Float[Tensor, "clips outside frames bands"]:
        """Convolve, normalise, rectify, once or twice."""
        layers = list(self.children())
        for conv, norm in zip(layers[::2], layers[1::2], strict=True):
            x = torch.relu(norm(conv(x)))
        return x


class PANN(nn.Module):
    """A pretrained audio neural network of Kong et al., "PANNs", TASLP 28:2880-2894, 2020 (arXiv 1912.10211).

    The modules are named as in the published state dicts: ``bn0``, ``conv_block1``, ..., ``fc1``, ``fc_audioset``.
    ``bn0`` normalises every mel band; after each block but a sixth one a mean over 2×2, then dropout; at the end the
    mean over the bands, the sum of maximum and mean over time, dropout, a dense layer with ReLU, dropout, a dense
    layer. What an architecture fixes is given by its subclass.

    Parameters
    ----------
    name : str
        Of the architecture, for messages.
    blocks, per_block, kernel : int
        Blocks, convolutions in each, and the side of their kernels.
    pools : int
        Blocks, from the first, that are followed by a pool.
    standard : sequence of int
        The published widths.
    widths, dense, classes, bands, dropout, dense_dropout
        See :class:`coppice.networks.cnn14.CNN14`.

    Raises
    ------
    CoppiceError
        If a size is impossible.
    """

    def __init__(
        self,
        name: str,
        *,
        blocks: int,
        per_block: int,
        kernel: int,
        pools: int,
        standard: Sequence[int],
        widths: Sequence[int],
        dense: int,
        classes: int,
        bands: int,
        dropout: float,
        dense_dropout: float,
    ) -> None:
        super().__init__()
        self.name, self.pools, self.shortest = name, pools, 2**pools
        layers = [f"conv_block{i + 1}.conv{j + 1}" for i in range(blocks) for j in range(per_block)]
        check_list(name, "widths", widths, layers, standard)
        check_units(name, "fc1", dense)
        check_classes(name, classes)
        if not is_whole(bands, self.shortest, MOST_UNITS):
            raise CoppiceError(f"{name} cannot take {bands!r} mel bands; give {self.shortest} to {MOST_UNITS}.")
        check_dropout(dropout)
        check_dropout(dense_dropout)
        self.bn0 = nn.BatchNorm2d(bands)
        inside = 1
        for block in range(blocks):
            chosen = widths[block * per_block : (block + 1) * per_block]
            self.add_module(f"conv_block{block + 1}", ConvBlock(inside, chosen, kernel=kernel))
            inside = chosen[-1]
        self.pool = nn.AvgPool2d(2)
        self.dropout = nn.Dropout(dropout)
        self.dense_dropout = nn.Dropout(dense_dropout)
        self.fc1 = nn.Linear(inside, dense)
        self.fc_audioset = nn.Linear(dense, classes)
        glorot_(self)

    def blocks(self) -> list[ConvBlock]:
        """Return the blocks of convolutions, first to last."""
        return [module for module in self.children() if isinstance(module, ConvBlock)]

    def config(self) -> dict[str, Any]:
        """Return the arguments that build a network of these shapes, read from the layers as they are now."""
        return {
            "widths": [width for block in self.blocks() for width in block.widths()],
            "dense": self.fc1.out_features,
            "classes": self.fc_audioset.out_features,
            "bands": self.bn0.num_features,
            "dropout": self.dropout.p,
            "dense_dropout": self.dense_dropout.p,
        }

    def forward(self, features: Float[Tensor, "clips 1 bands frames"]) -> Float[Tensor, "clips classes"]:
        """Return one logit per class.

        Raises
        ------
        CoppiceError
            If the clips are too short for the pools, or have other bands than the network.
        """
        bands, frames = features.shape[-2:]
        if bands != self.bn0.num_features:
            raise CoppiceError(f"{self.name} takes {self.bn0.num_features} mel bands, not {bands}.")
        if frames < self.shortest:
            raise CoppiceError(
                f"{self.name} halves the time axis {self.pools} times and needs at least {self.shortest} frames, "
                f"not {frames}; use longer clips or pad them."
            )
        x = self.bn0(features.transpose(1, 2)).permute(0, 2, 3, 1)  # (clips, 1, frames, bands)
        for index, block in enumerate(self.blocks()):
            x = block(x)
            x = self.dropout(self.pool(x) if index < self.pools else x)
        x = x.mean(dim=3)
        x = self.dense_dropout(x.amax(dim=2) + x.mean(dim=2))
        x = self.dense_dropout(torch.relu(self.fc1(x)))
        return self.fc_audioset(x)
