"""Cosine similarity from a few columns of the matrix of similarities.

Singh and Plumbley, "Efficient similarity-based passive filter pruning for compressing CNNs", ICASSP 2023,
arXiv 2210.17416.
"""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from coppice.core.errors import CoppiceError, did_you_mean
from coppice.criteria.prototypes import prototypes
from coppice.criteria.ranking import Ranking
from coppice.criteria.registry import criterion
from coppice.criteria.similarity_order import rank_by_vectors
from coppice.criteria.threads import one_thread

DECIMALS = 5  # to which the released code rounds distances
DEPENDENT = 1e-10  # eigenvalues below this share of the largest one are rounding: distances keep five decimals


@criterion("nystrom", as_stored=True)
@one_thread()
def nystrom(
    weight: Float[Tensor, "filters channels *kernel"],
    *,
    m: int | None = None,
    k: int | None = None,
    columns: Literal["first", "spread"] = "first",
) -> Ranking:
    """Rank as ``cosine_similarity`` does, on similarities approximated from ``m`` of their columns.

    With C the similarities of all filters to m of them, and W the m rows of C that belong to these, the matrix of
    similarities is taken to be C W⁺ Cᵀ, where W is first reduced to rank k; distances are 1 minus that, rounded to five
    decimals as in the released code. Similarities of prototypes of length K have rank K, so the approximation is exact
    as soon as the m prototypes span the others, which needs m = K at most: 9 for 3×3 kernels.

    The paper takes the *first* m filters. *Spread* columns are chosen one after the other, each as the filter whose
    prototype the others explain least (pivoted Cholesky decomposition, Higham 1990), beginning with the one that
    explains most: they do not depend on the order of the filters, never waste a column on a prototype that is a
    combination of others, and are exact as soon as any m could be.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
    m : int, optional
        Columns, 1 to the number of filters; kernel positions by default, or all filters where these are fewer.
    k : int, optional
        Rank, 1 to m; m by default, as in the paper.
    columns : {"first", "spread"}
        Which filters they belong to.

    Returns
    -------
    Ranking
        Set and order as those of ``cosine_similarity``. The order beyond the set uses the same approximation.

    Raises
    ------
    CoppiceError
        If m, k or columns is out of range, or a weight is not finite.

    Examples
    --------
    >>> nystrom(torch.tensor([[[1.0, 0.0]], [[1.0, 0.1]], [[0.0, 1.0]]])).keep
    (0, 2)
    """
    vectors = nystrom_vectors(prototypes(weight), m=m, k=k, columns=columns)
    return rank_by_vectors(vectors, name="nystrom" if columns == "first" else "nystrom_spread", decimals=DECIMALS)


@criterion("nystrom_spread", as_stored=True)
@one_thread()
def nystrom_spread(
    weight: Float[Tensor, "filters channels *kernel"], *, m: int | None = None, k: int | None = None
) -> Ranking:
    """Rank as :func:`nystrom` does with ``columns="spread"``.

    Parameters
    ----------
    weight : Tensor [shape=(filters, channels, *kernel)]
    m, k : int, optional
        See :func:`nystrom`.

    Returns
    -------
    Ranking

    Raises
    ------
    CoppiceError
        If m or k is out of range, or a weight is not finite.

    Examples
    --------
    >>> nystrom_spread(torch.tensor([[[1.0, 0.0]], [[1.0, 0.1]], [[0.0, 1.0]]])).keep
    (0, 2)
    """
    return nystrom(weight, m=m, k=k, columns="spread")


