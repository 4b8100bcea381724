"""Least energy in the feature maps first (Yeom et al., Energy-Aware Pruning, arXiv 2103.10858)."""

from jaxtyping import Float
from torch import Tensor

from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.singular_values import singular_values
from coppice.criteria.summaries import summary


@summary
def mean_nuclear_norm(maps: Float[Tensor, "clips filters *positions"]) -> Float[Tensor, " filters"]:
    """Return the mean over clips of the nuclear norm (sum of singular values) of each filter's map.

    Examples
    --------
    >>> import torch
    >>> mean_nuclear_norm(torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]])).tolist()
    [7.0]
    """
    return singular_values(maps).sum(dim=2).mean(dim=0)


@criterion("nuclear_norm")
def nuclear_norm(
    weight: Float[Tensor, "filters channels *kernel"], *, mean_nuclear_norm: Float[Tensor, " filters"]
) -> Ranking:
    """Score each filter by the mean nuclear norm of its feature maps (bands × frames); small goes first.

    Maps with one axis (1-D convolutions) are one row, whose nuclear norm is their Euclidean norm.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Not looked at.
    mean_nuclear_norm : Tensor [shape=(filters,)]

    Returns
    -------
    Ranking
        Without a set of its own.

    Examples
    --------
    >>> import torch
    >>> nuclear_norm(torch.zeros(3, 1), mean_nuclear_norm=torch.tensor([7.0, 0.5, 3.0])).order
    (1, 2, 0)
    """
    return Ranking.from_scores("nuclear_norm", mean_nuclear_norm)
