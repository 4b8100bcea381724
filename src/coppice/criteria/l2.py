"""Smallest Euclidean norm first (He et al., Soft Filter Pruning, IJCAI 2018; beside l1 in Li et al., ICLR 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion


@criterion("l2")
def l2(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Score each filter by the root of the sum of the squares of all its weights; small goes first.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]

    Returns
    -------
    Ranking
        Without a set of its own.

    Examples
    --------
    >>> l2(torch.tensor([[3.0, -4.0], [0.5, 0.0]])).scores
    (5.0, 0.5)
    """
    rows = weight.flatten(1)
    largest = rows.abs().amax(dim=1, keepdim=True)  # squares must neither underflow nor overflow
    scaled = rows / largest.where(largest > 0, torch.ones_like(largest))
    return Ranking.from_scores("l2", largest[:, 0] * torch.linalg.vector_norm(scaled, dim=1))
