"""The low-complexity CNN of Singh and Plumbley's DCASE 2022 Task 1 systems, with free widths and kernel size."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.networks.initial_weights import glorot_
from coppice.networks.registry import network
from coppice.networks.sizes import check_classes, check_dropout, check_list, check_log_mel, check_units, is_whole

_POOLS = {"average": nn.AvgPool2d, "max": nn.MaxPool2d}
_ACTIVATIONS = {
    "published": (torch.tanh, torch.relu, torch.tanh, torch.tanh),
    "tanh": (torch.tanh,) * 4,
    "relu": (torch.relu,) * 4,
}


@network("surrey2022")
class Surrey2022(nn.Module):
    """Three 3×3 convolutions with tanh and average pools (Singh and Plumbley, arXiv 2207.11529 and 2208.01555).

    conv-BN-tanh, conv-BN-ReLU-average pool 5×5, conv-BN-tanh-average pool 4×10, flatten, dense-tanh, dense: the
    DCASE 2022 baseline with smaller kernels, tanh for ReLU but after conv2, and average for max pools, as read
    from the released TensorFlow Lite files. The second pool is 4 bands high and as long as the clip. With the
    default widths there are 14,630 parameters with batch normalisation folded (14,886 in Keras' count) and
    5,369,960 MACs; the released files have 12, 12 and 22 filters where they are pruned.

    Not published, and so ours: dropout stands where the baseline has it, weights start as Keras draws them, and
    batch normalisation has Keras' constants (eps 1e-3, momentum 0.99 there = 0.01 here).

    Parameters
    ----------
    widths : three ints >= 1
        Filters of conv1, conv2, conv3.
    dense : int >= 1
        Units of dense1.
    kernel : odd int, 1 to 11
        Side of all three kernels; the report compares several.
    pooling : {"average", "max"}
        Of both pools.
    activation : {"published", "tanh", "relu"}
        As published, or the same one everywhere.
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
    >>> net = Surrey2022(widths=(12, 12, 22))
    >>> net(torch.zeros(2, 1, 40, 51)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (16, 16, 32),
        dense: int = 100,
        kernel: int = 3,
        pooling: str = "average",
        activation: str = "published",
        classes: int = 10,
        bands: int = 40,
        frames: int = 51,
        dropout: float = 0.3,
    ) -> None:
        super().__init__()
        check_list("surrey2022", "widths", widths, ("conv1", "conv2", "conv3"), (16, 16, 32))
        check_units("surrey2022", "dense", dense)
        if not is_whole(kernel, 1, 11) or kernel % 2 == 0:
            raise CoppiceError(f"surrey2022 cannot have a kernel of {kernel!r}; give an odd number from 1 to 11.")
        for what, given, known in (("pooling", pooling, _POOLS), ("activation", activation, _ACTIVATIONS)):
            if given not in known:
                raise CoppiceError(f"surrey2022 has no {what} {given!r}. {did_you_mean(str(given), known)}")
        check_classes("surrey2022", classes)
        check_log_mel("surrey2022", bands, frames, least=(20, 5))
        check_dropout(dropout)
        first, second, third = widths
        self.bands, self.frames, self.pooling, self.activation = bands, frames, pooling, activation
        pool, after = _POOLS[pooling], _ACTIVATIONS[activation]
        self.conv1 = nn.Conv2d(1, first, kernel, padding="same")
        self.bn1 = nn.BatchNorm2d(first, eps=1e-3, momentum=0.01)
        self.conv2 = nn.Conv2d(first, second, kernel, padding="same")
        self.bn2 = nn.BatchNorm2d(second, eps=1e-3, momentum=0.01)
        self.pool2 = pool(5)
        self.conv3 = nn.Conv2d(second, third, kernel, padding="same")
        self.bn3 = nn.BatchNorm2d(third, eps=1e-3, momentum=0.01)
        self.pool3 = pool((4, frames // 5))
        self.dropout = nn.Dropout(dropout)
        self.dense1 = nn.Linear(third * (bands // 5 // 4), dense)
        self.dense2 = nn.Linear(dense, classes)
        self._after1, self._after2, self._after3, self._after4 = after
        glorot_(self)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build a network of these shapes, read from the layers as they are now."""
        return {
            "widths": [self.conv1.out_channels, self.conv2.out_channels, self.conv3.out_channels],
            "dense": self.dense1.out_features,
            "kernel": self.conv1.kernel_size[0],
            "pooling": self.pooling,
            "activation": self.activation,
            "classes": self.dense2.out_features,
            "bands": self.bands,
            "frames": self.frames,
            "dropout": self.dropout.p,
        }

    def forward(self, features: Float[Tensor, "clips 1 bands frames"]) -> Float[Tensor, "clips classes"]:
        """Return one logit per class."""
        x = self._after1(self.bn1(self.conv1(features)))
        x = self._after2(self.bn2(self.conv2(x)))
        x = self.dropout(self.pool2(x))
        x = self._after3(self.bn3(self.conv3(x)))
        x = self.dropout(self.pool3(x))
        x = self.dropout(self._after4(self.dense1(x.flatten(1))))
        return self.dense2(x)
