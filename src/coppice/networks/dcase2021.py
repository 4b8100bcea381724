"""The DCASE 2021 Task 1A baseline CNN, with free widths."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError
from coppice.networks.registry import network


@network("dcase2021")
class DCASE2021(nn.Module):
    """Three 7×7 convolutions and two dense layers (Martín-Morató et al., DCASE 2021 Task 1A baseline).

    conv-BN-ReLU, conv-BN-ReLU-maxpool 5×5-dropout, conv-BN-ReLU-maxpool-dropout, flatten, dense-ReLU-dropout,
    dense. The second pool is 4 bands high and as long as the clip: 4×100 at 500 frames, as published, 4×50 at
    250. BatchNorm as in Keras (eps 1e-3, momentum 0.99 there = 0.01 here). With the default widths, 10 classes
    and 40 bands there are 46,246 parameters in Keras' count and, at 500 frames, 286,637,800 MACs.

    Parameters
    ----------
    widths : three ints >= 1
        Filters of conv1, conv2, conv3.
    dense : int >= 1
        Units of dense1.
    classes : int >= 2
        Units of dense2.
    bands : int >= 20
        Mel bands of the input.
    frames : int >= 5
        Frames of the input.
    dropout : float in [0, 1)
        After both pools and after dense1.

    Raises
    ------
    CoppiceError
        If a size is impossible.

    Examples
    --------
    >>> net = DCASE2021(frames=500)
    >>> net(torch.zeros(2, 1, 40, 500)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (16, 16, 32),
        dense: int = 100,
        classes: int = 10,
        bands: int = 40,
        frames: int = 500,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        if not isinstance(widths, Sequence) or len(widths) != 3:
            raise CoppiceError(
                f"dcase2021 has three convolutions but widths is {widths!r}; give three numbers, such as [16, 16, 32]."
            )
        names = ("conv1", "conv2", "conv3", "dense")
        for name, size in zip(names, (*widths, dense), strict=True):
            if not _whole(size, 1, 65_536):
                raise CoppiceError(f"dcase2021 cannot have {size!r} units in {name}; give 1 to 65536.")
        if not _whole(classes, 2, 65_536):
            raise CoppiceError(f"dcase2021 cannot tell {classes!r} classes apart; give 2 to 65536.")
        if not _whole(bands, 20, 65_536) or not _whole(frames, 5, 10**9):
            raise CoppiceError(
                f"dcase2021 cannot take a {bands}×{frames} log-mel (bands × frames): its pools need at least "
                "20 bands and 5 frames; use a longer clip or a smaller hop."
            )
        if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
            raise CoppiceError(f"dropout is {dropout!r}; give a number from 0 to below 1, such as 0.3.")
        first, second, third = widths
        self.bands, self.frames = bands, frames
        self.conv1 = nn.Conv2d(1, first, 7, padding="same")
        self.bn1 = nn.BatchNorm2d(first, eps=1e-3, momentum=0.01)
        self.conv2 = nn.Conv2d(first, second, 7, padding="same")
        self.bn2 = nn.BatchNorm2d(second, eps=1e-3, momentum=0.01)
        self.pool2 = nn.MaxPool2d(5)
        self.conv3 = nn.Conv2d(second, third, 7, padding="same")
        self.bn3 = nn.BatchNorm2d(third, eps=1e-3, momentum=0.01)
        self.pool3 = nn.MaxPool2d((4, frames // 5))
        self.dropout = nn.Dropout(dropout)
        self.dense1 = nn.Linear(third * (bands // 5 // 4), dense)
        self.dense2 = nn.Linear(dense, classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Linear):
                nn.init.uniform_(module.weight, -0.05, 0.05)
                nn.init.zeros_(module.bias)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build a network of these shapes, read from the layers as they are now."""
        return {
            "widths": [self.conv1.out_channels, self.conv2.out_channels, self.conv3.out_channels],
            "dense": self.dense1.out_features,
            "classes": self.dense2.out_features,
            "bands": self.bands,
            "frames": self.frames,
            "dropout": self.dropout.p,
        }

    def forward(self, features: Float[Tensor, "clips 1 bands frames"]) -> Float[Tensor, "clips classes"]:
        """Return one logit per class."""
        x = torch.relu(self.bn1(self.conv1(features)))
        x = torch.relu(self.bn2(self.conv2(x)))
        x = self.dropout(self.pool2(x))
        x = torch.relu(self.bn3(self.conv3(x)))
        x = self.dropout(self.pool3(x))
        x = self.dropout(torch.relu(self.dense1(x.flatten(1))))
        return self.dense2(x)


def _whole(value: object, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high
