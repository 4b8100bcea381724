"""Smallest first-order effect on the log-loss first (Molchanov et al., ICLR 2017, arXiv 1611.06440, equation 8)."""

from jaxtyping import Float
from torch import Tensor

from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.summaries import summary


@summary
def saliency(
    maps: Float[Tensor, "clips filters *positions"], gradients: Float[Tensor, "clips filters *positions"]
) -> Float[Tensor, " filters"]:
    """Return the mean over clips of |mean over positions of activation × gradient|.

    The first-order Taylor expansion of what setting the filter's map to zero does to the clip's log-loss, per
    position.

    Examples
    --------
    >>> import torch
    >>> maps, gradients = torch.tensor([[[1.0, 3.0], [2.0, 2.0]]]), torch.tensor([[[1.0, 1.0], [1.0, -1.0]]])
    >>> saliency(maps, gradients).tolist()
    [2.0, 0.0]
    """
    return (maps * gradients).reshape(*maps.shape[:2], -1).mean(dim=2).abs().mean(dim=0)


@criterion("taylor")
def taylor(weight: Float[Tensor, "filters channels *kernel"], *, saliency: Float[Tensor, " filters"]) -> Ranking:
    """Score each filter by how much, to first order, the log-loss changes without its map; small goes first.

    The gradient comes from the network's outputs as logits; on clips that it already fits perfectly, all
    gradients and scores are near zero. Scores are not normalised over layers.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Not looked at.
    saliency : Tensor [shape=(filters,)]

    Returns
    -------
    Ranking
        Without a set of its own.

    Examples
    --------
    >>> import torch
    >>> taylor(torch.zeros(2, 1), saliency=torch.tensor([2.0, 0.0])).order
    (1, 0)
    """
    return Ranking.from_scores("taylor", saliency)
