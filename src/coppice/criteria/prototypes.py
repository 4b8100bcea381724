"""One unit vector per filter: the pattern it looks for, whatever the channel.

Singh and Plumbley, "A Passive Similarity based CNN Filter Pruning for Efficient Acoustic Scene
Classification", Interspeech 2022, arXiv 2203.15751.
"""

from functools import partial

import torch
from jaxtyping import Float
from torch import Tensor

from coppice.criteria.finite import refuse_not_finite
from coppice.criteria.leading_vectors import LARGEST, leading_vectors
from coppice.criteria.threads import in_stretches

BLOCK = 2**16  # weights in float64 at a time: half a MiB, which stays in the cache of a core
FILTERS = 1024  # matrices at a time
STRETCH = 2**20  # weights that are worth a thread


def prototypes(weight: Float[Tensor, "filters channels *kernel"]) -> Float[Tensor, "filters kernel"]:
    """Return one unit vector per filter: the shape its rank-1 approximation gives the first input channel.

    A filter is a (kernel positions × channels) matrix with singular value decomposition U S Vᵀ; its
    prototype is the first column of u₁v₁ᵀ, normalised, which is u₁ times the sign of v₁[0] (where that is 0,
    of the first entry that is not). With one channel it is the normalised filter itself. Computed from the
    leading eigenvector of the smaller Gram matrix, many filters at once, in float64 whatever the weights are stored
    in; they are read once, piece by piece, and never copied as a whole.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
        A linear layer, (filters, channels), counts as kernel of 1.

    Returns
    -------
    Tensor [shape=(filters, kernel positions)], float64
        Rows of norm 1; zeros for a filter that is all zero.

    Raises
    ------
    CoppiceError
        If a weight is not finite.

    Examples
    --------
    >>> prototypes(torch.tensor([[[3.0, 4.0]], [[-3.0, -4.0]]])).tolist()
    [[0.6, 0.8], [-0.6, -0.8]]
    """
    filters, channels = weight.shape[:2]
    matrices = weight.detach().reshape(filters, channels, -1)

    stretch = partial(_of_stretch, matrices)
    return _joined(in_stretches(stretch, filters, enough=max(1, STRETCH * filters // matrices.numel())))


def _of_stretch(
    matrices: Float[Tensor, "filters channels kernel"], begin: int, end: int
) -> Float[Tensor, "filters kernel"]:
    pieces = range(begin, end, FILTERS)
    return _joined([_prototypes(matrices[first : min(end, first + FILTERS)], first) for first in pieces])


def _prototypes(matrices: Float[Tensor, "filters channels kernel"], first: int) -> Float[Tensor, "filters kernel"]:
    gram = _gram_matrices(matrices)
    if gram.shape[1] > LARGEST:  # LAPACK takes nothing but numbers
        refuse_not_finite(matrices, first=first)
    vectors = leading_vectors(gram)
    channels, kernel = matrices.shape[1:]
    if channels < kernel:
        vectors = torch.bmm(vectors.unsqueeze(1), _to_unit_range(matrices)).squeeze(1)
        vectors /= torch.linalg.vector_norm(vectors, dim=1, keepdim=True)
    sign = torch.linalg.vecdot(matrices[:, 0].to(torch.float64), vectors).sign_()
    if float(sign.abs().sum()) != len(sign):
        for index in (sign.abs() != 1).nonzero().flatten().tolist():
            refuse_not_finite(matrices[index : index + 1], first=first + index)
            vectors[index].nan_to_num_(0.0)  # the filter is all zero
            projections = matrices[index].to(torch.float64) @ vectors[index]
            sign[index] = projections[projections != 0][:1].sign().sum()
    return vectors.mul_(sign.unsqueeze(1))


def _joined(parts: list[Tensor]) -> Tensor:
    return torch.cat(parts) if len(parts) > 1 else parts[0]


def _to_unit_range(matrices: Float[Tensor, "filters channels kernel"]) -> Float[Tensor, "filters channels kernel"]:
    """Divide each matrix by its largest absolute value, in float64."""
    matrices = matrices.to(torch.float64)
    return matrices / matrices.abs().amax(dim=(1, 2), keepdim=True)


def _gram_matrices(matrices: Float[Tensor, "filters channels kernel"]) -> Float[Tensor, "filters size size"]:
    """Return the products of each matrix with itself along its longer axis, up to a factor."""
    filters, channels, kernel = matrices.shape
    by_channel = channels < kernel
    size = min(channels, kernel)
    gram = torch.empty(filters, size, size, dtype=torch.float64)
    step = max(1, BLOCK // (channels * kernel))
    buffer = torch.empty(min(step, filters), channels, kernel, dtype=torch.float64)
    for begin in range(0, filters, step):
        piece = matrices[begin : begin + step]
        block = buffer[: len(piece)].copy_(piece)
        if piece.dtype == torch.float64:  # its squares may underflow or overflow; those of other types cannot
            block = _to_unit_range(block)
        left, right = (block, block.mT) if by_channel else (block.mT, block)
        torch.bmm(left, right, out=gram[begin : begin + step])
    return gram
