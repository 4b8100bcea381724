"""VGGish with a head for scenes, as pruned in the papers on passive filter pruning, with free widths."""

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from coppice.networks.initial_weights import glorot_
from coppice.networks.registry import network
from coppice.networks.sizes import check_classes, check_list, check_log_mel

CONVOLUTIONS = ("conv1", "conv2", "conv3", "conv4", "conv5", "conv6")


@network("vggish_net")
class VGGishNet(nn.Module):
    """Six 3×3 convolutions, four pools and three dense layers (Singh and Plumbley, ICASSP 2023, arXiv 2210.17416).

    conv1-pool, conv2-pool, conv3-conv4-pool, conv5-conv6-pool, flatten, dense1, dense2, dense3: a ReLU after every
    layer but the last, max pools of 2×2, no batch normalisation. The convolutions and dense1 are those of VGGish
    (Hershey et al., 2017). With the default widths there are 55,361,162 parameters and 847,119,616 MACs. Pruned by
    similarity to 51, 101, 215, 204, 404 and 402 filters it has 42,889,796 and 552,226,432.

    The published network takes 96 frames of 64 bands with time first; like every network here, this one takes bands
    first, which changes the order inside a kernel and before dense1 and none of the counts. The L2 penalty
    of 0.01 on its weights belongs to training.

    Parameters
    ----------
    widths : six ints >= 1
        Filters of conv1 to conv6.
    dense : two ints >= 1
        Units of dense1 and dense2.
    classes : int >= 2
        Units of dense3.
    bands, frames : int >= 16
        Mel bands and frames of the input.

    Raises
    ------
    CoppiceError
        If a size is impossible.

    Examples
    --------
    >>> net = VGGishNet(widths=(2, 3, 4, 4, 5, 5), dense=(8, 6))
    >>> net(torch.zeros(2, 1, 64, 96)).shape
    torch.Size([2, 10])
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = (64, 128, 256, 256, 512, 512),
        dense: Sequence[int] = (4096, 128),
        classes: int = 10,
        bands: int = 64,
        frames: int = 96,
    ) -> None:
        super().__init__()
        check_list("vggish_net", "widths", widths, CONVOLUTIONS, (64, 128, 256, 256, 512, 512))
        check_list("vggish_net", "dense", dense, ("dense1", "dense2"), (4096, 128))
        check_classes("vggish_net", classes)
        check_log_mel("vggish_net", bands, frames, least=(16, 16))
        self.bands, self.frames = bands, frames
        self.conv1 = nn.Conv2d(1, widths[0], 3, padding="same")
        self.conv2 = nn.Conv2d(widths[0], widths[1], 3, padding="same")
        self.conv3 = nn.Conv2d(widths[1], widths[2], 3, padding="same")
        self.conv4 = nn.Conv2d(widths[2], widths[3], 3, padding="same")
        self.conv5 = nn.Conv2d(widths[3], widths[4], 3, padding="same")
        self.conv6 = nn.Conv2d(widths[4], widths[5], 3, padding="same")
        self.pool = nn.MaxPool2d(2)
        self.dense1 = nn.Linear(widths[5] * (bands // 16) * (frames // 16), dense[0])
        self.dense2 = nn.Linear(dense[0], dense[1])
        self.dense3 = nn.Linear(dense[1], classes)
        glorot_(self)

    def config(self) -> dict[str, Any]:
        """Return the arguments that build a network of these shapes, read from the layers as they are now."""
        convolutions = (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5, self.conv6)
        return {
            "widths": [layer.out_channels for layer in convolutions],
            "dense": [self.dense1.out_features, self.dense2.out_features],
            "classes": self.dense3.out_features,
            "bands": self.bands,
            "frames": self.frames,
        }

    def forward(self, features: Float[Tensor, "clips 1 bands frames"]) -> Float[Tensor, "clips classes"]:
        """Return one logit per class."""
        x = self.pool(torch.relu(self.conv1(features)))
        x = self.pool(torch.relu(self.conv2(x)))
        x = torch.relu(self.conv3(x))
        x = self.pool(torch.relu(self.conv4(x)))
        x = torch.relu(self.conv5(x))
        x = self.pool(torch.relu(self.conv6(x)))
        x = torch.relu(self.dense1(x.flatten(1)))
        return self.dense3(torch.relu(self.dense2(x)))
