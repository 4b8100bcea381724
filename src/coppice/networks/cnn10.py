"""CNN10 of PANNs, with free widths."""

from collections.abc import Sequence

from coppice.networks.panns import PANN
from coppice.networks.registry import network

WIDTHS = (64, 64, 128, 128, 256, 256, 512, 512)


@network("cnn10")
class CNN10(PANN):
    """Four blocks of two 3×3 convolutions and two dense layers (Kong et al., "PANNs", TASLP 2020, table I).

    With the default widths, 64 bands and 527 classes there are 5,219,279 parameters (table XII of the paper).
    The published state dicts fit, without their frozen front end.

    Parameters
    ----------
    widths : eight ints >= 1
        Filters of conv_block1.conv1, conv_block1.conv2, conv_block2.conv1, ...
    dense, classes, dropout, dense_dropout
        See :class:`coppice.networks.cnn14.CNN14`.
    bands : int >= 16
        Mel bands of the input.

    Raises
    ------
    CoppiceError
        If a size is impossible, or later, if a clip has less than 16 frames.

    Examples
    --------
    >>> import torch
    >>> net = CNN10(widths=[4] * 8, dense=8, classes=3)
    >>> net(torch.zeros(2, 1, 64, 101)).shape
    torch.Size([2, 3])
    """

    def __init__(
        self,
        *,
        widths: Sequence[int] = WIDTHS,
        dense: int = 512,
        classes: int = 527,
        bands: int = 64,
        dropout: float = 0.2,
        dense_dropout: float = 0.5,
    ) -> None:
        super().__init__(
            "cnn10",
            blocks=4,
            per_block=2,
            kernel=3,
            pools=4,
            standard=WIDTHS,
            widths=widths,
            dense=dense,
            classes=classes,
            bands=bands,
            dropout=dropout,
            dense_dropout=dense_dropout,
        )
