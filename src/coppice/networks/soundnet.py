"""SoundNet's seven 1-D convolutions on raw audio, as pruned by Singh, Rajan and Bhavsar, with free widths."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from coppice.core.errors import CoppiceError
from coppice.networks.initial_weights import glorot_
from coppice.networks.registry import network
from coppice.networks.sizes import MOST_FRAMES, check_classes, check_list, is_whole

STRIDE = 2
KERNELS = (64, 32, 16, 8, 4, 4, 4)
PADDINGS = (16, 8, 4, 2, 1, 1, 1)  # zeros at both ends of what a convolution returns
POOLS = (8, 8, 1, 1, 4, 1, 1)
CONVOLUTIONS = tuple(f"conv{number}" for number in range(1, 8))
WIDTHS = (16, 32, 64, 128, 256, 512, 1024)


@network("soundnet")
class SoundNet(nn.Module):
    """Seven strided 1-D convolutions over a waveform (Aytar et al., 2016; pruned: Singh et al., PRL 131, 2020).

    conv-zeros-BN-ReLU seven times, with max pools of 8, 8 and 4 after the first, second and fifth; kernels of 64,
    32, 16, 8, 4, 4, 4, all with stride 2. As in the published Keras code, the zeros are put around what a
    convolution *returns*, before batch normalisation, which therefore cannot be folded into it. The convolutions
    have 2,870,256 parameters; with the published pruned widths 16, 32, 41, 56, 88, 235, 59 they have 215,187.

    The head is ours: the mean over time and one dense layer, which take a clip of any length. In the published
    code the maps of 30 s at 44.1 kHz are flattened into a dense layer of 100, and 15 classes follow. Samples
    were multiplied by 256 there. Batch normalisation has Keras' constants (eps 1e-3, momentum 0.99 = 0.01 here).

    Parameters
    ----------
    widths : seven ints >= 1
        Filters of conv1 to conv7.
    classes : int >= 2
        Units of dense.
    samples : int
        Length of a clip; at least :func:`least_samples`.

    Raises
    ------
    CoppiceError
        If a size is impossible or the clips are too short for the strides.

    Examples
    --------
    >>> net = SoundNet(widths=(2, 3, 4, 4, 5, 5, 6), classes=10, samples=48_000)
    >>> net(torch.zeros(2, 1, 48_000)).shape
    torch.Size([2, 10])
    """

    def __init__(self, *, widths: Sequence[int] = WIDTHS, classes: int = 15, samples: int = 1_323_000) -> None:
        super().__init__()
        check_list("soundnet", "widths", widths, CONVOLUTIONS, WIDTHS)
        check_classes("soundnet", classes)
        if not is_whole(samples, least_samples(), MOST_FRAMES):
            raise CoppiceError(
                f"soundnet cannot take clips of {samples!r} samples: its strides need at least {least_samples()}; "
                "use longer clips or a higher sample rate."
            )
        self.samples = samples
        inputs = 1
        for number, (width, kernel) in enumerate(zip(widths, KERNELS, strict=True), start=1):
            self.add_module(f"conv{number}", nn.Conv1d(inputs, width, kernel, stride=STRIDE))
            self.add_module(f"bn{number}", nn.BatchNorm1d(width, eps=1e-3, momentum=0.01))
            inputs = width
        self.dense = nn.Linear(inputs, classes)
        glorot_(self)

    @property
    def input_shape(self) -> tuple[int, int]:
        """Shape of one clip: (1, samples)."""
        return 1, self.samples

    def config(self) -> dict[str, Any]:
        """Return the arguments that build a network of these shapes, read from the layers as they are now."""
        return {
            "widths": [self.get_submodule(name).out_channels for name in CONVOLUTIONS],
            "classes": self.dense.out_features,
            "samples": self.samples,
        }

    def forward(self, waveform: Float[Tensor, "clips 1 samples"]) -> Float[Tensor, "clips classes"]:
        """Return one logit per class."""
        x = waveform
        for number, (padding, pool) in enumerate(zip(PADDINGS, POOLS, strict=True), start=1):
            x = F.pad(self.get_submodule(f"conv{number}")(x), (padding, padding))
            x = torch.relu(self.get_submodule(f"bn{number}")(x))
            if pool > 1:
                x = F.max_pool1d(x, pool)
        return self.dense(x.mean(2))


def least_samples() -> int:
    """Return the fewest samples for which every convolution and pool has something to return.

    Examples
    --------
    >>> SoundNet(widths=(1,) * 7, samples=least_samples() - 1)  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: soundnet cannot take clips of ... samples: its strides need at least ...
    """
    needed = 1
    for kernel, padding, pool in zip(reversed(KERNELS), reversed(PADDINGS), reversed(POOLS), strict=True):
        convolved = max(1, needed * pool - 2 * padding)
        needed = (convolved - 1) * STRIDE + kernel
    return needed
