"""Closest to the layer's geometric mean first (the code behind Singh et al., DCASE 2021 technical report)."""

from jaxtyping import Float
from torch import Tensor

from coppice.criteria.filter_scores import filter_scores
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion


@criterion("geometric_mean_deviation", as_stored=True)
def geometric_mean_deviation(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Score each filter by (G − g)², the geometric means of |w| over layer and filter; small first.

    The report's text describes the geometric *median*; its released code computes this. An exact zero among
    the weights makes a geometric mean 0.

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
    >>> ranking = geometric_mean_deviation(torch.tensor([[1.0, 4.0], [2.0, -2.0], [8.0, 0.5]]))
    >>> [round(score, 6) for score in ranking.scores]
    [0.0, 0.0, 0.0]
    """
    logs = filter_scores(weight, lambda rows: rows.abs().log().mean(dim=1))  # log 0 = -inf: such a mean becomes 0
    return Ranking.from_scores("geometric_mean_deviation", (logs.mean().exp() - logs.exp()) ** 2)
