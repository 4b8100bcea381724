"""Smallest l1 norm first (Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017)."""

from jaxtyping import Float
from torch import Tensor

from coppice.criteria.filter_scores import filter_scores
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion


@criterion("l1", as_stored=True)
def l1(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Score each filter by the sum of the absolute values of all its weights; small goes first.

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
    >>> import torch
    >>> l1(torch.tensor([[3.0, -1.0], [0.5, 0.5]])).scores
    (4.0, 1.0)
    """
    return Ranking.from_scores("l1", filter_scores(weight, lambda rows: rows.abs().sum(dim=1)))
