"""The DCASE 2021 Task 1A baseline CNN, with free widths."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.networks.registry import network
from coppice.networks.sizes import check_classes, check_dropout, check_list, check_log_mel, check_units


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

    name = "dcase2021"

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
        check_list(self.name, "widths", widths, ("conv1", "conv2", "conv3"), (16, 16, 32))
        check_units(self.name, "dense", dense)
        check_classes(self.name, classes)
        check_log_mel(self.name, bands, frames, least=(20, 5))
        check_dropout(dropout)
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
