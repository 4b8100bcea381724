"""Weight normalisation: what is left of a weight keeps its values when parts of it leave."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def rescaled(
    magnitude: Tensor, direction: Tensor, axis: int, kept: Mapping[int, Sequence[int]]
) -> tuple[Tensor, Tensor]:
    """Return the magnitudes with which a shortened direction gives the same weights, and which slices are left empty.

    A weight is magnitude · direction / norm(direction), the norm taken over each slice along ``axis`` (Salimans and
    Kingma, "Weight normalization", NeurIPS 2016). When a slice loses entries its norm falls, and the magnitude
    must fall with it. Norms are taken in float64.

    Parameters
    ----------
    magnitude : Tensor
        As many axes as ``direction``, of size 1 but for ``axis``.
    direction : Tensor
        Before it loses anything.
    axis : int
        Of the slices.
    kept : mapping of axis to indices
        What stays of ``direction`` along other axes.

    Returns
    -------
    Tensor
        New magnitudes, of the shape of ``magnitude``; 0 for a slice of which nothing but zeros stays.
    Tensor of bool [shape=(size of axis,)]
        Those slices: their direction has no norm to divide by.

    Examples
    --------
    >>> magnitude, empty = rescaled(torch.tensor([[10.0]]), torch.tensor([[3.0, 4.0]]), 0, {1: [0]})
    >>> magnitude.tolist(), empty.tolist()
    ([[6.0]], [False])
    """
    whole = direction.detach().double()
    rest = whole
    for other, indices in kept.items():
        rest = rest.index_select(other, torch.as_tensor(list(indices), device=direction.device))
    others = [other for other in range(direction.ndim) if other != axis]
    before, after = (torch.linalg.vector_norm(part, dim=others, keepdim=True) for part in (whole, rest))
    share = torch.where(after > 0, after / before, 0.0)
    return (magnitude.detach().double() * share).to(magnitude.dtype), (after == 0).flatten()
