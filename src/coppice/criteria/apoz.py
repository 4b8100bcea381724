"""Most zeros first (Hu et al., Network Trimming, 2016, arXiv 1607.03250: average percentage of zeros)."""

from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.summaries import summary


@summary
def nonzero_share(maps: Float[Tensor, "clips filters *positions"]) -> Float[Tensor, " filters"]:
    """Return the share of clips and positions at which each filter's map is not zero, in [0, 1].

    Examples
    --------
    >>> import torch
    >>> nonzero_share(torch.tensor([[[1.0, 0.0], [0.0, 0.0]]])).tolist()
    [0.5, 0.0]
    """
    return maps.ne(0).to(maps.dtype).reshape(*maps.shape[:2], -1).mean(dim=(0, 2))


@criterion("apoz")
def apoz(weight: Float[Tensor, "filters channels *kernel"], *, nonzero_share: Float[Tensor, " filters"]) -> Ranking:
    """Score each filter by 1 − APoZ, the share of what it hands on that is not zero; small goes first.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        Not looked at.
    nonzero_share : Tensor [shape=(filters,)], in [0, 1]

    Returns
    -------
    Ranking
        Without a set of its own.

    Raises
    ------
    CoppiceError
        If there are no zeros to count, as behind any activation but ReLU: the order would be one of indices.

    Examples
    --------
    >>> import torch
    >>> apoz(torch.zeros(3, 1), nonzero_share=torch.tensor([0.9, 0.2, 0.4])).order
    (1, 2, 0)
    """
    if bool((nonzero_share == 1).all()):
        raise CoppiceError(
            "'apoz' counts zeros, and the layer hands on none: there is no ReLU behind it, or it is always active; "
            "leave the layer out, or choose for example 'mean_activation'."
        )
    return Ranking.from_scores("apoz", nonzero_share)
