"""Smallest rank of the feature maps first (Lin et al., HRank, CVPR 2020, arXiv 2002.10179)."""

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.singular_values import as_matrices, singular_values
from coppice.criteria.summaries import summary


@summary
def mean_map_rank(maps: Float[Tensor, "clips filters *positions"]) -> Float[Tensor, " filters"]:
    """Return the mean over clips of the rank of each filter's map.

    A singular value counts when it is above 1.2e-7 (the resolution of float32) times the larger side of the map
    times the largest singular value: the rule of ``torch.linalg.matrix_rank`` on float32 maps, as published.

    Examples
    --------
    >>> mean_map_rank(torch.tensor([[[[1.0, 2.0], [2.0, 4.0]], [[1.0, 0.0], [0.0, 1.0]]]])).tolist()
    [1.0, 2.0]
    """
    values = singular_values(maps)
    resolution = torch.finfo(torch.float32).eps * max(as_matrices(maps).shape[2:])
    return (values > resolution * values[..., -1:]).sum(dim=2).to(torch.float64).mean(dim=0)


@criterion("feature_map_rank")
def feature_map_rank(
    weight: Float[Tensor, "filters channels *kernel"], *, mean_map_rank: Float[Tensor, " filters"]
) -> Ranking:
    """Score each filter by the mean rank of its feature maps (bands × frames); small goes first.

    Ties are common, since many maps have full rank: of equal ones the lower index goes first. Maps with one axis
    (1-D convolutions) have rank 1, or 0 where nothing is handed on.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Not looked at.
    mean_map_rank : Tensor [shape=(filters,)]
        From a few clips; the paper uses 500 images and finds that the ranks hardly depend on how many.

    Returns
    -------
    Ranking
        Without a set of its own.

    Examples
    --------
    >>> feature_map_rank(torch.zeros(3, 1), mean_map_rank=torch.tensor([4.0, 1.5, 4.0])).order
    (1, 0, 2)
    """
    return Ranking.from_scores("feature_map_rank", mean_map_rank)
