"""Whether weights are finite numbers: the one thing every criterion asks of them."""

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError


def refuse_not_finite(weight: Float[Tensor, "filters channels *kernel"], *, first: int = 0) -> None:
    """Pass over the weights once; raise if one of them is infinite or not a number.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
    first : int
        Index of the first of these filters in its layer, for the message.

    Raises
    ------
    CoppiceError
        Naming the first filter that has such a weight.

    Examples
    --------
    >>> refuse_not_finite(torch.tensor([[1.0], [float("nan")]]))
    Traceback (most recent call last):
    coppice.core.errors.CoppiceError: filter 1 has weights that are not finite; a network with NaN cannot be ranked.
    """
    if not all(bool(torch.isfinite(extreme)) for extreme in torch.aminmax(weight)):
        where = first + int((~torch.isfinite(weight)).flatten(1).any(dim=1).nonzero()[0])
        raise CoppiceError(f"filter {where} has weights that are not finite; a network with NaN cannot be ranked.")
