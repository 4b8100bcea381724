"""The leading eigenvector of many small symmetric matrices at once."""

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

# NumPy multiplies small matrices faster than torch does. Up to this size its BLAS stays on one thread, so that its
# threads and torch's never wait for each other.
LARGEST = 64
SQUARINGS = 4  # between two scalings, an even number: no size of kernel lets a 16th power of shares underflow
ROUNDS = 3  # of twice as many: (16 · 16) ** 3 is the power at which eigenvalues a millionth apart have parted
PARTED = 1 - 1e-14  # sum of the squares of eigenvalues that sum to 1, from which the rest turns the vector no more


def leading_vectors(matrices: Float[Tensor, "matrices size size"]) -> Float[Tensor, "matrices size"]:
    """Return a unit eigenvector of the largest eigenvalue of each positive semi-definite matrix.

    A high enough power of such a matrix is a multiple of v vᵀ. Powers are taken by repeated squaring, all matrices in
    one product, and those that have converged leave; a squaring of a 9×9 matrix costs 1/80 of its decomposition by
    LAPACK. Rounding does no more harm than there: with every squaring the gap between the eigenvalues grows, so that
    the first product is the one that counts. Large matrices, and the few whose two largest eigenvalues are all but
    equal, go to LAPACK.

    Parameters
    ----------
    matrices : Tensor [shape=(matrices, size, size)], float64
        Symmetric, no negative eigenvalues.

    Returns
    -------
    Tensor [shape=(matrices, size)], float64
        Rows of norm 1 with either sign; NaN for a matrix of zeros or with a NaN.

    Examples
    --------
    >>> leading_vectors(torch.tensor([[[2.0, 0.0], [0.0, 3.0]]], dtype=torch.float64)).tolist()
    [[0.0, 1.0]]
    """
    count, size = matrices.shape[:2]
    if size == 1:
        return torch.ones(count, 1, dtype=torch.float64)
    if size > LARGEST:
        return torch.linalg.eigh(matrices).eigenvectors[:, :, -1]
    with np.errstate(divide="ignore", invalid="ignore"):
        return torch.from_numpy(_by_squaring(matrices.numpy()))


def _by_squaring(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    count, size = matrices.shape[:2]
    powers = _unit_trace(matrices.copy())
    spare = np.empty_like(powers)
    found = np.empty((count, size))
    left = np.arange(count)
    for _ in range(ROUNDS):
        for _ in range(2):
            for _ in range(SQUARINGS // 2):
                np.matmul(powers, powers, out=spare)
                np.matmul(spare, spare, out=powers)
            _unit_trace(powers)
        rows = powers.reshape(len(powers), -1)
        largest = rows[:, :: size + 1].argmax(axis=1)
        found[left] = powers[np.arange(len(powers)), largest]  # of those that stay, once more later
        together = np.flatnonzero(np.einsum("ij,ij->i", rows, rows) <= PARTED)
        if not len(together):
            break
        left, powers, spare = left[together], powers[together], spare[: len(together)]
    else:
        found[left] = torch.linalg.eigh(torch.from_numpy(matrices[left])).eigenvectors[:, :, -1].numpy()
    normalised: NDArray[np.float64] = found / np.sqrt(np.einsum("ij,ij->i", found, found))[:, None]
    return normalised


def _unit_trace(matrices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Scale to eigenvalues that sum to 1, in place."""
    rows = matrices.reshape(len(matrices), -1)
    rows /= rows[:, :: matrices.shape[1] + 1].sum(axis=1)[:, None]
    return matrices
