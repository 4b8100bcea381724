"""Closest to the geometric median first (He et al., FPGM, CVPR 2019)."""

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion


@criterion("geometric_median")
def geometric_median(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Score each filter by the sum of its Euclidean distances to all others; small goes first.

    This is "GM" in the text of Singh et al., DCASE 2021 technical report.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]

    Returns
    -------
    Ranking
        Without a set of its own.

    Examples
    --------
    >>> import torch
    >>> geometric_median(torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])).scores
    (6.0, 5.0, 9.0)
    """
    rows = weight.flatten(1)
    distances = torch.cdist(rows, rows, compute_mode="donot_use_mm_for_euclid_dist")
    return Ranking.from_scores("geometric_median", distances.sum(dim=1))
