"""Smallest scale of the batch normalisation first (Liu et al., Network Slimming, ICCV 2017)."""

from jaxtyping import Float
from torch import Tensor

from coppice.criteria.finite import refuse_not_finite
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion


@criterion("bn_scale", as_stored=True)
def bn_scale(weight: Float[Tensor, "filters channels *kernel"], *, scale: Float[Tensor, " filters"]) -> Ranking:
    """Score each filter by the absolute γ of the batch normalisation behind it; small goes first.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Not looked at, but for whether it is finite.
    scale : Tensor [shape=(filters,)]
        γ, the weight of the batch normalisation.

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
    >>> bn_scale(torch.zeros(3, 1), scale=torch.tensor([0.5, -0.25, 1.0])).order
    (1, 0, 2)
    """
    refuse_not_finite(weight)
    return Ranking.from_scores("bn_scale", scale.abs())
