"""The DCASE 2022 Task 1 baseline CNN, with free widths."""

from collections.abc import Sequence

from coppice.networks.dcase2021 import DCASE2021
from coppice.networks.registry import network


@network("dcase2022")
class DCASE2022(DCASE2021):
    """The network of :class:`~coppice.networks.dcase2021.DCASE2021` on clips of one second.

    The DCASE 2022 and 2023 Task 1 baseline (Martín-Morató et al.): the layers and weights of 2021, with a second
    pool of 4×10 in place of 4×100. With the default widths there are 46,246 parameters in Keras' count, 45,990
    with batch normalisation folded, and 29,203,560 MACs. The "46,512 parameters, 29,234,920 MACs" of the
    challenge are bytes (weights of one, biases of four) and include the pools.

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
    >>> import torch
    >>> net = DCASE2022()
    >>> net.pool3.kernel_size, net(torch.zeros(2, 1, 40, 51)).shape
    ((4, 10), torch.Size([2, 10]))
    """

    name = "dcase2022"

    def __init__(
        self,
        *,
        widths: Sequence[int] = (16, 16, 32),
        dense: int = 100,
        classes: int = 10,
        bands: int = 40,
        frames: int = 51,
        dropout: float = 0.3,
    ) -> None:
        super().__init__(widths=widths, dense=dense, classes=classes, bands=bands, frames=frames, dropout=dropout)
