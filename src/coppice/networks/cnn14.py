"""CNN14 of PANNs, with free widths: E-PANNs are CNN14 with narrower last blocks."""

from collections.abc import Sequence

from coppice.networks.panns import PANN
from coppice.networks.registry import network

WIDTHS = (64, 64, 128, 128, 256, 256, 512, 512, 1024, 1024, 2048, 2048)


@network("cnn14")
class CNN14(PANN):
    """Six blocks of two 3×3 convolutions and two dense layers (Kong et al., "PANNs", TASLP 2020, table I).

    With the default widths, 64 bands and 527 classes there are 80,753,615 parameters (table XII of the paper);
    with the last six widths halved, as in E-PANNs (Singh et al., Inter-Noise 2023, arXiv 2305.18665), 23,205,839.
    Ten seconds at 32 kHz, 64×1001, take 20,036,653,056 MACs in the convolutions and 5,273,600 in the dense layers.
    The published state dicts fit, without their frozen front end.

    Parameters
    ----------
    widths : twelve ints >= 1
        Filters of conv_block1.conv1, conv_block1.conv2, conv_block2.conv1, ...
    dense : int >= 1
        Units of fc1.
    classes : int >= 2
        Units of fc_audioset.
    bands : int >= 32
        Mel bands of the input.
    dropout : float in [0, 1)
        After each block.
    dense_dropout : float in [0, 1)
        Before and after fc1.

    Raises
    ------
    CoppiceError
        If a size is impossible, or later, if a clip has less than 32 frames.

    Examples
    --------
    >>> import torch
    >>> net = CNN14(widths=[4] * 12, dense=8, classes=3)
    >>> net(torch.zeros(2, 1, 64, 101)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = WIDTHS,
        dense: int = 2048,
        classes: int = 527,
        bands: int = 64,
        dropout: float = 0.2,
        dense_dropout: float = 0.5,
    ) -> None:
        super().__init__(
            "cnn14",
            blocks=6,
            per_block=2,
            kernel=3,
            pools=5,
            standard=WIDTHS,
            widths=widths,
            dense=dense,
            classes=classes,
            bands=bands,
            dropout=dropout,
            dense_dropout=dense_dropout,
        )
