"""The nearest other vector of each: the question that similarity criteria ask of a layer."""

from typing import Protocol

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from coppice.criteria.threads import in_stretches

BLOCK = 2**17  # distances at a time: 1 MiB, which stays in the cache of a core
RESIDENT = 256  # of so few vectors all distances are computed once and kept
ROWS = 512  # the least that is worth a thread

Indices = NDArray[np.int64]
Values = NDArray[np.float64]


class Distances(Protocol):
    """Distances between things that are numbered; ``left`` are the numbers of those that are still there, ascending."""

    def nearest(self, left: Indices, rows: Indices) -> tuple[Indices, Values]:
        """Return for some places in ``left`` the place of the nearest other one, and its distance.

        Of equally near ones the lowest.
        """
        ...

    def among(self, left: Indices) -> Values:
        """Return all distances between those that are left, infinite on the diagonal."""
        ...


class MatrixDistances:
    """Distances that are there.

    Parameters
    ----------
    matrix : array of float [shape=(things, things)]
        Symmetric; the diagonal is not looked at. Kept, not copied.

    Examples
    --------
    >>> distances = MatrixDistances(np.array([[0.0, 0.2, 0.9], [0.2, 0.0, 0.5], [0.9, 0.5, 0.0]]))
    >>> distances.nearest(np.array([0, 2]), np.array([1]))
    (array([0]), array([0.9]))
    """

    def __init__(self, matrix: Values) -> None:
        self._matrix = matrix
        self._places = np.arange(len(matrix))
        np.fill_diagonal(matrix, np.inf)

    def nearest(self, left: Indices, rows: Indices) -> tuple[Indices, Values]:
        """Return the nearest other ones; see :class:`Distances`."""
        whole = len(rows) == len(self._matrix)
        block = self._matrix if whole else self._matrix.take(left[rows], axis=0).take(left, axis=1)
        found = block.argmin(axis=1)
        return found, block[self._places[: len(rows)], found]

    def among(self, left: Indices) -> Values:
        """Return all distances between those that are left; see :class:`Distances`."""
        return self._matrix[left[:, None], left]


class VectorDistances:
    """Distances 1 − n_i·n_j of vectors; the matrix of many is computed in blocks of rows and never stands in memory.

    Parameters
    ----------
    vectors : Tensor [shape=(vectors, size)], float64
    decimals : int >= 0
        Inner products are rounded to so many decimals, so that equal ones are equal on every machine. Distances are in
        units of the last decimal: whole numbers.

    Examples
    --------
    >>> vectors = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]], dtype=torch.float64)
    >>> VectorDistances(vectors, decimals=2).nearest(np.arange(3), np.arange(3))
    (array([1, 0, 1]), array([20., 20., 40.]))
    """

    def __init__(self, vectors: Float[Tensor, "vectors size"], *, decimals: int) -> None:
        self._vectors = vectors
        self.unit = 10.0**decimals
        self._resident: MatrixDistances | None = None
        self._places = np.arange(len(vectors))

    def nearest(self, left: Indices, rows: Indices) -> tuple[Indices, Values]:
        """Return the nearest other ones; see :class:`Distances`."""
        if len(left) > RESIDENT:
            return self._nearest_in_blocks(left, rows)
        return self._of_few(left).nearest(self._places[left], rows)

    def among(self, left: Indices) -> Values:
        """Return all distances between those that are left; see :class:`Distances`."""
        return self._of_few(left).among(self._places[left])

    def _of_few(self, left: Indices) -> MatrixDistances:
        if self._resident is None:
            everything = len(left) == len(self._vectors)
            vectors = self._vectors if everything else self._vectors[torch.from_numpy(left)]
            products = torch.mm(vectors * -self.unit, vectors.T).numpy()
            np.rint(products, out=products)
            products += self.unit
            self._resident = MatrixDistances(products)
            self._places[left] = np.arange(len(left))
        return self._resident

    def _nearest_in_blocks(self, left: Indices, rows: Indices) -> tuple[Indices, Values]:
        vectors = self._vectors[torch.from_numpy(left)]
        columns = vectors.T
        wanted = vectors[torch.from_numpy(rows)] * self.unit  # products are then whole numbers of the last decimal
        step = max(1, BLOCK // len(vectors))

        def stretch(begin: int, end: int) -> tuple[Indices, Values]:
            buffer = torch.empty(min(step, end - begin), len(vectors), dtype=torch.float64)
            found, products = np.empty(end - begin, dtype=np.int64), np.empty(end - begin)
            for first in range(begin, end, step):
                last = min(end, first + step)
                here, there = np.arange(last - first), slice(first - begin, last - begin)
                block = torch.mm(wanted[first:last], columns, out=buffer[: last - first]).numpy()
                block[here, rows[first:last]] = -np.inf  # nothing is its own neighbour
                np.rint(block, out=block)
                found[there] = largest = block.argmax(axis=1)  # the first of equal ones
                products[there] = block[here, largest]
            return found, products

        parts = in_stretches(stretch, len(rows), enough=ROWS)
        return np.concatenate([part[0] for part in parts]), self.unit - np.concatenate([part[1] for part in parts])
