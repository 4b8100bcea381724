"""Smallest mean activation first (Molchanov et al., ICLR 2017, arXiv 1611.06440, section 2.2)."""

from jaxtyping import Float
from torch import Tensor

from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.summaries import summary


@summary
def mean_magnitude(maps: Float[Tensor, "clips filters *positions"]) -> Float[Tensor, " filters"]:
    """Return the mean over clips and positions of the absolute value of each filter's map.

    Examples
    --------
    >>> import torch
    >>> mean_magnitude(torch.tensor([[[1.0, 3.0], [0.0, 1.0]]])).tolist()
    [2.0, 0.5]
    """
    return maps.abs().reshape(*maps.shape[:2], -1).mean(dim=(0, 2))


@criterion("mean_activation")
def mean_activation(
    weight: Float[Tensor, "filters channels *kernel"], *, mean_magnitude: Float[Tensor, " filters"]
) -> Ranking:
    """Score each filter by the mean magnitude of what it hands on; small goes first.

    The paper takes the mean of activations behind ReLU, where it is the same; magnitudes make sense of other
    activations, and of none.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Not looked at.
    mean_magnitude : Tensor [shape=(filters,)]

    Returns
    -------
    Ranking
        Without a set of its own.

    Examples
    --------
    >>> import torch
    >>> mean_activation(torch.zeros(2, 1), mean_magnitude=torch.tensor([2.0, 0.5])).order
    (1, 0)
    """
    return Ranking.from_scores("mean_activation", mean_magnitude)
