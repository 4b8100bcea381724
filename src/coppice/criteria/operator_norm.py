"""Smallest projection on the dominant pattern of each input channel first.

Singh et al., "Passive filter pruning with operator norm", TASLP 33, 2025, doi 10.1109/TASLPRO.2025.3561589,
arXiv 2304.02319.
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.criteria.finite import refuse_not_finite
from coppice.criteria.leading_vectors import leading_vectors
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.threads import one_thread

BLOCK = 2**20  # weights in float64 at a time: 8 MiB


@criterion("operator_norm", as_stored=True)
@one_thread()
def operator_norm(
    weight: Float[Tensor, "filters channels *kernel"], *, orientation: Literal["first_filter", "none"] = "first_filter"
) -> Ranking:
    """Score each filter by how far it reaches along the dominant patterns of the layer; small goes first.

    For each input channel the filters' kernels, their mean taken off, form a (filters × kernel positions) matrix; r is
    its leading right singular vector. The score is the square of the sum over channels of each filter's projection on
    r, divided by the largest one. Singular values, and so the operator norm itself, do not enter the released score.

    The sign of r is the decomposition's own. ``orientation="first_filter"`` does as the released code: the filter of
    index 0 projects on r with a positive sign *in every channel*, so that it alone sums only what is positive, and the
    ranking depends on which filter comes first. ``orientation="none"`` is ours: the squares of the projections are
    summed, which needs no sign and depends on no order. With one input channel both are the same.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
    orientation : {"first_filter", "none"}

    Returns
    -------
    Ranking
        Without a set of its own. Scores lie in [0, 1]; all are 0 where all filters are equal.

    Raises
    ------
    CoppiceError
        If the orientation is neither, or a weight is not finite.

    Examples
    --------
    >>> weight = torch.tensor([[[2.0, 0.0]], [[-1.0, 0.0]], [[-1.0, 0.0]]])
    >>> [round(score, 6) for score in operator_norm(weight).scores]
    [1.0, 0.25, 0.25]
    """
    if orientation not in ("first_filter", "none"):
        raise CoppiceError(f"orientation is {orientation!r}. {did_you_mean(orientation, ['first_filter', 'none'])}")
    refuse_not_finite(weight)
    filters, channels = weight.shape[:2]
    by_channel = weight.detach().reshape(filters, channels, -1).transpose(0, 1)
    largest = max(float(weight.max()), -float(weight.min()), torch.finfo(torch.float64).tiny)
    scores = torch.zeros(filters, dtype=torch.float64)
    step = max(1, BLOCK // by_channel[0].numel())
    for begin in range(0, channels, step):
        block = by_channel[begin : begin + step].to(torch.float64, memory_format=torch.contiguous_format)
        projections = _projections(block.div_(largest))
        if orientation == "none":
            scores += projections.square().sum(dim=0)
        else:
            scores += (projections * torch.where(projections[:, :1] < 0, -1.0, 1.0)).sum(dim=0)
    if orientation == "first_filter":
        scores = scores.square()
    name = "operator_norm" if orientation == "first_filter" else "operator_norm_order_free"
    return Ranking.from_scores(name, scores / scores.max() if scores.max() > 0 else scores)


@criterion("operator_norm_order_free", as_stored=True)
@one_thread()
def operator_norm_order_free(weight: Float[Tensor, "filters channels *kernel"]) -> Ranking:
    """Rank as :func:`operator_norm` does with ``orientation="none"``.

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
    >>> weight = torch.tensor([[[2.0, 0.0]], [[-1.0, 0.0]], [[-1.0, 0.0]]])
    >>> [round(score, 6) for score in operator_norm_order_free(weight).scores]
    [1.0, 0.25, 0.25]
    """
    return operator_norm(weight, orientation="none")


def _projections(kernels: Float[Tensor, "channels filters kernel"]) -> Float[Tensor, "channels filters"]:
    """Return each kernel's projection on the leading right singular vector of its channel, means taken off."""
    deviations = kernels - kernels.mean(dim=1, keepdim=True)
    gram = deviations.mT @ deviations
    all_equal = gram.diagonal(dim1=1, dim2=2).sum(dim=1) == 0
    gram[all_equal] = torch.eye(gram.shape[1], dtype=gram.dtype)  # then any direction does
    return (deviations @ leading_vectors(gram).unsqueeze(2)).squeeze(2)
