"""One number per filter from its weights alone, without a float64 copy of the layer."""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.finite import refuse_not_finite

BLOCK = 2**16  # weights in float64 at a time: half a MiB, which stays in the cache of a core


def filter_scores(
    weight: Float[Tensor, "filters channels *kernel"],
    score: Callable[[Float[Tensor, "some weights"]], Float[Tensor, " some"]],
) -> Float[Tensor, " filters"]:
    """Score each filter by a function of all its weights, in float64 whatever they are stored in.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
    score : callable
        Takes a few filters, (some, weights), and returns a number for each; not finite where a weight is not.

    Returns
    -------
    Tensor [shape=(filters,)], float64

    Raises
    ------
    CoppiceError
        If a weight is not finite.

    Examples
    --------
    >>> filter_scores(torch.tensor([[3.0, -1.0], [0.5, 0.5]]), lambda rows: rows.abs().sum(dim=1)).tolist()
    [4.0, 1.0]
    """
    rows = weight.detach().flatten(1)
    step = max(1, BLOCK // rows.shape[1])
    scores = torch.empty(len(rows), dtype=torch.float64)
    for first in range(0, len(rows), step):
        piece = rows[first : first + step]
        found = score(piece.to(torch.float64))
        if not bool(torch.isfinite(found).all()):
            refuse_not_finite(piece, first=first)
        scores[first : first + step] = found
    return scores