def nystrom_vectors(
    vectors: Float[Tensor, "filters kernel"],
    *,
    m: int | None = None,
    k: int | None = None,
    columns: Literal["first", "spread"] = "first",
) -> Float[Tensor, "filters rank"]:
    """Return vectors whose inner products are the similarities that :func:`nystrom` ranks by.

    Parameters
    ----------
    vectors : Tensor [shape=(filters, kernel positions)]
        Prototypes.
    m, k, columns
        See :func:`nystrom`.

    Raises
    ------
    CoppiceError
        If m, k or columns is out of range.

    Examples
    --------
    >>> vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    >>> nystrom_vectors(vectors, m=1).tolist()
    [[1.0], [0.6]]
    """
    filters, positions = vectors.shape
    m = _checked("m", min(positions, filters) if m is None else m, filters)
    k = _checked("k", m if k is None else k, m)
    if columns not in ("first", "spread"):
        raise CoppiceError(f"columns is {columns!r}. {did_you_mean(str(columns), ['first', 'spread'])}")
    if columns == "spread" and k >= positions:
        return vectors  # spread columns that may be as many as positions explain everything
    return approximate_vectors(vectors, slice(m) if columns == "first" else spread_columns(vectors, m), k=k)


def approximate_vectors(
    vectors: Float[Tensor, "filters kernel"], columns: Sequence[int] | slice, *, k: int
) -> Float[Tensor, "filters rank"]:
    """Return vectors whose inner products are the approximated similarities C W⁺ Cᵀ.

    Where W is of full rank they are C L⁻ᵀ with W = L Lᵀ, else C V Λ^-½ with W = V Λ Vᵀ. As many independent prototypes
    as they have entries span all others: then the vectors themselves do, without any work.

    Parameters
    ----------
    vectors : Tensor [shape=(filters, kernel positions)]
        Prototypes.
    columns : sequence of int, or slice
        Which filters the columns belong to.
    k : int
        Rank to which W is reduced.

    Returns
    -------
    Tensor [shape=(filters, rank)]
        The rank is k, or what the columns span where that is less.

    Examples
    --------
    >>> vectors = torch.tensor([[1.0, 0.0], [0.6, 0.8]], dtype=torch.float64)
    >>> similar = approximate_vectors(vectors, [0], k=1)
    >>> (similar @ similar.T).tolist()
    [[1.0, 0.6], [0.6, 0.36]]
    """
    basis = vectors[columns]
    own = basis @ basis.T
    if k >= len(basis):
        lower, failed = torch.linalg.cholesky_ex(own)
        if not failed and float(lower.diagonal().min()) ** 2 > DEPENDENT:
            if len(basis) == vectors.shape[1]:
                return vectors
            return torch.linalg.solve_triangular(lower, (vectors @ basis.T).T, upper=False).T
    similarities = vectors @ basis.T
    values, directions = torch.linalg.eigh(own)
    values, directions = values[-k:], directions[:, -k:]
    enough = values > DEPENDENT * values[-1]
    return similarities @ (directions[:, enough] / values[enough].sqrt())


def spread_columns(vectors: Float[Tensor, "filters kernel"], m: int) -> list[int]:
    """Choose filters whose prototypes explain the others: fewer than m where these explain all.

    Parameters
    ----------
    vectors : Tensor [shape=(filters, kernel positions)]
        Prototypes.
    m : int

    Examples
    --------
    >>> spread_columns(torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64), 2)
    [1, 2]
    """
    rest = vectors.numpy().copy()
    explained = torch.linalg.vecdot(vectors @ (vectors.T @ vectors), vectors)  # sums of squares of similarities
    chosen = [int(explained.argmax())]
    unexplained = np.einsum("ij,ij->i", rest, rest)
    while len(chosen) < m:
        if unexplained[chosen[-1]] <= DEPENDENT:
            return chosen[:-1] or chosen
        direction = rest[chosen[-1]] / np.sqrt(unexplained[chosen[-1]])
        rest -= np.einsum("ij,j->i", rest, direction)[:, None] * direction
        unexplained = np.einsum("ij,ij->i", rest, rest)
        chosen.append(int(unexplained.argmax()))
    return chosen


def _checked(what: str, value: int, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        raise CoppiceError(f"{what} is {value!r}; give a whole number from 1 to {most}.")
    return value
