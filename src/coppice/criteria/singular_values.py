"""Singular values of feature maps, all at once."""

import torch
from jaxtyping import Float
from torch import Tensor


def singular_values(maps: Float[Tensor, "clips filters *positions"]) -> Float[Tensor, "clips filters values"]:
    """Return the singular values of every map as a matrix, ascending.

    The first axis of the positions makes the rows, the others the columns; a map with fewer axes is one row, whose
    only singular value is its Euclidean norm. They are roots of the eigenvalues of the smaller Gram matrix, in
    float64: values below some 1e-8 of the largest are lost in rounding, which is a tenth of what float32 maps hold.

    Parameters
    ----------
    maps : Tensor [shape=(clips, filters, *positions)]

    Returns
    -------
    Tensor [shape=(clips, filters, min(rows, columns))], float64

    Examples
    --------
    >>> singular_values(torch.tensor([[[[3.0, 0.0], [0.0, 4.0]]]])).tolist()
    [[[3.0, 4.0]]]
    """
    matrices = as_matrices(maps).to(torch.float64)
    if matrices.shape[2] > matrices.shape[3]:
        matrices = matrices.mT
    return torch.linalg.eigvalsh(matrices @ matrices.mT).clamp(min=0).sqrt()


def as_matrices(maps: Float[Tensor, "clips filters *positions"]) -> Float[Tensor, "clips filters rows columns"]:
    """Return every map as a matrix: rows are the first axis of its positions, or one row where there is one axis.

    Examples
    --------
    >>> as_matrices(torch.zeros(2, 3, 40, 500)).shape, as_matrices(torch.zeros(2, 3, 7)).shape
    (torch.Size([2, 3, 40, 500]), torch.Size([2, 3, 1, 7]))
    """
    rows = maps.shape[2] if maps.ndim > 3 else 1
    return maps.reshape(*maps.shape[:2], rows, -1)
