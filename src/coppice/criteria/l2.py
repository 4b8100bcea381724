"""Smallest Euclidean norm first (He et al., Soft Filter Pruning, IJCAI 2018; beside l1 in Li et al., ICLR 2017)."""

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.filter_scores import filter_scores
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion


@criterion("l2", as_stored=True)
def l2(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Score each filter by the root of the sum of the squares of all its weights; small goes first.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]

    Returns
    -------
    Ranking
        Without a set of its own.

    Raises
    ------
    CoppiceError
        If a weight is not finite.

    Examples
    --------
    >>> l2(torch.tensor([[3.0, -4.0], [0.5, 0.0]])).scores
    (5.0, 0.5)
    """
    return Ranking.from_scores("l2", filter_scores(weight, _norms))


def _norms(rows: Float[Tensor, "some weights"]) -> Float[Tensor, " some"]:
    largest = rows.abs().amax(dim=1)  # squares must neither underflow nor overflow
    scaled = rows / largest.where(largest > 0, torch.ones_like(largest)).unsqueeze(1)
    return largest * torch.linalg.vector_norm(scaled, dim=1)
