"""Closest to the geometric median first (He et al., FPGM, CVPR 2019)."""

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.finite import refuse_not_finite
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.threads import in_stretches

BLOCK = 2**20  # distances at a time: 8 MiB
ROWS = 64  # the least that is worth a thread
NEAR = 1e-4  # share of the squared norms below which a squared distance from inner products loses too many digits


@criterion("geometric_median", as_stored=True)
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

    Raises
    ------
    CoppiceError
        If a weight is not finite.

    Examples
    --------
    >>> geometric_median(torch.tensor([[0.0, 0.0], [1.0, 0.0], [5.0, 0.0]])).scores
    (6.0, 5.0, 9.0)
    """
    refuse_not_finite(weight)
    largest = max(float(weight.max()), -float(weight.min()), torch.finfo(torch.float64).tiny)
    rows = weight.detach().flatten(1).to(torch.float64, copy=True).div_(largest)  # squares must not under- or overflow
    squares = torch.linalg.vector_norm(rows, dim=1).square_()
    step = max(1, BLOCK // len(rows))

    def stretch(begin: int, end: int) -> Float[Tensor, " some"]:
        sums = torch.empty(end - begin, dtype=torch.float64)
        for first in range(begin, end, step):
            last = min(end, first + step)
            torch.sum(_distances(rows, squares, first, last), dim=1, out=sums[first - begin : last - begin])
        return sums

    return Ranking.from_scores("geometric_median", torch.cat(in_stretches(stretch, len(rows), enough=ROWS)) * largest)


def _distances(
    rows: Float[Tensor, "filters weights"], squares: Float[Tensor, " filters"], first: int, end: int
) -> Float[Tensor, "some filters"]:
    """Return the distances of some rows from all, by one matrix product; those of near ones are computed anew."""
    some = rows[first:end]
    both = squares[first:end, None] + squares
    squared = torch.addmm(both, some, rows.T, alpha=-2)
    squared[torch.arange(len(some)), torch.arange(first, end)] = 0.0
    pairs = ((squared < NEAR * both) & (squared != 0)).nonzero()
    for here, there in (chunk.unbind(dim=1) for chunk in pairs.split(max(1, BLOCK // rows.shape[1]))):
        difference = some[here] - rows[there]
        squared[here, there] = torch.linalg.vecdot(difference, difference)
    return squared.clamp_(min=0.0).sqrt_()
