"""CNN6 of PANNs, with free widths."""

from collections.abc import Sequence

from coppice.networks.panns import PANN
from coppice.networks.registry import network

WIDTHS = (64, 128, 256, 512)


@network("cnn6")
class CNN6(PANN):
    """Four blocks of one 5×5 convolution and two dense layers (Kong et al., "PANNs", TASLP 2020, table I).

    With the default widths, 64 bands and 527 classes there are 4,837,455 parameters (table XII of the paper).
    The published state dicts fit, without their frozen front end.

    Parameters
    ----------
    widths : four ints >= 1
        Filters of conv_block1.conv1, conv_block2.conv1, conv_block3.conv1, conv_block4.conv1.
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
    >>> net = CNN6(widths=[4] * 4, dense=8, classes=3)
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
            "cnn6",
            blocks=4,
            per_block=1,
            kernel=5,
            pools=4,
            standard=WIDTHS,
            widths=widths,
            dense=dense,
            classes=classes,
            bands=bands,
            dropout=dropout,
            dense_dropout=dense_dropout,
        )
